"""Digests of files: of a whole one, and of a large one's blocks on several cores."""

from __future__ import annotations

import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lrelu_bench.data.progress import Progress
from lrelu_bench.errors import BenchError

BLOCK_BYTES = 32 * 2**20
"""Size of the blocks of new caches: small enough for every core to have some."""
_THREADS = 4
_CHUNK = 1 << 20
_HEX_DIGITS = {"sha256": 64, "md5": 32}


def hash_file(path: Path, progress: Progress | None, algorithms: tuple[str, ...]) -> dict[str, str]:
    """The file's digest in hex by each algorithm; raises OSError where it cannot be read."""
    hashes = [hashlib.new(algorithm, usedforsecurity=algorithm != "md5") for algorithm in algorithms]
    total, done = path.stat().st_size, 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for each in hashes:
                each.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress("check", done, total)
    return {each.name: each.hexdigest() for each in hashes}


def require_digest(path: Path, digest: str, progress: Progress | None) -> None:
    """Raise BenchError unless the file has `digest`, "sha256:<hex>" or "md5:<hex>"."""
    algorithm, _, expected = digest.strip().lower().partition(":")
    if len(expected) != _HEX_DIGITS.get(algorithm, -1) or not re.fullmatch(r"[0-9a-f]*", expected):
        raise BenchError(
            f"digest: '{digest}' is not of the form sha256:<64 hex digits> or md5:<32>; correct it."
        )
    found = hash_file(path, progress, (algorithm,))[algorithm]
    if found != expected:
        raise BenchError(
            f"{path}: has {algorithm}:{found}, not {algorithm}:{expected}; get the copy you meant."
        )


def block_digests(path: Path, block_bytes: int, progress: Progress | None) -> list[str]:
    """SHA-256 in hex of each `block_bytes` of the file, in order; raises OSError where it cannot be read.

    Processors have instructions for SHA-256, and it runs without the interpreter's lock.
    """
    total = path.stat().st_size
    digests: list[str] = []
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), thread_name_prefix="check") as pool:
        blocks = [pool.submit(_block, path, start, block_bytes) for start in range(0, total, block_bytes)]
        for block in blocks:
            digests.append(block.result())
            if progress is not None:
                progress("check", min(len(digests) * block_bytes, total), total)
    return digests


def _block(path: Path, start: int, size: int) -> str:
    digest, left, buffer = hashlib.sha256(), size, memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while left and (count := file.readinto(buffer[:left])):
            digest.update(buffer[:count])
            left -= count
    return digest.hexdigest()
