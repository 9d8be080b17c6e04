"""Decoded pixels of an archive, memory-mapped: decode once with Pillow, then read any image without a copy.

A cache folder holds `pixels.bin` (uint8 RGB HWC images back to back, sizes untouched), `index.npz` (where
each image lies, its label, folder and name) and `meta.json` (digests of the two, and its own). Images stand
in sorted (wnid, name) order whichever folder they came from, so that the v1 and v2 splits are just index sets
over one cache.
"""

from __future__ import annotations

import io
import mmap
import os
import re
import shutil
import zipfile
import zlib
from contextlib import suppress
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lrelu_bench.atomic_file import sync_folder
from lrelu_bench.data import archives, cache_meta
from lrelu_bench.data.cache_meta import INDEX, PIXELS, SCHEMA, DamagedCacheError, read_meta
from lrelu_bench.data.catalog import CLASSES, Archive
from lrelu_bench.data.decode import decode_archive, offsets_of
from lrelu_bench.data.digests import BLOCK_BYTES, block_digests, hash_file
from lrelu_bench.data.disk import writing
from lrelu_bench.data.extract import FOLDERS, require_counts
from lrelu_bench.data.progress import Progress, say
from lrelu_bench.data.records import Record
from lrelu_bench.errors import BenchError

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
    int32 (n,); `unreadable` why images that the archive has (`train/<wnid>/<name>`) are not among them.
    Opening reads and checks all but the pixels, which `require_sound` does; pickling sends the folder's path
    only, so workers map the same pages.
    """

    channels = 3

    def __init__(self, folder: Path) -> None:
        """Open the cache in `folder`; raises DamagedCacheError where it is absent or damaged."""
        self.folder = folder
        self.meta = read_meta(folder)
        try:
            index = (self.folder / INDEX).read_bytes()
            if self.meta.schema == SCHEMA and self.meta.index_digest != cache_meta.digest_of(index):
                raise ValueError(f"{INDEX} does not have the digest it was written with")
            with np.load(io.BytesIO(index), allow_pickle=False) as loaded:
                columns = {key: loaded[key] for key in _KEYS}
            with (self.folder / PIXELS).open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._pixels = np.frombuffer(self._map, dtype=np.uint8)
            self._touched = 0
            self._adopt(columns)
        except PermissionError as error:
            raise cache_meta.unreadable(self.folder, error) from error
        except _DAMAGE as error:
            raise DamagedCacheError(self.folder, cache_meta.reason(error)) from error

    def _adopt(self, columns: dict[str, npt.NDArray[Any]]) -> None:
        meta = self.meta
        self.archive_name, self.digest, self.official = meta.archive, meta.digest, meta.official
        self.unreadable = meta.unreadable
        self.classes: tuple[tuple[str, str], ...] = CLASSES[meta.dataset]
        self.names: npt.NDArray[np.bytes_] = columns["names"]
        self.labels: npt.NDArray[np.int64] = columns["labels"].astype(np.int64)
        self.folders: npt.NDArray[np.uint8] = columns["folders"]
        self.heights: npt.NDArray[np.int32] = columns["heights"]
        self.widths: npt.NDArray[np.int32] = columns["widths"]
        self._offsets: npt.NDArray[np.int64] = columns["offsets"]
        if any(column.shape != (meta.count,) for column in columns.values()):
            raise ValueError(f"{INDEX} does not hold {meta.count} images")
        expected = offsets_of(self.heights, self.widths)
        if not np.array_equal(expected[:-1], self._offsets) or expected[-1] != len(self._pixels):
            raise ValueError(f"{PIXELS} has {len(self._pixels)} bytes, not the {expected[-1]} of the index")

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

    def require_sound(self, progress: Progress | None = None) -> None:
        """Read every pixel and raise DamagedCacheError where one is not what was written."""
        meta, path = self.meta, self.folder / PIXELS
        try:
            if meta.schema == SCHEMA:
                written, found = meta.blocks, block_digests(path, meta.block_bytes, progress)
            else:
                whole = hash_file(path, progress, ("sha256",))["sha256"]
                written, found = [meta.pixels_digest], [f"sha256:{whole}"]
        except OSError as error:
            raise DamagedCacheError(self.folder, cache_meta.reason(error)) from error
        bad = sum(one != other for one, other in zip_longest(found, written))
        if bad:
            what = f"{PIXELS}: {bad} of {len(found)} blocks changed since they were written"
            raise DamagedCacheError(self.folder, what)


def ensure(
    archive: Archive, home: Path, progress: Progress | None = None, offline: bool = False
) -> ImageCache:
    """The cache of `archive`, each of its bytes checked.

    What is missing or damaged is decoded from the archive file, which is fetched where neither is here.
    Raises BenchError where that fails, where a download is needed and `offline` forbids it, and
    DamagedCacheError where the cache is damaged and its archive gone.
    """
    folder = archives.cache_folder(archive, home)
    if folder is not None:
        with suppress(DamagedCacheError):
            found = _sound(archive, folder, progress)
            if found.meta.schema != SCHEMA:
                # On a read-only disk it cannot be upgraded, but it serves.
                with suppress(BenchError):
                    found = build(archive, home, progress)
            return found
    elif not archives.archive_path(archive, home).exists():
        if offline:
            raise archives.absent(archive, home)
        archives.fetch(archive, home, progress)
    return build(archive, home, progress)


def fetch(archive: Archive, home: Path, progress: Progress | None = None) -> ImageCache:
    """`ensure`, but a cache that is damaged and has lost its archive is replaced by a download."""
    try:
        return ensure(archive, home, progress)
    except DamagedCacheError as damage:
        archives.fetch(archive, home, progress)
        built = build(archive, home, progress)
        if damage.folder != built.folder:
            shutil.rmtree(damage.folder, ignore_errors=True)
        return built


def open_cache(archive: Archive, home: Path) -> ImageCache:
    """Open the decoded `archive`, its pixels unchecked.

    Raises BenchError where it is not decoded yet or its index or meta is damaged.
    """
    folder = archives.cache_folder(archive, home)
    if folder is None:
        raise archives.absent(archive, home)
    return ImageCache(folder)


def build(
    archive: Archive, home: Path, progress: Progress | None = None, workers: int | None = None
) -> ImageCache:
    """Decode the archive file under `home` into a cache; one that is sound already is opened instead.

    Neither `workers` (threads) nor the order inside the archive changes a byte of the result. Raises
    BenchError naming the file or member where the archive is absent, damaged or incomplete, too many images
    cannot be decoded, or the disk or the memory is full.
    """
    with archives.locked(home / "cache" / archive.name, progress):
        folder, damage = archives.cache_folder(archive, home), None
        if folder is not None:
            try:
                return _upgraded(_sound(archive, folder, progress), progress)
            except DamagedCacheError as error:
                damage = error
        if not archives.archive_path(archive, home).exists():
            raise damage or archives.absent(archive, home)
        if damage is not None:
            say(progress, f"{damage.folder}: damaged ({damage.what}); decoding the archive again")
        record = archives.ensure_record(archive, home, progress)
        archives.require_recorded(archive, home, record, progress)
        folder = archives.cache_path(archive, home, record.sha256)
        _remove_remains(archive, home)
        staged = folder.with_name(f".building-{folder.name}")
        path = archives.archive_path(archive, home)
        try:
            with writing(staged):
                staged.mkdir()
            decode_archive(archive, path, record, staged, workers or os.cpu_count() or 1, progress)
            _replace(folder, staged)
        except MemoryError as error:
            raise BenchError(
                f"{path}: the machine has too little memory, or allows too few threads, to decode it "
                f"({str(error) or type(error).__name__}); close other programs and try again."
            ) from error
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        built = ImageCache(folder)
    _say_left_out(built, progress)
    return built


def adopt(
    archive: Archive, file: Path, home: Path, progress: Progress | None = None, digest: str | None = None
) -> tuple[Record, ImageCache]:
    """Import the user's copy of an archive and decode it.

    What `home` held before stays until the new archive has proved good to its last image. Raises BenchError
    as `import_archive` and `build` do.
    """
    with archives.locked(home / "cache" / archive.name, progress):
        _remove_remains(archive, home)
        scratch = _scratch(archive, home)
        try:
            with writing(scratch):
                scratch.mkdir()
            record = archives.import_archive(archive, file, scratch, progress, digest)
            built = build(archive, scratch, progress)
            before = archives.cache_folder(archive, home)
            folder = archives.cache_path(archive, home, record.sha256)
            _replace(folder, built.folder)
            archives.move(archive, scratch, home, progress)
            if before is not None and before != folder:
                # No command would find it again.
                shutil.rmtree(before, ignore_errors=True)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return record, ImageCache(folder)


def folder_problems(archive: Archive, folder: Path, progress: Progress | None = None) -> list[str]:
    """Problems of a cache folder, every byte of it read; empty where all is well."""
    try:
        cache = _sound(archive, folder, progress)
        val = int(np.count_nonzero(cache.folders))
        val_left_out = sum(path.startswith(f"{FOLDERS[1]}/") for path in cache.unreadable)
        train_left_out = len(cache.unreadable) - val_left_out
        require_counts(archive, folder, len(cache) - val + train_left_out, val + val_left_out)
    except BenchError as error:
        return [str(error)]
    return []


def _sound(archive: Archive, folder: Path, progress: Progress | None) -> ImageCache:
    cache = ImageCache(folder)
    named = archives.cache_path(archive, folder.parent.parent, cache.digest.removeprefix("sha256:")).name
    if cache.archive_name != archive.name or folder.name != named:
        raise DamagedCacheError(folder, f"it was made as {named} of {cache.archive_name}")
    cache.require_sound(progress)
    _say_left_out(cache, progress)
    return cache


def _upgraded(cache: ImageCache, progress: Progress | None) -> ImageCache:
    """The sound cache with a meta of today's schema; the caller holds the lock."""
    if cache.meta.schema == SCHEMA:
        return cache
    blocks = block_digests(cache.folder / PIXELS, BLOCK_BYTES, progress)
    index_digest = cache_meta.digest_of((cache.folder / INDEX).read_bytes())
    meta = replace(
        cache.meta,
        schema=SCHEMA,
        block_bytes=BLOCK_BYTES,
        blocks=blocks,
        index_digest=index_digest,
        pixels_digest="",
    )
    cache_meta.write_meta(cache.folder, meta)
    say(progress, f"{cache.folder}: checked, and upgraded from schema {cache.meta.schema} to {SCHEMA}")
    return ImageCache(cache.folder)


def _say_left_out(cache: ImageCache, progress: Progress | None) -> None:
    if cache.unreadable:
        named = "; ".join(f"'{path}': {reason}" for path, reason in cache.unreadable.items())
        total = len(cache) + len(cache.unreadable)
        say(
            progress,
            f"{cache.archive_name}: {len(cache.unreadable)} of {total:,} images cannot be decoded and are "
            f"left out ({named})",
        )


def _replace(folder: Path, staged: Path) -> None:
    """Put a finished cache in the place of one that may be there; the caller holds the lock."""
    with writing(folder):
        aside = folder.with_name(f".discarded-{folder.name}")
        if folder.exists():
            os.replace(folder, aside)
        os.replace(staged, folder)
        sync_folder(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _scratch(archive: Archive, home: Path) -> Path:
    return home / f".importing-{archive.name}"


def _remove_remains(archive: Archive, home: Path) -> None:
    """Remove what killed builds and imports left; the caller holds the lock, so none is under way."""
    ours = re.compile(r"\.(building|discarded)-" + re.escape(archive.name) + r"-[0-9a-f]{12}")
    remains = [folder for folder in (home / "cache").glob(".*") if ours.fullmatch(folder.name)]
    for folder in [*remains, _scratch(archive, home)]:
        with writing(folder), suppress(FileNotFoundError):
            shutil.rmtree(folder)
