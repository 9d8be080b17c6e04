"""The images of an experiment: their source and which of them train and validate."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lrelu_bench.config import Experiment
from lrelu_bench.data import mnist
from lrelu_bench.data.cache import ImageCache, ImageSource, ensure
from lrelu_bench.data.catalog import ARCHIVES, CLASSES, Archive, archive_for
from lrelu_bench.data.extract import FOLDERS
from lrelu_bench.data.procedural import CLASS_NAMES, ProceduralImages
from lrelu_bench.data.progress import Progress
from lrelu_bench.data.splits import split_indices, subset_indices
from lrelu_bench.errors import BenchError


@dataclass(frozen=True)
class Split:
    """Images with their training and validation indices (int64 arrays, in the source's order)."""

    source: ImageSource
    train: np.ndarray
    valid: np.ndarray


def archive_of(experiment: Experiment) -> Archive:
    """The archive that an experiment's images come from."""
    source = experiment.effective_source
    return archive_for(experiment.dataset, int(source) if source in ("160", "320") else "full")


def expected_counts(experiment: Experiment) -> tuple[int, int]:
    """Numbers of training and validation images, from what is published; nothing is opened."""
    if experiment.dataset == "procedural":
        classes = len(CLASS_NAMES)
        train, valid = (
            n * classes for n in (ProceduralImages.TRAIN_PER_CLASS, ProceduralImages.VALID_PER_CLASS)
        )
    elif experiment.dataset in mnist.COUNTS:
        classes, (train, valid) = len(mnist.CLASSES), mnist.COUNTS[experiment.dataset]
    else:
        classes = len(CLASSES[experiment.dataset])
        resolution = archive_of(experiment).resolution
        archive = next(
            archive
            for archive in ARCHIVES.values()
            if (archive.dataset, archive.version, archive.resolution)
            == (experiment.dataset, experiment.version, resolution)
        )
        train, valid = archive.train, archive.val
    if experiment.subset is None:
        return train, valid
    return min(train, experiment.subset * classes), min(valid, experiment.subset * classes)


def open_split(experiment: Experiment, home: Path, progress: Progress | None = None) -> Split:
    """Open an experiment's data, downloading and decoding what is missing.

    Raises `BenchError` where the data can be neither found nor fetched, or is not what was published.
    """
    images: ImageSource
    if experiment.dataset == "procedural":
        images = ProceduralImages()
    elif experiment.dataset in mnist.COUNTS:
        images = mnist.ensure(experiment.dataset, home, progress)
    else:
        images = ensure(archive_of(experiment), home, progress)
    train, valid = split_indices(images.names, images.folders, experiment.version)
    expected = expected_counts(experiment.model_copy(update={"subset": None}))
    left_out = _left_out(images, experiment.version)
    found = len(train) + left_out[0], len(valid) + left_out[1]
    if found != expected:
        raise BenchError(
            f"{archive_of(experiment).name}: its {experiment.version} split has {found[0]:,} training and "
            f"{found[1]:,} validation images, not {expected[0]:,} and {expected[1]:,}; "
            "files are missing or renamed: fetch or import an intact archive"
        )
    if experiment.subset is not None:
        train = subset_indices(train, images.labels, experiment.subset)
        valid = subset_indices(valid, images.labels, experiment.subset)
    if isinstance(images, ProceduralImages):
        images.draw(np.concatenate([train, valid]))
    return Split(images, train, valid)


def _left_out(images: ImageSource, version: str) -> tuple[int, int]:
    """How many training and validation images the archive has that could not be decoded."""
    if not isinstance(images, ImageCache) or not images.unreadable:
        return 0, 0
    paths = [path.split("/") for path in images.unreadable]
    folders = [FOLDERS.index(path[0]) for path in paths]
    train, valid = split_indices([path[-1] for path in paths], folders, version)
    return len(train), len(valid)
