"""MNIST's digits from the official files, downloaded or imported, and checked against torchvision's digests.

`mnist` is the official split, 60,000 training and 10,000 test images. `mnist-t10k` needs the two small test
files only: of their 10,000 digits every tenth validates and the other 9,000 train. Both halves of the test
file (the first is cleaner: LeCun, Cortes, Burges, "The MNIST database") are so split alike, but a writer's
digits may fall on both sides. The files lie where torchvision puts them, `mnist/MNIST/raw` of the data home.
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lrelu_bench.data import download as transfer
from lrelu_bench.data.archives import locked, mirrors
from lrelu_bench.data.disk import put_in_place, writing
from lrelu_bench.data.progress import Progress
from lrelu_bench.data.web import DownloadError
from lrelu_bench.errors import BenchError

COUNTS = {"mnist": (60_000, 10_000), "mnist-t10k": (9_000, 1_000)}
"""Training and validation images of each data set made of the files."""
FILES = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
"""MD5 of each official file, as torchvision's MNIST lists them."""
CLASSES = tuple("0123456789")
_VALIDATES_EVERY = 10


def parts(dataset: str) -> tuple[str, ...]:
    """The files that a data set is made of, by the beginning of their names."""
    return ("train", "t10k") if dataset == "mnist" else ("t10k",)


def files_of(dataset: str) -> list[str]:
    """Names of the files that a data set needs."""
    return [name for name in FILES if name.startswith(parts(dataset))]


def folder_of(home: Path) -> Path:
    """Where the files lie, or will."""
    return home / "mnist" / "MNIST" / "raw"


def is_here(dataset: str, home: Path) -> bool:
    """Whether every file of the data set is under `home` (nothing is read)."""
    return all((folder_of(home) / name).is_file() for name in files_of(dataset))


def state(home: Path) -> str:
    """One sentence on which of the files are here."""
    here = [name for name in FILES if (folder_of(home) / name).is_file()]
    ready = [dataset for dataset in COUNTS if is_here(dataset, home)]
    serves = f"enough for {' and '.join(ready)}" if ready else "enough for neither mnist nor mnist-t10k"
    return f"MNIST: {len(here)} of {len(FILES)} official files in {folder_of(home)}, {serves}"


def fetch(dataset: str, home: Path, progress: Progress | None = None) -> None:
    """Download the files of a data set that are not here whole, from the addresses of torchvision's MNIST.

    The mirrors of LRELU_BENCH_MIRROR come first. Raises BenchError where no source delivers a file.
    """
    from torchvision.datasets import MNIST  # brings torch, which takes seconds

    sources = [*mirrors(), *(mirror.rstrip("/") for mirror in MNIST.mirrors)]
    folder = folder_of(home)
    with locked(folder, progress):
        with writing(folder):
            folder.mkdir(exist_ok=True)
        for name in files_of(dataset):
            if problem(folder / name):
                _download(folder / name, [f"{source}/{name}" for source in sources], progress)


def _download(path: Path, urls: list[str], progress: Progress | None) -> None:
    failures = []
    part = path.with_name(f"{path.name}.part")
    for url in urls:
        try:
            transfer.download(url, part, progress)
        except DownloadError as error:
            failures.append(f"{url}: {error}")
            continue
        if _md5(part.read_bytes()) == FILES[path.name]:
            put_in_place(part, path)
            return
        transfer.discard(part)
        failures.append(f"{url}: is not the official file")
    raise BenchError(
        f"{path.name}: could not be downloaded ({'; '.join(failures)}); get it another way and run "
        "`lrelu-bench data import mnist FILE`, or name a mirror in LRELU_BENCH_MIRROR"
    )


def import_files(source: Path, home: Path) -> list[str]:
    """Copy the official files in a folder (torchvision's own layout too), or one such file.

    Returns their names. Raises BenchError where there is none, or one is not the official file byte for byte.
    """
    if source.is_file():
        found = [source] if source.name in FILES else []
    else:
        inside = [source, source / "raw", source / "MNIST" / "raw"]
        found = [folder / name for name in FILES for folder in inside if (folder / name).is_file()]
    if not found:
        raise BenchError(f"{source}: holds no file of MNIST; give a folder with {' and '.join(FILES)}")
    contents = {path.name: _official_bytes(path) for path in found}
    folder = folder_of(home)
    with locked(folder):
        with writing(folder):
            folder.mkdir(exist_ok=True)
        for name, content in contents.items():
            staged = folder / f"{name}.importing"
            with writing(staged):
                staged.write_bytes(content)
            put_in_place(staged, folder / name)
    return list(contents)


def problems(dataset: str, home: Path) -> list[str]:
    """Problems of the files of a data set, read from disk; empty where all is well."""
    found = [problem(folder_of(home) / name) for name in files_of(dataset)]
    return [sentence for sentence in found if sentence]


def problem(path: Path) -> str:
    """What is wrong with one of the files, as a sentence; empty where it is the official one."""
    remedy = "run `lrelu-bench data fetch mnist` or import an intact copy"
    try:
        md5 = _md5(path.read_bytes())
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror}); {remedy}"
    if md5 != FILES[path.name]:
        return f"{path}: is not the official file (md5 {md5}, not {FILES[path.name]}); {remedy}"
    return ""


class MnistImages:
    """The digits in memory, in the files' order, the training file first.

    `labels` int64 (n,), `folders` uint8 (n,; 0 training, 1 validation), `names` bytes (n,; for instance
    b"t10k/00012"), `digest` "sha256:<hex>" of labels, folders and pixels, so that the two data sets differ.
    """

    official = True
    channels = 1

    def __init__(self, dataset: str, home: Path) -> None:
        """Read the files under `home`; raises BenchError where one is absent or is not the official file."""
        read = {name: _idx(folder_of(home) / name) for name in files_of(dataset)}
        pixels = [values for name, values in read.items() if "images" in name]
        self._pixels = np.concatenate(pixels)[..., None]
        labels = [values for name, values in read.items() if "labels" in name]
        self.labels: npt.NDArray[np.int64] = np.concatenate(labels).astype(np.int64)
        lengths = [len(values) for values in labels]
        self.folders: npt.NDArray[np.uint8] = np.repeat(np.arange(len(lengths), dtype=np.uint8), lengths)
        if dataset == "mnist-t10k":
            last = np.arange(len(self.labels)) % _VALIDATES_EVERY == _VALIDATES_EVERY - 1
            self.folders = last.astype(np.uint8)
        self.names: npt.NDArray[np.bytes_] = np.array(
            [
                f"{part}/{i:05d}"
                for part, length in zip(parts(dataset), lengths, strict=True)
                for i in range(length)
            ],
            dtype=np.bytes_,
        )
        self.heights: npt.NDArray[np.int32] = np.full(len(self), self._pixels.shape[1], dtype=np.int32)
        self.widths: npt.NDArray[np.int32] = np.full(len(self), self._pixels.shape[2], dtype=np.int32)
        sha = hashlib.sha256()
        for column in (self.labels.astype("<i8"), self.folders, self._pixels):
            sha.update(column.tobytes())
        self.digest = f"sha256:{sha.hexdigest()}"

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, i: int) -> npt.NDArray[np.uint8]:
        """Image `i`, uint8 (28, 28, 1), white on black."""
        view: npt.NDArray[np.uint8] = self._pixels[i]
        return view


def ensure(dataset: str, home: Path, progress: Progress | None = None) -> MnistImages:
    """The digits of a data set, its files downloaded first where they are not here.

    Raises BenchError where they cannot be had or are not the official ones.
    """
    if not is_here(dataset, home):
        fetch(dataset, home, progress)
    return MnistImages(dataset, home)


def _idx(path: Path) -> npt.NDArray[np.uint8]:
    """The array in a gzipped idx file of unsigned bytes: its dimensions follow the four magic bytes."""
    content = gzip.decompress(_official_bytes(path))
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _official_bytes(path: Path) -> bytes:
    """The file's bytes; raises BenchError where it cannot be read or is not the official one."""
    if sentence := problem(path):
        raise BenchError(sentence)
    return path.read_bytes()


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
