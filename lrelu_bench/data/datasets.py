"""The images of an experiment: their source and which of them train and validate."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lrelu_bench.config import Experiment
from lrelu_bench.data.cache import ImageSource, ensure
from lrelu_bench.data.catalog import Archive, archive_for
from lrelu_bench.data.download import Progress
from lrelu_bench.data.procedural import ProceduralImages
from lrelu_bench.data.splits import split_indices, subset_indices


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


def open_split(experiment: Experiment, home: Path, progress: Progress | None = None) -> Split:
    """Open an experiment's data, downloading and decoding what is missing.

    Raises `BenchError` where the data can be neither found nor fetched.
    """
    images: ImageSource
    if experiment.dataset == "procedural":
        images = ProceduralImages()
    else:
        images = ensure(archive_of(experiment), home, progress)
    train, valid = split_indices(images.names, images.folders, experiment.version)
    if experiment.subset is not None:
        train = subset_indices(train, images.labels, experiment.subset)
        valid = subset_indices(valid, images.labels, experiment.subset)
    return Split(images, train, valid)
