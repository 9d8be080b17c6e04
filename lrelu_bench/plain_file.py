"""A file that somebody else wrote or named, read whole: a plain file of a bounded size, and never a wait."""

import os
import stat
from pathlib import Path

from lrelu_bench.errors import BenchError

# Where a pipe took the place of the file since it was looked at, opening it must not wait for a writer.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class MissingError(BenchError):
    """No file is there."""


def read_bytes(path: Path, limit: int, remedy: str = "check the path") -> bytes:
    """The content of a plain file of at most `limit` bytes; `remedy` ends the sentence about another.

    Raises `MissingError` where there is none, and `BenchError` where it is a folder, pipe, device or loop of
    links, larger, or cannot be read.
    """
    try:
        # Looked at before it is opened, because opening alone makes some devices act.
        _require_plain(path, os.stat(path), remedy)
        with open(os.open(path, _FLAGS), "rb") as file:
            status = os.fstat(file.fileno())
            _require_plain(path, status, remedy)
            # Python reserves what is asked for; of the system's own files the size is told as 0.
            content = file.read(min(status.st_size or limit, limit) + 1)
            if content is None:  # of the system's own files, one that has nothing to say yet
                raise BlockingIOError("it makes its reader wait")
    except (FileNotFoundError, NotADirectoryError):
        raise MissingError(f"{path}: no such file; {remedy}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BenchError(f"{path}: cannot be read ({reason}); {remedy}") from None
    if len(content) > limit:
        raise BenchError(f"{path}: larger than {_size(limit)}, which no such file is; {remedy}")
    return content


def read_text(path: Path, limit: int, remedy: str = "check the path") -> str:
    """The same as text, without a byte order mark; raises `BenchError`, too, where it is not UTF-8."""
    return as_text(read_bytes(path, limit, remedy), path, remedy)


def as_text(content: bytes, path: Path, remedy: str = "check the path") -> str:
    """A file's content as text; raises `BenchError` where it is not UTF-8."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BenchError(f"{path}: the file is UTF-16; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # error.start counts from after a byte-order mark, which holds no line break.
        line = content.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise BenchError(f"{path}:{line}: byte 0x{byte:02x} is not UTF-8; {remedy}") from None


def _require_plain(path: Path, status: os.stat_result, remedy: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no plain file")
        raise BenchError(f"{path}: is {kind}, not a file; {remedy}")


def _size(limit: int) -> str:
    return f"{limit // 1_000_000} MB" if limit >= 1_000_000 else f"{limit // 1000} kB"
