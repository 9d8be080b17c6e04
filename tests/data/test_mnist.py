"""MNIST's files: imported, downloaded, checked at each use, and split in the two ways there are."""

import os
from pathlib import Path

import numpy as np
import pytest
import tiny_mnist
from bad_disk import room_for
from tiny_mnist import write_tiny_mnist

from lrelu_bench.config import Experiment
from lrelu_bench.data import mnist
from lrelu_bench.data.datasets import open_split
from lrelu_bench.errors import BenchError
from lrelu_bench.protocols import PROTOCOLS

TEST_FILES = ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]


def experiment(dataset: str) -> Experiment:
    values = {"size": 28, "arch": "course_cnn", "protocol": "course-mnist", "epochs": 1, "activation": "relu"}
    return Experiment.model_validate({"dataset": dataset, **values})


def test_the_files_are_torchvisions() -> None:
    torchvision = pytest.importorskip("torchvision.datasets")
    assert list(mnist.FILES.items()) == torchvision.MNIST.resources


def test_the_official_split_is_the_files_own(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mnist.import_files(write_tiny_mnist(tmp_path / "files", monkeypatch), home)
    split = open_split(experiment("mnist"), home)
    assert (split.train.tolist(), split.valid.tolist()) == (list(range(40)), list(range(40, 70)))
    images = split.source
    for part, first in (("train", 0), ("t10k", 40)):
        for i, (picture, label) in enumerate(
            zip(tiny_mnist.pixels(part), tiny_mnist.labels(part), strict=True)
        ):
            assert np.array_equal(images.image(first + i), picture[:, :, None])
            assert images.labels[first + i] == label
    assert images.names[[0, 40, 69]].tolist() == [b"train/00000", b"t10k/00000", b"t10k/00029"]
    assert images.official


def test_of_the_test_digits_every_tenth_validates(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mnist.import_files(write_tiny_mnist(tmp_path / "files", monkeypatch), home)
    split = open_split(experiment("mnist-t10k"), home)
    assert split.valid.tolist() == [9, 19, 29]
    assert sorted([*split.train, *split.valid]) == list(range(30))
    assert np.array_equal(split.source.image(29)[..., 0], tiny_mnist.pixels("t10k")[29])
    assert split.source.digest != open_split(experiment("mnist"), home).source.digest


@pytest.mark.parametrize("inside", ["", "raw", "MNIST/raw"])
def test_a_folder_is_imported_wherever_torchvision_puts_the_files(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    write_tiny_mnist(tmp_path / "files" / inside, monkeypatch, ("t10k",))
    assert mnist.import_files(tmp_path / "files", home) == TEST_FILES
    assert (mnist.is_here("mnist-t10k", home), mnist.is_here("mnist", home)) == (True, False)
    assert "2 of 4 official files" in mnist.state(home)


def test_single_files_are_imported_one_by_one(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tiny_mnist(tmp_path / "files", monkeypatch)
    for name in TEST_FILES:
        assert not mnist.is_here("mnist-t10k", home)
        mnist.import_files(folder / name, home)
    assert len(mnist.ensure("mnist-t10k", home)) == 30


def test_what_is_not_official_is_refused_and_not_taken(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tiny_mnist(tmp_path / "files", monkeypatch)
    (folder / TEST_FILES[1]).write_bytes(b"other bytes")
    with pytest.raises(BenchError, match=r"t10k-labels-idx1-ubyte\.gz: is not the official file"):
        mnist.import_files(folder, home)
    assert "0 of 4" in mnist.state(home)
    with pytest.raises(BenchError, match="holds no file of MNIST"):
        mnist.import_files(tmp_path, home)


def test_a_file_damaged_later_is_noticed(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mnist.import_files(write_tiny_mnist(tmp_path / "files", monkeypatch), home)
    assert mnist.problems("mnist", home) == []
    damaged = mnist.folder_of(home) / TEST_FILES[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(BenchError, match="is not the official file"):
        mnist.ensure("mnist-t10k", home)
    (mnist.folder_of(home) / TEST_FILES[1]).unlink()
    first, second = mnist.problems("mnist", home)
    assert "is not the official file" in first
    assert "cannot be read" in second


def test_a_full_disk_is_one_sentence_and_leaves_no_torn_file(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tiny_mnist(tmp_path / "files", monkeypatch)
    with room_for(100), pytest.raises(BenchError, match=r"the disk is full .*LRELU_BENCH_DATA"):
        mnist.import_files(folder, home)
    assert all(mnist.problem(path) == "" for path in mnist.folder_of(home).glob("*.gz"))
    mnist.import_files(folder, home)
    assert mnist.problems("mnist", home) == []


def test_only_the_missing_files_are_downloaded(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torchvision = pytest.importorskip("torchvision.datasets")
    mirror = write_tiny_mnist(tmp_path / "files", monkeypatch)
    monkeypatch.setattr(torchvision.MNIST, "mirrors", [f"{(tmp_path / 'nowhere').as_uri()}/"])
    monkeypatch.setenv("LRELU_BENCH_MIRROR", f"{(tmp_path / 'empty').as_uri()}/, {mirror.as_uri()}")
    assert open_split(experiment("mnist-t10k"), home).valid.tolist() == [9, 19, 29]
    assert sorted(p.name for p in mnist.folder_of(home).glob("*.gz")) == TEST_FILES
    for name in TEST_FILES:
        (mirror / name).unlink()
    mnist.fetch("mnist", home)
    assert mnist.is_here("mnist", home)
    assert capsys.readouterr().err == ""


def test_a_failed_download_names_every_source(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torchvision = pytest.importorskip("torchvision.datasets")
    folder = write_tiny_mnist(tmp_path / "files", monkeypatch)
    (folder / TEST_FILES[0]).write_bytes(b"other bytes")
    monkeypatch.setattr(torchvision.MNIST, "mirrors", [f"{(tmp_path / 'nowhere').as_uri()}/"])
    monkeypatch.setenv("LRELU_BENCH_MIRROR", folder.as_uri())
    with pytest.raises(BenchError, match=r"could not be downloaded \(.*files/.*nowhere/.*data import"):
        mnist.ensure("mnist-t10k", home)
    assert not mnist.is_here("mnist-t10k", home)


REAL = os.environ.get("LRELU_BENCH_REAL_DATA")


@pytest.mark.skipif(not REAL, reason="LRELU_BENCH_REAL_DATA names no folder of real archives")
def test_the_real_test_digits(home: Path) -> None:
    if not (Path(REAL or "") / TEST_FILES[0]).exists():
        pytest.skip(f"{TEST_FILES[0]} is not in LRELU_BENCH_REAL_DATA")
    mnist.import_files(Path(REAL or ""), home)
    split = open_split(experiment("mnist-t10k"), home)
    assert (len(split.train), len(split.valid)) == mnist.COUNTS["mnist-t10k"] == (9000, 1000)
    assert split.source.labels[:8].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]
    assert np.bincount(split.source.labels[split.valid]).tolist() == [
        92, 132, 114, 83, 100, 80, 94, 91, 117, 97,
    ]  # fmt: skip
    training = np.stack([split.source.image(i) for i in split.train]) / 255
    recipe = PROTOCOLS["course-mnist"]("mnist-t10k", 28, 8)
    assert (recipe.mean[0], recipe.std[0]) == (round(training.mean(), 4), round(training.std(), 4))
