"""The images of an archive, streamed straight out of it in the official layout."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lrelu_bench.data.catalog import Archive
from lrelu_bench.data.tar_stream import read_members, refusal
from lrelu_bench.errors import BenchError

FOLDERS = ("train", "val")
_IMAGE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*\.JPEG", re.ASCII)


class ImageMember(NamedTuple):
    """Where an image lies in an archive; `folder` is 0 for train and 1 for val."""

    wnid: str
    name: str
    folder: int


def walk_images(archive: Archive, path: Path) -> Iterator[tuple[ImageMember, bytes]]:
    """Yield every image of the archive at `path` with its encoded bytes, in the archive's own order.

    Other files (the noisy-label CSV) are passed over. Raises BenchError, naming the file and the member,
    where `read_members` does and where an image leaves the expected layout or repeats.
    """
    seen: set[tuple[str, str]] = set()
    for name, content in read_members(path):
        member = _image_member(archive, path, name)
        if member is None:
            continue
        # An image in both folders would leak training data into the validation set.
        if (member.wnid, member.name) in seen:
            raise refusal(path, name, "appears twice")
        seen.add((member.wnid, member.name))
        yield member, content


def check_layout(archive: Archive, path: Path) -> tuple[int, int]:
    """Read the archive at `path` to its end and return its (train, val) image counts.

    Raises BenchError where `walk_images` would or where the counts are not the archive's.
    """
    counts = [0, 0]
    for member, _ in walk_images(archive, path):
        counts[member.folder] += 1
    require_counts(archive, path, counts[0], counts[1])
    return counts[0], counts[1]


def require_counts(archive: Archive, path: Path, train: int, val: int) -> None:
    """Raise BenchError unless `train` and `val` are the image counts of `archive`."""
    if (train, val) != (archive.train, archive.val):
        raise BenchError(
            f"{path}: holds {train} train and {val} val images where {archive.name} has {archive.train} and "
            f"{archive.val}; get a complete copy of {archive.filename}."
        )


def _image_member(archive: Archive, path: Path, member: str) -> ImageMember | None:
    """The image that the path of a member stands for, or None for a file that is no image."""
    parts = [part for part in member.split("/") if part not in ("", ".")]
    name = parts[-1]
    # Archives packed on macOS hold `._x.JPEG` companions that are no images.
    if not name.upper().endswith(".JPEG") or name.startswith("."):
        return None
    layout = f"{archive.name}/{{train,val}}/<wnid>/<name>.JPEG"
    if len(parts) != 4 or parts[0] != archive.name or parts[1] not in FOLDERS:
        raise refusal(path, member, f"is not laid out as {layout}")
    if parts[2] not in {wnid for wnid, _ in archive.classes}:
        raise refusal(path, member, f"is of class '{parts[2]}', which {archive.dataset} does not have")
    if not _IMAGE_NAME.fullmatch(name):
        raise refusal(path, member, "has an unexpected file name")
    return ImageMember(parts[2], name, FOLDERS.index(parts[1]))
