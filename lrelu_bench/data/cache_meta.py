"""What a cache folder says of itself in `meta.json`: from what it was made, and the digests of its files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lrelu_bench.data.disk import write_whole
from lrelu_bench.errors import BenchError

SCHEMA = 2
META, INDEX, PIXELS = "meta.json", "index.npz", "pixels.bin"
_TYPES = {
    "schema": int,
    "archive": str,
    "dataset": str,
    "digest": str,
    "official": bool,
    "count": int,
    "pixel_bytes": int,
    "pillow": str,
    "block_bytes": int,
    "blocks": list,
    "index_digest": str,
    "unreadable": dict,
    "pixels_digest": str,
}


class DamagedCacheError(BenchError):
    """The cache in a folder is not what was written there; `what` says in which way."""

    def __init__(self, folder: Path, what: str) -> None:
        super().__init__(
            f"{folder}: the image cache is damaged ({what}); run `lrelu-bench data fetch "
            f"{archive_in(folder)}`, or `lrelu-bench data import {archive_in(folder)} FILE` with a copy of "
            "yours."
        )
        self.folder, self.what = folder, what

    def __reduce__(self) -> tuple[type[DamagedCacheError], tuple[Path, str]]:
        return DamagedCacheError, (self.folder, self.what)


@dataclass(frozen=True)
class CacheMeta:
    """The contents of `meta.json`.

    `digest` is that of the archive file, `blocks` SHA-256 of every `block_bytes` of the pixels,
    `index_digest` of the index. `unreadable` gives for each image left out (`train/<wnid>/<name>`) why it has
    no pixels. A cache of schema 1 has in place of blocks and index digest `pixels_digest`, of all its pixels.
    """

    schema: int
    archive: str
    dataset: str
    digest: str
    official: bool
    count: int
    pixel_bytes: int
    pillow: str
    block_bytes: int = 0
    blocks: list[str] = field(default_factory=list)
    index_digest: str = ""
    unreadable: dict[str, str] = field(default_factory=dict)
    pixels_digest: str = ""


def archive_in(folder: Path) -> str:
    """Name of the archive whose cache is in `folder`, after the folder's own name."""
    return folder.name.rpartition("-")[0]


def read_meta(folder: Path) -> CacheMeta:
    """The meta of the cache in `folder`, checked against its own digest; schema 1 had none.

    Raises DamagedCacheError, or BenchError where a newer version wrote it or it may not be read.
    """
    try:
        given = json.loads((folder / META).read_text())
        if not isinstance(given, dict):
            raise ValueError(f"{META} is no mapping")
        digest = given.pop("meta_digest", None)
        if digest != (None if given.get("schema") == 1 else _digest(given)):
            raise ValueError(f"{META} does not have the digest it was written with")
        if isinstance(given["schema"], int) and given["schema"] > SCHEMA:
            raise BenchError(
                f"{folder}: was made by a newer lrelu-bench (schema {given['schema']}, this one reads "
                f"{SCHEMA}); update this one, or set LRELU_BENCH_DATA to another folder."
            )
        for name, value in given.items():
            if not isinstance(value, _TYPES[name]):
                raise ValueError(f"{META} has {name} {value!r:.40}")
        meta = CacheMeta(**given)
        if meta.schema == SCHEMA and meta.block_bytes < 1:
            raise ValueError(f"{META} has block_bytes {meta.block_bytes}")
        return meta
    except PermissionError as error:
        raise unreadable(folder, error) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedCacheError(folder, reason(error)) from error


def write_meta(folder: Path, meta: CacheMeta) -> None:
    """Write `meta`, with its digest, whole or not at all; raises BenchError where that cannot be done."""
    given = asdict(meta)
    write_whole(folder / META, json.dumps({**given, "meta_digest": _digest(given)}, indent=2) + "\n")


def whole_meta(folder: Path) -> CacheMeta | None:
    """The meta where it is good and the cache's files have their lengths, else None; no pixel is read."""
    try:
        meta = read_meta(folder)
        whole = (folder / PIXELS).stat().st_size == meta.pixel_bytes and (folder / INDEX).exists()
        return meta if whole else None
    except (OSError, BenchError):
        return None


def unreadable(folder: Path, error: OSError) -> BenchError:
    """The error to raise where the system denies reading the cache: that is no damage."""
    return BenchError(f"{folder}: the image cache may not be read ({error.strerror}); mend its permissions.")


def reason(error: Exception) -> str:
    """Why a file of a cache could not be made sense of, for a message."""
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"{Path(str(error.filename)).name} is missing"
    if isinstance(error, KeyError):
        return f"{error} is missing or unknown"
    return str(error) or type(error).__name__


def digest_of(content: bytes) -> str:
    """SHA-256 of a small file's bytes, as "sha256:<hex>"."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _digest(given: dict[str, Any]) -> str:
    return digest_of(json.dumps(given, sort_keys=True, separators=(",", ":")).encode())
