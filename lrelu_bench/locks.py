"""Locks between processes: files the system frees when their holder dies, which say who holds them."""

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lrelu_bench import plain_file
from lrelu_bench.atomic_file import cannot_write
from lrelu_bench.errors import BenchError


class Held(Exception):  # noqa: N818 (a state, not a mistake)
    """Another process holds the lock; the message says which."""


@contextmanager
def hold_at_once(lock_file: Path) -> Iterator[None]:
    """Hold the lock while the block runs; raises `Held` where another process does.

    A lock that its holder did not live to give back is free. The file stays: were it deleted, two processes
    could hold locks on two files of one name. Raises `BenchError` where the file cannot be written.
    """
    with _held(lock_file, None):
        yield


@contextmanager
def hold(lock_file: Path, on_wait: Callable[[str], None]) -> Iterator[None]:
    """`hold_at_once`, but where another process holds the lock, wait for it and say so with its name."""
    with _held(lock_file, on_wait):
        yield


@contextmanager
def _held(lock_file: Path, on_wait: Callable[[str], None] | None) -> Iterator[None]:
    from filelock import FileLock

    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(lock_file)
        if not _acquired(lock):
            if on_wait is None:
                raise Held(holder_of(lock_file))
            on_wait(holder_of(lock_file))
            lock.acquire()
        _sign(lock_file)
    except OSError as error:
        raise cannot_write(lock_file, error) from error
    try:
        yield
    finally:
        lock.release()


def _acquired(lock: Any) -> bool:
    try:
        # Not 0: `is_held` may be asking for an instant.
        lock.acquire(timeout=0.2)
    except TimeoutError as error:
        # By name: its class is another one where the package was imported a second time.
        if type(error).__name__ != "Timeout":
            raise
        return False
    return True


def _sign(lock_file: Path) -> None:
    """Write into a held lock who holds it."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    # Windows denies writing to a locked file: there the holder stays unnamed.
    with suppress(OSError):
        lock_file.write_text(json.dumps({"pid": os.getpid(), "host": platform.node(), "since": now}) + "\n")


def holder_of(lock_file: Path) -> str:
    """Who last took the lock, in words for a message."""
    try:
        signed = json.loads(plain_file.read_text(lock_file, 10_000))
        return f"process {int(signed['pid'])} on {signed['host']} since {signed['since']}"
    except (BenchError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"


def is_held(lock_file: Path) -> bool:
    """Whether a process holds the lock now; False where there is no such file or the system cannot be asked.

    Nothing is written.
    """
    if sys.platform == "win32":
        return False
    import fcntl

    if not lock_file.is_file():
        return False
    try:
        with lock_file.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
