"""The product's images as files, one folder per class: what the peers read."""

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lrelu_bench.config import Experiment
from lrelu_bench.data import archives, cache
from lrelu_bench.data.catalog import Archive
from lrelu_bench.data.datasets import Split, archive_of, open_split
from lrelu_bench.data.extract import walk_images
from lrelu_bench.errors import BenchError


@dataclass(frozen=True)
class Extracted:
    """An archive's files, and what it took to write them."""

    folder: Path
    seconds: float


def extract(archive: Archive, file: Path, folder: Path) -> Extracted:
    """Write every image of an archive, as it is encoded, to `folder`/name."""
    started = time.perf_counter()
    folder.mkdir(parents=True)
    for member, content in walk_images(archive, file):
        (folder / member.name).write_bytes(content)
    return Extracted(folder, time.perf_counter() - started)


def archive_file(experiment: Experiment) -> tuple[Archive, Path]:
    """The experiment's archive and its file; raises `BenchError` where it is not there."""
    archive, home = archive_of(experiment), archives.data_home()
    file = archives.archive_path(archive, home)
    if not file.exists():
        raise archives.absent(archive, home)
    return archive, file


def decoding_seconds(archive: Archive, file: Path) -> float:
    """Time of the product's own preparation: the archive checked, imported and decoded into a cache."""
    with tempfile.TemporaryDirectory() as home:
        started = time.perf_counter()
        cache.adopt(archive, file, Path(home))
        return time.perf_counter() - started


def write_images(experiment: Experiment, files: Path | None, folder: Path) -> Path:
    """The experiment's images under `folder`: train/<label>/ and valid/<label>/.

    Links to the files of `extract`, or PNG files where the images come from no archive (`files` None).
    """
    split = open_split(experiment, archives.data_home())
    for part, indices in (("train", split.train), ("valid", split.valid)):
        for i in indices:
            place = folder / part / str(split.source.labels[i])
            place.mkdir(parents=True, exist_ok=True)
            _write(split, int(i), files, place)
    return folder


def _write(split: Split, i: int, files: Path | None, place: Path) -> None:
    name = bytes(split.source.names[i]).decode()
    if files is not None:
        os.link(files / name, place / name)
        return
    pixels = np.ascontiguousarray(split.source.image(i))
    if pixels.shape[2] != 3:
        raise BenchError("the benchmark's nets take RGB images; choose a config with an xresnet")
    Image.fromarray(pixels).save(place / f"{name.replace('/', '-')}.png")
