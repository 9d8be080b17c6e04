"""The disk under the data folder: room on it, and what to tell somebody whose disk refuses a file."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lrelu_bench.atomic_file import find_torn, sync_folder, write_atomically
from lrelu_bench.errors import BenchError

SPARE_BYTES = 64 * 2**20
# EFBIG: a limit of the file system or of the process on one file.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Raise BenchError unless the disk of `folder` has `needed` bytes and a little more free."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise BenchError(
            f"{folder}: {free / 1e9:.2f} GB are free where {purpose} needs "
            f"{(needed + SPARE_BYTES) / 1e9:.2f} GB; free some space or set LRELU_BENCH_DATA to a "
            "folder on a larger disk."
        )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise BenchError with the remedy where the block fails to write `path` (full disk, permissions)."""
    try:
        yield
    except OSError as error:
        raise _refused(path, error) from error


def write_whole(path: Path, text: str) -> None:
    """Write a small file whole or not at all, synced to the disk; raises BenchError as `writing` does."""
    try:
        write_atomically(path, text)
    except BenchError as error:
        # It names the remedy of another folder, that of results.
        if isinstance(error.__cause__, OSError):
            raise _refused(path, error.__cause__) from error.__cause__
        raise


def put_in_place(staged: Path, path: Path) -> None:
    """Give a finished file its final name so that a loss of power leaves it whole, or under the old name."""
    with writing(path):
        if os.name == "posix":
            with staged.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(staged, path)
        sync_folder(path.parent)


def torn_writes(path: Path) -> list[Path]:
    """What killed writers of `path` left beside it; the caller holds the lock, so none is under way."""
    return [left for left in find_torn(path.parent) if left.name.startswith(f".{path.name}.")]


def _refused(path: Path, error: OSError) -> BenchError:
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno in _FULL:
        return BenchError(
            f"{path}: the disk is full ({reason}); free some space or set LRELU_BENCH_DATA to a folder on a "
            "larger disk, then run the same command again."
        )
    return BenchError(
        f"{path}: cannot be written ({reason}); mend its permissions or set LRELU_BENCH_DATA to a folder of "
        "yours."
    )
