"""Decode an archive's images into a cache folder.

Threads decode, for Pillow releases the interpreter's lock: no worker process can die apart from the rest.
"""

from __future__ import annotations

import io
import os
import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image

from lrelu_bench.atomic_file import sync_folder
from lrelu_bench.data.cache_meta import INDEX, PIXELS, SCHEMA, CacheMeta, digest_of, write_meta
from lrelu_bench.data.catalog import Archive
from lrelu_bench.data.digests import BLOCK_BYTES, block_digests
from lrelu_bench.data.disk import require_space, writing
from lrelu_bench.data.extract import FOLDERS, ImageMember, require_counts, walk_images
from lrelu_bench.data.progress import Progress
from lrelu_bench.data.records import Record
from lrelu_bench.errors import BenchError
from lrelu_bench.printable import brief

MAX_IMAGE_PIXELS = 2**25
UNREADABLE_SHARE = 0.001
"""Share of the images that may be undecodable and are then left out; of the official bytes none may be."""
_NAMED = 20
_Pixels = npt.NDArray[np.uint8]
_Reasons = dict[ImageMember, str]


def decode_archive(
    archive: Archive, path: Path, record: Record, staged: Path, workers: int, progress: Progress | None
) -> None:
    """Decode the archive file at `path` into the empty folder `staged`, synced to the disk.

    Neither `workers` (threads) nor the order inside the archive changes a byte of the result. Images that
    cannot be decoded are left out and named in the meta. Raises BenchError where they are too many, where the
    archive is damaged or incomplete, and where the disk is full.
    """
    unreadable: _Reasons = {}
    while True:
        plan = _plan(archive, path, unreadable)
        _require_few(plan, record.official)
        found = _write_pixels(plan, staged, workers, progress)
        if not found:
            break
        # Where they would have stood are holes: lay out the rest anew.
        unreadable |= found
        _require_few(plan, record.official)
    _write_index(plan, staged)
    _write_meta(plan, record, staged, progress)
    sync_folder(staged)


def offsets_of(heights: npt.NDArray[np.int32], widths: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Byte offset of every image and, last, the length of the whole."""
    return np.concatenate(([0], np.cumsum(heights.astype(np.int64) * widths * 3))).astype(np.int64)


@dataclass(frozen=True)
class _Plan:
    """Which images go where: `offsets` (n + 1,) ends with the length of the whole."""

    archive: Archive
    path: Path
    members: list[ImageMember]
    unreadable: _Reasons
    heights: npt.NDArray[np.int32]
    widths: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]


def _plan(archive: Archive, path: Path, unreadable: _Reasons) -> _Plan:
    """Sort the images and read their sizes, so that each can be written to its place as it is decoded.

    Those without a size join `unreadable`.
    """
    sizes: dict[ImageMember, tuple[int, int]] = {}
    counts = [0, 0]
    for member, data in walk_images(archive, path):
        counts[member.folder] += 1
        if member not in unreadable:
            size = _size(data)
            if isinstance(size, str):
                unreadable[member] = size
            else:
                sizes[member] = size
    require_counts(archive, path, *counts)
    members = sorted(sizes)
    heights = np.array([sizes[member][0] for member in members], dtype=np.int32)
    widths = np.array([sizes[member][1] for member in members], dtype=np.int32)
    return _Plan(archive, path, members, unreadable, heights, widths, offsets_of(heights, widths))


def _require_few(plan: _Plan, official: bool) -> None:
    """Raise BenchError where more images are unreadable than may be left out."""
    count = plan.archive.train + plan.archive.val
    allowed = 0 if official else int(count * UNREADABLE_SHARE)
    if len(plan.unreadable) <= allowed:
        return
    named = [f"'{_path_of(member)}': {reason}" for member, reason in sorted(plan.unreadable.items())]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    raise BenchError(
        f"{plan.path}: {len(named)} of {count} images cannot be decoded, where {allowed} may be left out "
        f"({'; '.join(named[:_NAMED])}{more}); get an intact copy of the archive."
    )


def _write_pixels(plan: _Plan, staged: Path, workers: int, progress: Progress | None) -> _Reasons:
    """Write every image to its place; returns those that turn out to be unreadable."""
    require_space(staged, int(plan.offsets[-1]), "the decoded cache")
    place = {member: i for i, member in enumerate(plan.members)}
    found: _Reasons = {}
    with writing(staged / PIXELS), (staged / PIXELS).open("wb") as file:
        for done, (member, pixels) in enumerate(_decoded(plan, workers), start=1):
            i = place.get(member)
            if isinstance(pixels, str):
                found[member] = pixels
            elif i is None or pixels.shape != (plan.heights[i], plan.widths[i], 3):
                raise BenchError(f"{plan.path}: changed while it was decoded; leave it alone and try again.")
            else:
                file.seek(int(plan.offsets[i]))
                file.write(pixels.data)
            if progress is not None:
                progress("decode", done, len(plan.members))
        file.flush()
        # A crash of the machine must not leave a folder of the right size with holes in it.
        os.fsync(file.fileno())
    return found


def _decoded(plan: _Plan, workers: int) -> Iterator[tuple[ImageMember, _Pixels | str]]:
    """Every image of the plan decoded by `workers` threads, in the archive's order, few at a time."""
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        waiting: deque[tuple[ImageMember, Future[_Pixels | str]]] = deque()
        try:
            for member, data in walk_images(plan.archive, plan.path):
                if member in plan.unreadable:
                    continue
                try:
                    waiting.append((member, pool.submit(_pixels, data)))
                except RuntimeError as error:
                    # What Python raises where the system allows no further thread.
                    raise MemoryError(str(error)) from error
                if len(waiting) > 4 * workers:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _pixels(data: bytes) -> _Pixels | str:
    """The image's pixels, or why it has none."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            return np.ascontiguousarray(image.convert("RGB"), dtype=np.uint8)
    except MemoryError:
        raise
    except Exception as error:
        # A damaged file makes a decoder raise almost anything.
        return _reason(error)


def _size(data: bytes) -> tuple[int, int] | str:
    """(height, width) from the image's header, or why it has none."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            width, height = image.size
    except MemoryError:
        raise
    except Exception as error:
        # A damaged file makes a decoder raise almost anything.
        return _reason(error)
    if height * width > MAX_IMAGE_PIXELS:
        return f"{width} x {height} is over {MAX_IMAGE_PIXELS} pixels"
    return height, width


def _reason(error: Exception) -> str:
    # Pillow names the anonymous buffer it read from, address and all.
    return brief(re.sub(r" <_io\.BytesIO.*?>", "", str(error)) or type(error).__name__)


def _path_of(member: ImageMember) -> str:
    return f"{FOLDERS[member.folder]}/{member.wnid}/{member.name}"


def _write_index(plan: _Plan, staged: Path) -> None:
    label_of = {wnid: label for label, (wnid, _) in enumerate(plan.archive.classes)}
    with writing(staged / INDEX), (staged / INDEX).open("wb") as file:
        np.savez(
            file,
            offsets=plan.offsets[:-1],
            heights=plan.heights,
            widths=plan.widths,
            labels=np.array([label_of[member.wnid] for member in plan.members], dtype=np.uint8),
            folders=np.array([member.folder for member in plan.members], dtype=np.uint8),
            names=np.array([member.name for member in plan.members], dtype=np.bytes_),
        )
        file.flush()
        os.fsync(file.fileno())


def _write_meta(plan: _Plan, record: Record, staged: Path, progress: Progress | None) -> None:
    meta = CacheMeta(
        schema=SCHEMA,
        archive=plan.archive.name,
        dataset=plan.archive.dataset,
        digest=f"sha256:{record.sha256}",
        official=record.official,
        count=len(plan.members),
        pixel_bytes=int(plan.offsets[-1]),
        pillow=PIL.__version__,
        block_bytes=BLOCK_BYTES,
        blocks=block_digests(staged / PIXELS, BLOCK_BYTES, progress),
        index_digest=digest_of((staged / INDEX).read_bytes()),
        unreadable={_path_of(member): reason for member, reason in sorted(plan.unreadable.items())},
    )
    write_meta(staged, meta)
