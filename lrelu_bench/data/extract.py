"""Stream images straight out of an archive: nothing is extracted to disk, so no member can escape."""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lrelu_bench.data.catalog import Archive
from lrelu_bench.errors import BenchError

MAX_MEMBER_BYTES = 64 * 2**20
FOLDERS = ("train", "val")
_CHUNK = 1 << 20
_IMAGE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*\.JPEG", re.ASCII)


class ImageMember(NamedTuple):
    """Where an image lies in an archive; `folder` is 0 for train and 1 for val."""

    wnid: str
    name: str
    folder: int


def walk_images(archive: Archive, path: Path) -> Iterator[tuple[ImageMember, bytes]]:
    """Yield every image of the archive at `path` with its encoded bytes, in the archive's own order.

    Other files (the noisy-label CSV) are passed over. Raises BenchError, naming the file and the member,
    where the file is not a whole gzip tar or a member is a link or device, leaves the expected layout,
    repeats or is too large.
    """
    seen: set[tuple[str, str]] = set()
    for info, content in _files(path):
        member = _image_member(archive, path, info)
        if member is None:
            continue
        # An image in both folders would leak training data into the validation set.
        if (member.wnid, member.name) in seen:
            raise _refusal(path, info.name, "appears twice")
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


def _files(path: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Every regular file of the gzip tar at `path`, after refusing members no image archive needs."""
    try:
        # tarfile's own "r|gz" mode never checks the CRC; GzipFile does, once it is read to its end.
        with gzip.open(path, "rb") as stream:
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                while (info := tar.next()) is not None:
                    _require_safe(path, info)
                    opened = tar.extractfile(info) if info.isreg() else None
                    if opened is not None:
                        yield info, opened.read()
            while stream.read(_CHUNK):
                pass
    except FileNotFoundError as error:
        raise BenchError(f"{path}: there is no such file; give the path of a .tgz archive.") from error
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise BenchError(
            f"{path}: is not a whole gzip tar ({error or type(error).__name__}); move it away and fetch or "
            "import a good copy."
        ) from error


def _require_safe(path: Path, info: tarfile.TarInfo) -> None:
    if not (info.isreg() or info.isdir()):
        raise _refusal(path, info.name, "is a link or device")
    if info.name.startswith(("/", "\\")) or ":" in info.name:
        raise _refusal(path, info.name, "has an absolute path")
    if ".." in re.split(r"[/\\]", info.name):
        raise _refusal(path, info.name, "climbs out of its folder")
    if info.size > MAX_MEMBER_BYTES:
        raise _refusal(path, info.name, f"is {info.size} bytes long, over the limit of {MAX_MEMBER_BYTES}")


def _image_member(archive: Archive, path: Path, info: tarfile.TarInfo) -> ImageMember | None:
    """The image `info` stands for, or None for a file that is no image."""
    parts = [part for part in info.name.split("/") if part not in ("", ".")]
    name = parts[-1]
    # Archives packed on macOS hold `._x.JPEG` companions that are no images.
    if not name.upper().endswith(".JPEG") or name.startswith("."):
        return None
    layout = f"{archive.name}/{{train,val}}/<wnid>/<name>.JPEG"
    if len(parts) != 4 or parts[0] != archive.name or parts[1] not in FOLDERS:
        raise _refusal(path, info.name, f"is not laid out as {layout}")
    if parts[2] not in {wnid for wnid, _ in archive.classes}:
        raise _refusal(path, info.name, f"is of class '{parts[2]}', which {archive.dataset} does not have")
    if not _IMAGE_NAME.fullmatch(name):
        raise _refusal(path, info.name, "has an unexpected file name")
    return ImageMember(parts[2], name, FOLDERS.index(parts[1]))


def _refusal(path: Path, member: str, reason: str) -> BenchError:
    return BenchError(f"{path}: member '{member}' {reason}; get an untampered copy of the archive.")
