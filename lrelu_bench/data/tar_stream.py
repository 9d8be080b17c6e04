"""The members of a gzip tar, read once from front to end and distrusted: nothing is ever extracted to disk.

Python's own `tarfile` reads a header's announced length into memory, follows sparse maps and keeps every
member it has met. Here every length is bounded before a byte of it is read.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lrelu_bench.errors import BenchError
from lrelu_bench.printable import brief

_BLOCK = 512
_CHUNK = 1 << 20
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_PAX = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_PAX_RECORD = re.compile(rb"(\d{1,9}) ([^=]+)=")


@dataclass(frozen=True)
class Limits:
    """What an archive may hold; the largest official one has 13,394 images in 1.6 GB, hardly compressed."""

    member_bytes: int = 64 * 2**20
    total_bytes: int = 4 * 2**30
    members: int = 100_000
    name_bytes: int = 255
    header_bytes: int = 2**16
    ratio: float = 20.0
    """Decompressed to compressed bytes, once `ratio_from` bytes are decompressed."""
    ratio_from: int = 32 * 2**20


LIMITS = Limits()


class Member(NamedTuple):
    """A regular file of an archive: its path as written there, and its bytes."""

    name: str
    content: bytes


def read_members(path: Path) -> Iterator[Member]:
    """Every regular file of the gzip tar at `path`, in order.

    Raises BenchError, naming the file and the member, where it is not a whole gzip tar, where a member is
    anything but a file or folder, has a path that is absolute, climbs, or is not plain text, where two paths
    are the same on some file system, and where a limit is passed.
    """
    try:
        with path.open("rb") as raw, gzip.open(raw, "rb") as stream:
            yield from _Reader(path, stream, path.stat().st_size, LIMITS).members()
    except FileNotFoundError as error:
        raise BenchError(f"{path}: there is no such file; give the path of a .tgz archive.") from error
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise BenchError(
            f"{path}: is not a whole gzip tar ({brief(str(error)) or type(error).__name__}); move it away "
            "and fetch or import a good copy."
        ) from error


def refusal(path: Path, member: str, reason: str) -> BenchError:
    """The error to raise about a member that no official archive has."""
    return BenchError(f"{path}: member '{brief(member)}' {reason}; get an untampered copy of the archive.")


class _Reader:
    def __init__(self, path: Path, stream: gzip.GzipFile, compressed: int, limits: Limits) -> None:
        self._path, self._stream, self._compressed, self._limits = path, stream, compressed, limits
        self._read_bytes, self._headers = 0, 0
        self._name = ""
        self._paths: dict[str, tuple[str, bool]] = {}
        self._files: set[str] = set()

    def members(self) -> Iterator[Member]:
        while (info := self._next()) is not None:
            self._name = info.name
            self._require_safe(info)
            if info.isdir():
                self._skip(info.size)
                continue
            content = self._read(info.size)
            self._skip(-info.size % _BLOCK)
            yield Member(info.name, content)
        # The gzip's check sum stands after its last byte.
        while self._read_some(_CHUNK):
            pass

    def _next(self) -> tarfile.TarInfo | None:
        """The next member's header with its long name in place, or None at the end."""
        long_name: str | None = None
        long_size: int | None = None
        while True:
            block = self._read_some(_BLOCK)
            if not block.strip(b"\0"):
                # Two blocks of zeros end a tar; a file that ends with neither has lost nothing of a member.
                if not self._headers:
                    raise tarfile.ReadError("it holds no member")
                if long_name is not None or long_size is not None:
                    raise tarfile.ReadError("it ends after a header that announces a member")
                return None
            self._headers += 1
            if self._headers > self._limits.members:
                reason = f"is followed by more: over the limit of {self._limits.members} members"
                raise refusal(self._path, self._name, reason)
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            self._name = info.name
            if info.size < 0:
                raise refusal(self._path, info.name, f"is {info.size} bytes long")
            if info.type == tarfile.GNUTYPE_LONGNAME:
                long_name = self._extended(info).rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif info.type in _PAX:
                name, size = self._pax(info)
                long_name, long_size = name or long_name, size if size is not None else long_size
            else:
                info.name = info.name if long_name is None else long_name
                info.size = info.size if long_size is None else long_size
                return info

    def _extended(self, info: tarfile.TarInfo) -> bytes:
        """What an extended header says of the next member."""
        if info.size > self._limits.header_bytes:
            reason = f"is a header of {info.size} bytes, over the limit of {self._limits.header_bytes}"
            raise refusal(self._path, info.name, reason)
        content = self._read(info.size)
        self._skip(-info.size % _BLOCK)
        return content

    def _pax(self, info: tarfile.TarInfo) -> tuple[str | None, int | None]:
        """(path, size) that a pax header gives the next member, None for what it does not give."""
        content, at, found = self._extended(info), 0, {}
        while at < len(content) and content[at] != 0:
            match = _PAX_RECORD.match(content, at)
            end = at + int(match[1]) if match else 0
            if match is None or end <= match.end() or content[end - 1 : end] != b"\n":
                raise refusal(self._path, info.name, "is a pax header that makes no sense")
            found[match[2]], at = content[match.end() : end - 1], end
        if any(key.startswith(b"GNU.sparse.") for key in found):
            raise refusal(self._path, info.name, "announces a sparse file")
        if info.type == tarfile.XGLTYPE and found.keys() & {b"path", b"size", b"linkpath"}:
            raise refusal(self._path, info.name, "gives every member one path or size")
        size = found.get(b"size")
        if size is not None and not re.fullmatch(rb"\d{1,18}", size):
            raise refusal(self._path, info.name, "is a pax header that makes no sense")
        name = found.get(b"path")
        return (
            None if name is None else name.decode("utf-8", "surrogateescape"),
            None if size is None else int(size),
        )

    def _require_safe(self, info: tarfile.TarInfo) -> None:
        name = info.name
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise refusal(self._path, name, "is a sparse file")
        if not (info.type in _FILES or info.isdir()):
            raise refusal(self._path, name, "is a link or device")
        if (length := len(name.encode("utf-8", "surrogateescape"))) > self._limits.name_bytes:
            limit = self._limits.name_bytes
            raise refusal(self._path, name, f"has a name of {length} bytes, over the limit of {limit}")
        if any(unicodedata.category(one).startswith("C") for one in name):
            raise refusal(self._path, name, "has control characters, or bytes that are no UTF-8, in its name")
        if name.startswith(("/", "\\")) or ":" in name:
            raise refusal(self._path, name, "has an absolute path")
        if ".." in re.split(r"[/\\]", name):
            raise refusal(self._path, name, "climbs out of its folder")
        if info.size > self._limits.member_bytes:
            limit = self._limits.member_bytes
            raise refusal(self._path, name, f"is {info.size} bytes long, over the limit of {limit}")
        self._require_new(name, info.isdir())

    def _require_new(self, name: str, is_folder: bool) -> None:
        """Refuse a path that is that of an earlier member, on this file system or on some other."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if not parts and not is_folder:
            raise refusal(self._path, name, "has no name")
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            folder = is_folder or depth < len(parts)
            same = unicodedata.normalize("NFC", path.casefold())
            earlier, was_folder = self._paths.setdefault(same, (path, folder))
            if earlier != path:
                reason = f"differs from '{brief(earlier)}' only in case or in how letters are encoded"
                raise refusal(self._path, name, reason)
            if was_folder != folder:
                raise refusal(self._path, name, "is a file in one place and a folder in another")
            if not folder:
                if path in self._files:
                    raise refusal(self._path, name, "appears twice")
                self._files.add(path)

    def _read(self, size: int) -> bytes:
        parts, left = [], size
        while left:
            chunk = self._read_some(min(left, _CHUNK))
            if not chunk:
                raise EOFError(f"member '{brief(self._name)}' is cut short")
            parts.append(chunk)
            left -= len(chunk)
        return b"".join(parts)

    def _skip(self, size: int) -> None:
        self._read(size)

    def _read_some(self, size: int) -> bytes:
        """At most `size` decompressed bytes, fewer only at the end."""
        chunk = self._stream.read(size)
        self._read_bytes += len(chunk)
        limits, total = self._limits, self._read_bytes
        if total > limits.total_bytes:
            reason = f"brings the whole over the limit of {limits.total_bytes} bytes"
            raise refusal(self._path, self._name, reason)
        if total > limits.ratio_from and total > limits.ratio * self._compressed:
            reason = f"is in a bomb: over {limits.ratio:g} times the {self._compressed} compressed bytes"
            raise refusal(self._path, self._name, reason)
        return chunk
