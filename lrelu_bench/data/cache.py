"""Decoded pixels of an archive, memory-mapped: decode once with Pillow, then read any image without a copy.

A cache folder holds `pixels.bin` (uint8 RGB HWC images back to back, sizes untouched), `index.npz` (where
each image lies, its label, folder and name) and `meta.json`. Images stand in sorted (wnid, name) order
whichever folder they came from, so that the v1 and v2 splits are just index sets over one cache.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image

from lrelu_bench.data import archives
from lrelu_bench.data.archives import Record
from lrelu_bench.data.catalog import CLASSES, Archive
from lrelu_bench.data.download import Progress, require_space
from lrelu_bench.data.extract import ImageMember, require_counts, walk_images
from lrelu_bench.errors import BenchError

SCHEMA = 1
MAX_IMAGE_PIXELS = 2**25
_CHUNK = 1 << 20
_MAPPED = 32 << 20
_DAMAGE = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error)
_KEYS = ("offsets", "heights", "widths", "labels", "folders", "names")


class ImageSource(Protocol):
    """Labelled uint8 images, decoded from an archive, drawn in memory or read from MNIST's files."""

    @property
    def channels(self) -> int:
        """3 for RGB images, 1 for grey ones."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The label of every image."""

    @property
    def heights(self) -> npt.NDArray[np.int32]:
        """The height of every image, px."""

    @property
    def widths(self) -> npt.NDArray[np.int32]:
        """The width of every image, px."""

    @property
    def folders(self) -> npt.NDArray[np.uint8]:
        """The v2 split's folder of every image: 0 train, 1 validation."""

    @property
    def names(self) -> npt.NDArray[np.bytes_]:
        """The file name of every image."""

    @property
    def digest(self) -> str:
        """What the images are, as "algorithm:hex"."""

    @property
    def official(self) -> bool:
        """Whether the images come from a published archive, byte for byte."""

    def __len__(self) -> int:
        """How many images there are."""

    def image(self, i: int) -> npt.NDArray[np.uint8]:
        """Image `i`, uint8 (height, width, channels)."""


class ImageCache:
    """The decoded images of one archive, in sorted (wnid, name) order.

    `names` bytes (n,), `labels` int64 (n,), `folders` uint8 (n,; 0 train, 1 val), `heights` and `widths`
    int32 (n,). Opening reads the index only; pickling sends the folder's path only, so workers map the same
    pages.
    """

    channels = 3

    def __init__(self, folder: Path) -> None:
        """Open the cache in `folder`; raises BenchError where it is absent or damaged."""
        self.folder = folder
        try:
            meta = json.loads((folder / "meta.json").read_text())
            if meta["schema"] != SCHEMA:
                raise ValueError(f"schema {meta['schema']}, not {SCHEMA}")
            # Given a path, np.load leaves the file open where it is no zip file.
            with (folder / "index.npz").open("rb") as file, np.load(file, allow_pickle=False) as index:
                columns = {key: index[key] for key in _KEYS}
            with (folder / "pixels.bin").open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._pixels = np.frombuffer(self._map, dtype=np.uint8)
            self._touched = 0
            self._adopt(meta, columns)
        except _DAMAGE as error:
            raise BenchError(
                f"{folder}: is no readable image cache ({error or type(error).__name__}); delete that folder "
                "and prepare the data again."
            ) from error

    def _adopt(self, meta: dict[str, Any], columns: dict[str, npt.NDArray[Any]]) -> None:
        self.archive_name: str = meta["archive"]
        self.digest: str = meta["digest"]
        self.official: bool = meta["official"]
        self.pixels_digest: str = meta["pixels_digest"]
        self.classes: tuple[tuple[str, str], ...] = CLASSES[meta["dataset"]]
        self.names: npt.NDArray[np.bytes_] = columns["names"]
        self.labels: npt.NDArray[np.int64] = columns["labels"].astype(np.int64)
        self.folders: npt.NDArray[np.uint8] = columns["folders"]
        self.heights: npt.NDArray[np.int32] = columns["heights"]
        self.widths: npt.NDArray[np.int32] = columns["widths"]
        self._offsets: npt.NDArray[np.int64] = columns["offsets"]
        if any(len(column) != meta["count"] for column in columns.values()):
            raise ValueError(f"the index does not hold {meta['count']} images")
        expected = _offsets(self.heights, self.widths)
        if not np.array_equal(expected[:-1], self._offsets) or expected[-1] != len(self._pixels):
            raise ValueError(f"pixels.bin has {len(self._pixels)} bytes, not the {expected[-1]} of the index")

    def __len__(self) -> int:
        return len(self.labels)

    def __reduce__(self) -> tuple[type[ImageCache], tuple[Path]]:
        return ImageCache, (self.folder,)

    def image(self, i: int) -> npt.NDArray[np.uint8]:
        """Image `i` as a read-only uint8 (height, width, 3) view of the memory map."""
        start, height, width = int(self._offsets[i]), int(self.heights[i]), int(self.widths[i])
        self._forget_pages(height * width * 3)
        return self._pixels[start : start + height * width * 3].reshape(height, width, 3)

    def _forget_pages(self, coming: int) -> None:
        # Mapped pages count as this process's memory until let go; the system's page cache keeps them.
        self._touched += coming
        if self._touched > _MAPPED and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._touched = 0


def ensure(
    archive: Archive, home: Path, progress: Progress | None = None, offline: bool = False
) -> ImageCache:
    """The cache of `archive`, decoded from the archive file and that fetched first where need be.

    Raises BenchError where that fails, or where a download is needed and `offline` forbids it.
    """
    if archives.ready_cache(archive, home) is not None:
        try:
            return open_cache(archive, home)
        except BenchError:
            # A damaged cache is rebuilt below if there is anything to rebuild it from.
            if offline and not archives.archive_path(archive, home).exists():
                raise
    if not archives.archive_path(archive, home).exists():
        if offline:
            raise archives.absent(archive, home)
        archives.fetch(archive, home, progress)
    return build(archive, home, progress)


def open_cache(archive: Archive, home: Path) -> ImageCache:
    """Open the decoded `archive`; raises BenchError where it is not decoded yet or is damaged."""
    folder = archives.ready_cache(archive, home)
    if folder is None:
        raise archives.absent(archive, home)
    return ImageCache(folder)


def build(
    archive: Archive, home: Path, progress: Progress | None = None, workers: int | None = None
) -> ImageCache:
    """Decode the archive file under `home` into a cache; one that is whole already is opened instead.

    Neither `workers` (threads) nor the order inside the archive changes a byte of the result. Raises
    BenchError naming the file or member where the archive is absent, damaged or incomplete or an image cannot
    be decoded.
    """
    with archives.locked(home / "cache" / archive.name, progress):
        ready = archives.ready_cache(archive, home)
        if ready is not None:
            with suppress(BenchError):
                return ImageCache(ready)
        if not archives.archive_path(archive, home).exists():
            raise archives.absent(archive, home)
        record = archives.ensure_record(archive, home, progress)
        folder = archives.cache_path(archive, home, record.sha256)
        _remove_torn(archive, home)
        staged = folder.with_name(f".building-{folder.name}")
        staged.mkdir()
        try:
            plan = _plan(archive, archives.archive_path(archive, home))
            _write_pixels(plan, staged, workers or os.cpu_count() or 1, progress)
            _write_index(plan, staged)
            _write_meta(plan, record, staged, progress)
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(staged, folder)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        return ImageCache(folder)


def adopt(
    archive: Archive, file: Path, home: Path, progress: Progress | None = None, digest: str | None = None
) -> tuple[Record, ImageCache]:
    """Import the user's copy of an archive and decode it.

    What `home` held before stays until the new archive has proved good to its last image. Raises BenchError
    as `import_archive` and `build` do.
    """
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".importing-") as name:
        scratch = Path(name)
        record = archives.import_archive(archive, file, scratch, progress, digest)
        built = build(archive, scratch, progress)
        with archives.locked(home / "cache" / archive.name, progress):
            folder = archives.cache_path(archive, home, record.sha256)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(built.folder, folder)
            archives.move(archive, scratch, home)
    return record, ImageCache(folder)


def folder_problems(archive: Archive, folder: Path, progress: Progress | None = None) -> list[str]:
    """Problems of a cache folder, its pixels re-hashed; empty where all is well."""
    try:
        cache = ImageCache(folder)
        val = int(np.count_nonzero(cache.folders))
        require_counts(archive, folder, len(cache) - val, val)
        found = _hash_pixels(folder / "pixels.bin", progress)
    except BenchError as error:
        return [str(error)]
    except OSError as error:
        return [f"{folder}: cannot be read ({error}); delete that folder and prepare the data again."]
    if found == cache.pixels_digest:
        return []
    return [
        f"{folder}: pixels.bin has {found}, not {cache.pixels_digest}; delete that folder and prepare the "
        "data again."
    ]


@dataclass(frozen=True)
class _Plan:
    """Which images go where: `offsets` (n + 1,) ends with the length of the whole."""

    archive: Archive
    path: Path
    members: list[ImageMember]
    heights: npt.NDArray[np.int32]
    widths: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]


def _plan(archive: Archive, path: Path) -> _Plan:
    """Sort the images and read their sizes, so that each can be written to its place as it is decoded."""
    sizes = {member: _size(path, member, data) for member, data in walk_images(archive, path)}
    members = sorted(sizes)
    val = sum(member.folder for member in members)
    require_counts(archive, path, len(members) - val, val)
    heights = np.array([sizes[member][0] for member in members], dtype=np.int32)
    widths = np.array([sizes[member][1] for member in members], dtype=np.int32)
    return _Plan(archive, path, members, heights, widths, _offsets(heights, widths))


def _write_pixels(plan: _Plan, staged: Path, workers: int, progress: Progress | None) -> None:
    require_space(staged, int(plan.offsets[-1]), "the decoded cache")
    place = {member: i for i, member in enumerate(plan.members)}
    with (staged / "pixels.bin").open("wb") as file:
        for done, (member, pixels) in enumerate(_decoded(plan.archive, plan.path, workers), start=1):
            i = place.get(member)
            if i is None or pixels.shape != (plan.heights[i], plan.widths[i], 3):
                raise BenchError(f"{plan.path}: changed while it was decoded; leave it alone and try again.")
            file.seek(int(plan.offsets[i]))
            file.write(pixels.data)
            if progress is not None:
                progress("decode", done, len(plan.members))
        file.flush()
        # A crash of the machine must not leave a folder of the right size with holes in it.
        os.fsync(file.fileno())


def _decoded(
    archive: Archive, path: Path, workers: int
) -> Iterator[tuple[ImageMember, npt.NDArray[np.uint8]]]:
    """Every image decoded by `workers` threads, in the archive's order, few of them in memory at a time."""
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        waiting: deque[tuple[ImageMember, Future[npt.NDArray[np.uint8]]]] = deque()
        try:
            for member, data in walk_images(archive, path):
                waiting.append((member, pool.submit(_pixels, path, member, data)))
                if len(waiting) > 4 * workers:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _pixels(path: Path, member: ImageMember, data: bytes) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            return np.ascontiguousarray(image.convert("RGB"), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _undecodable(path, member, error) from error


def _size(path: Path, member: ImageMember, data: bytes) -> tuple[int, int]:
    """(height, width) from the image's header."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            width, height = image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _undecodable(path, member, error) from error
    if height * width > MAX_IMAGE_PIXELS:
        raise _undecodable(path, member, ValueError(f"{width} x {height} is over {MAX_IMAGE_PIXELS} pixels"))
    return height, width


def _undecodable(path: Path, member: ImageMember, error: Exception) -> BenchError:
    # Pillow names the anonymous buffer it read from, address and all.
    reason = re.sub(r" <_io\.BytesIO.*?>", "", str(error)) or type(error).__name__
    folder = ("train", "val")[member.folder]
    return BenchError(
        f"{path}: image '{folder}/{member.wnid}/{member.name}' cannot be decoded ({reason}); get an "
        "intact copy of the archive."
    )


def _offsets(heights: npt.NDArray[np.int32], widths: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Byte offset of every image and, last, the length of the whole."""
    return np.concatenate(([0], np.cumsum(heights.astype(np.int64) * widths * 3))).astype(np.int64)


def _write_index(plan: _Plan, staged: Path) -> None:
    label_of = {wnid: label for label, (wnid, _) in enumerate(plan.archive.classes)}
    np.savez(
        staged / "index.npz",
        offsets=plan.offsets[:-1],
        heights=plan.heights,
        widths=plan.widths,
        labels=np.array([label_of[member.wnid] for member in plan.members], dtype=np.uint8),
        folders=np.array([member.folder for member in plan.members], dtype=np.uint8),
        names=np.array([member.name for member in plan.members], dtype=np.bytes_),
    )


def _write_meta(plan: _Plan, record: Record, staged: Path, progress: Progress | None) -> None:
    meta = {
        "schema": SCHEMA,
        "archive": plan.archive.name,
        "dataset": plan.archive.dataset,
        "digest": f"sha256:{record.sha256}",
        "official": record.official,
        "count": len(plan.members),
        "pixel_bytes": int(plan.offsets[-1]),
        "pixels_digest": _hash_pixels(staged / "pixels.bin", progress),
        "pillow": PIL.__version__,
    }
    (staged / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")


def _hash_pixels(path: Path, progress: Progress | None) -> str:
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress("check", done, total)
    return f"sha256:{digest.hexdigest()}"


def _remove_torn(archive: Archive, home: Path) -> None:
    """Remove what interrupted builds left; the caller holds the lock, so none is under way."""
    torn = re.compile(r"\.building-" + re.escape(archive.name) + r"-[0-9a-f]{12}")
    for folder in (home / "cache").glob(".building-*"):
        if torn.fullmatch(folder.name):
            shutil.rmtree(folder)
