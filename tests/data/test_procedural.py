from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lrelu_bench.config import Experiment
from lrelu_bench.data import procedural
from lrelu_bench.data.datasets import open_split
from lrelu_bench.data.procedural import CLASS_NAMES, ProceduralImages
from lrelu_bench.data.splits import split_indices
from lrelu_bench.errors import BenchError

# What every machine must draw: a change of it changes every published accuracy on these images.
PINNED = "sha256:c0c13e9288f01de2cd3c928683d6655e87191433bb46ce17397c4334ef7eb9d7"


@pytest.fixture(scope="module")
def drawn() -> ProceduralImages:
    return ProceduralImages(train_per_class=30, valid_per_class=10, side=40, seed=0)


def _nearest_mean_accuracy(images: ProceduralImages, features: np.ndarray) -> float:
    train = images.folders == 0
    means = np.stack([features[train & (images.labels == c)].mean(axis=0) for c in range(len(CLASS_NAMES))])
    distances = ((features[~train, None] - means) ** 2).sum(axis=-1)
    return float((distances.argmin(axis=1) == images.labels[~train]).mean())


def _pixels(images: ProceduralImages) -> np.ndarray:
    return np.stack([images.image(i) for i in range(len(images))])


def test_the_drawing_is_pinned() -> None:
    assert ProceduralImages(train_per_class=3, valid_per_class=2).digest == PINNED


def test_the_default_is_2000_images_of_80_px() -> None:
    parameters = ProceduralImages.__init__.__defaults__
    assert parameters == (150, 50, 80, 0)
    assert len(CLASS_NAMES) == len(set(CLASS_NAMES)) == 10


def test_the_published_digest_is_that_of_all_2000_images() -> None:
    images = ProceduralImages()
    assert images._drawn.sum() == 10
    assert images.digest == images._digest()
    assert images._drawn.all()


def test_a_machine_that_draws_otherwise_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    as_ever = procedural._draw

    def one_off(label: int, side: int, dice: procedural._Dice) -> np.ndarray:
        picture = as_ever(label, side, dice)
        picture[-1, -1, -1] ^= 1
        return picture

    published = ProceduralImages().digest
    monkeypatch.setattr(procedural, "_draw", one_off)
    otherwise = ProceduralImages()
    assert otherwise.digest != published
    assert otherwise.digest == otherwise._digest()


def test_a_split_has_what_it_needs_drawn_and_no_more(tmp_path: Path) -> None:
    config = {"dataset": "procedural", "size": 32, "arch": "xresnet18", "epochs": 1, "activation": "relu"}
    experiment = Experiment.model_validate(config | {"protocol": "leaderboard-2019", "subset": 2})
    split = open_split(experiment, tmp_path)
    source = split.source
    assert isinstance(source, ProceduralImages)
    assert source._drawn[np.concatenate([split.train, split.valid])].all()
    assert source._drawn.sum() <= 40 + 10


def test_shapes_types_and_balance(drawn: ProceduralImages) -> None:
    assert len(drawn) == 400
    assert drawn.labels.dtype == np.int64
    assert drawn.folders.dtype == np.uint8
    assert drawn.names.dtype.kind == "S"
    assert np.bincount(drawn.labels[drawn.folders == 0]).tolist() == [30] * 10
    assert np.bincount(drawn.labels[drawn.folders == 1]).tolist() == [10] * 10
    assert drawn.image(0).shape == (40, 40, 3)
    assert drawn.image(0).dtype == np.uint8
    assert drawn.official is False
    assert drawn.classes == CLASS_NAMES


def test_names_are_unique_and_say_the_class(drawn: ProceduralImages) -> None:
    assert len(set(drawn.names.tolist())) == len(drawn)
    assert drawn.names[0] == b"train/stripes-disc/00000"
    assert all(
        name.decode().split("/")[1] == CLASS_NAMES[label]
        for name, label in zip(drawn.names, drawn.labels, strict=True)
    )


def test_the_folders_are_the_v2_split(drawn: ProceduralImages) -> None:
    train, valid = split_indices(drawn.names, drawn.folders, "v2")
    assert (len(train), len(valid)) == (300, 100)


def test_every_outline_and_every_texture_has_two_classes() -> None:
    textures, outlines = zip(*(name.split("-") for name in CLASS_NAMES), strict=True)
    assert {textures.count(t) for t in textures} == {outlines.count(o) for o in outlines} == {2}


def test_an_image_does_not_depend_on_how_many_are_drawn(drawn: ProceduralImages) -> None:
    fewer = ProceduralImages(train_per_class=2, valid_per_class=1, side=40, seed=0)
    position = {name: i for i, name in enumerate(drawn.names.tolist())}
    for i, name in enumerate(fewer.names.tolist()):
        np.testing.assert_array_equal(fewer.image(i), drawn.image(position[name]))


def test_another_seed_draws_other_images(drawn: ProceduralImages) -> None:
    other = ProceduralImages(train_per_class=30, valid_per_class=10, side=40, seed=2**40)
    assert other.digest != drawn.digest
    assert not any(np.array_equal(other.image(i), drawn.image(i)) for i in range(len(drawn)))


def test_no_image_occurs_twice(drawn: ProceduralImages) -> None:
    assert len({drawn.image(i).tobytes() for i in range(len(drawn))}) == len(drawn)


def test_the_digest_covers_side_and_numbers() -> None:
    digests = {
        ProceduralImages(*numbers).digest for numbers in ((1, 1, 16), (2, 0, 16), (0, 2, 16), (1, 1, 17))
    }
    assert len(digests) == 4


def test_images_cannot_be_overwritten(drawn: ProceduralImages) -> None:
    with pytest.raises(ValueError, match="read-only"):
        drawn.image(0)[0, 0] = 0


def test_the_mean_picture_does_not_tell_the_class(drawn: ProceduralImages) -> None:
    assert _nearest_mean_accuracy(drawn, _pixels(drawn).reshape(len(drawn), -1) / 255) < 0.25


def test_colours_do_not_tell_the_class(drawn: ProceduralImages) -> None:
    pixels = _pixels(drawn).reshape(len(drawn), -1, 3)
    histograms = np.stack([(pixels // 32 == level).mean(axis=1) for level in range(8)], axis=1)
    assert _nearest_mean_accuracy(drawn, histograms.reshape(len(drawn), -1)) < 0.25


def test_classes_have_about_the_same_brightness(drawn: ProceduralImages) -> None:
    brightness = _pixels(drawn).mean(axis=(1, 2, 3))
    by_class = [brightness[drawn.labels == c].mean() for c in range(len(CLASS_NAMES))]
    assert max(by_class) - min(by_class) < brightness.std()


@pytest.mark.parametrize(
    "numbers", [{"side": 15}, {"train_per_class": -1}, {"valid_per_class": -1}, {"seed": -1}]
)
def test_numbers_that_cannot_be_drawn_are_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(BenchError, match="procedural images"):
        ProceduralImages(**numbers)


def test_drawing_needs_no_torch() -> None:
    command = "import sys, lrelu_bench.data.procedural; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
