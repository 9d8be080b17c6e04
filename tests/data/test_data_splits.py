from __future__ import annotations

import numpy as np
import pytest

from lrelu_bench.data.splits import split_indices, subset_indices
from lrelu_bench.errors import BenchError

NAMES = np.array(
    [
        b"ILSVRC2012_val_00000001.JPEG",
        b"n1_1.JPEG",
        b"ILSVRC2012_val_00000002.JPEG",
        b"n1_ILSVRC2012_val_.JPEG",
    ]
)
FOLDERS = np.array([0, 1, 1, 0], dtype=np.uint8)


def test_v2_is_the_folders() -> None:
    train, valid = split_indices(NAMES, FOLDERS, "v2")
    assert train.tolist() == [0, 3]
    assert valid.tolist() == [1, 2]


@pytest.mark.parametrize("names", [NAMES, [name.decode() for name in NAMES]])
def test_v1_is_the_file_names_wherever_they_lie(names: object) -> None:
    train, valid = split_indices(names, FOLDERS, "v1")  # type: ignore[arg-type]
    assert train.tolist() == [1, 3]
    assert valid.tolist() == [0, 2]
    assert train.dtype == valid.dtype == np.int64


def test_another_version_is_refused() -> None:
    with pytest.raises(BenchError, match=r"'v3'.*'v1' or 'v2'"):
        split_indices(NAMES, FOLDERS, "v3")


LABELS = np.repeat(np.arange(3), 30)
TRAIN = np.flatnonzero(np.arange(90) % 2 == 0)


def test_subsets_are_balanced_sorted_and_inside_the_indices() -> None:
    subset = subset_indices(TRAIN, LABELS, 5)
    assert np.bincount(LABELS[subset]).tolist() == [5, 5, 5]
    assert np.array_equal(subset, np.unique(subset))
    assert set(subset) <= set(TRAIN)


def test_subsets_are_nested_and_blind_to_the_order_of_the_indices() -> None:
    small, large = subset_indices(TRAIN, LABELS, 5), subset_indices(TRAIN[::-1], LABELS, 10)
    assert set(small) < set(large)


def test_subsets_are_the_same_on_every_machine_and_differ_by_seed() -> None:
    assert subset_indices(TRAIN, LABELS, 2).tolist() == FROZEN
    assert subset_indices(TRAIN, LABELS, 2, seed=1).tolist() != FROZEN


FROZEN = [22, 24, 40, 50, 64, 82]


def test_a_small_class_gives_all_it_has() -> None:
    assert np.array_equal(subset_indices(TRAIN, LABELS, 1000), TRAIN)
    assert subset_indices([], LABELS, 3).tolist() == []


def test_less_than_one_per_class_is_refused() -> None:
    with pytest.raises(BenchError, match="per_class: 0"):
        subset_indices(TRAIN, LABELS, 0)
