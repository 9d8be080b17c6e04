"""Download one file over HTTP(S) or from a file URL: into a `.part`, resumable, with retries."""

from __future__ import annotations

import http.client
import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from lrelu_bench import __version__
from lrelu_bench.errors import BenchError

Progress = Callable[[str, int, int | None], None]
"""Called as (stage, done, total); total is None where it is not known."""

TIMEOUT_SECONDS = 30
TRIES = 3
BACKOFF_SECONDS = 1.0
SPARE_BYTES = 64 * 2**20
_CHUNK = 1 << 18
_GZIP_MAGIC = b"\x1f\x8b"


class DownloadError(Exception):
    """One source could not deliver; `final` where trying that source again is pointless."""

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


def download(url: str, part: Path, progress: Progress | None = None, lengths: Collection[int] = ()) -> None:
    """Bring the whole gzip file at `url` into `part`, going on from what an earlier try left there.

    Where `lengths` (bytes) are given, a file of another length is not even begun. Raises DownloadError where
    the file cannot be had, BenchError where the disk is too full. A broken transfer keeps its `part` for the
    next call.
    """
    for attempt in range(1, TRIES + 1):
        try:
            _attempt(url, part, progress, lengths)
        except DownloadError as error:
            if error.final or attempt == TRIES:
                raise
            time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
        else:
            _source_note(part).unlink(missing_ok=True)
            return


def discard(part: Path) -> None:
    """Remove a partial download and the note on where it came from."""
    part.unlink(missing_ok=True)
    _source_note(part).unlink(missing_ok=True)


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Raise BenchError unless the disk of `folder` has `needed` bytes and a little more free."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise BenchError(
            f"{folder}: {free / 1e9:.2f} GB are free where {purpose} needs "
            f"{(needed + SPARE_BYTES) / 1e9:.2f} GB; free some space or set LRELU_BENCH_DATA to a "
            "folder on a larger disk."
        )


def _attempt(url: str, part: Path, progress: Progress | None, lengths: Collection[int]) -> None:
    start, validator = _resume_point(url, part)
    try:
        with urllib.request.urlopen(_request(url, start, validator), timeout=TIMEOUT_SECONDS) as answer:
            if start and not _continues(answer, start):
                start = 0
            _require_length(answer, start, lengths)
            _receive(url, answer, part, start, progress)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:
            if _whole_length(error.headers) == start:
                return
            discard(part)
            raise DownloadError(f"the server refused to go on from byte {start}") from error
        transient = error.code in (408, 425, 429) or error.code >= 500
        raise DownloadError(f"HTTP {error.code} {error.reason}", final=not transient) from error
    except urllib.error.URLError as error:
        raise DownloadError(str(error.reason)) from error
    except http.client.HTTPException as error:
        raise DownloadError(f"broken answer ({type(error).__name__})") from error
    except (OSError, ValueError) as error:
        raise DownloadError(str(error) or type(error).__name__) from error


def _request(url: str, start: int, validator: str | None) -> urllib.request.Request:
    headers = {"User-Agent": f"lrelu-bench/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator is not None:
            headers["If-Range"] = validator
    return urllib.request.Request(url, headers=headers)


def _resume_point(url: str, part: Path) -> tuple[int, str | None]:
    """(first missing byte, validator of the bytes there); 0 where `part` came from another address."""
    start = part.stat().st_size if part.exists() else 0
    try:
        note = json.loads(_source_note(part).read_text())
    except (OSError, ValueError):
        # A `.part` without a note may come from another tool: the digest decides in the end.
        return start, None
    if note.get("url") != url:
        return 0, None
    return start, note.get("validator")


def _continues(answer: Any, start: int) -> bool:
    if getattr(answer, "status", None) != 206:
        return False
    return str(answer.headers.get("Content-Range", "")).startswith(f"bytes {start}-")


def _require_length(answer: Any, start: int, lengths: Collection[int]) -> None:
    total = _total(answer, start)
    if lengths and total is not None and total not in lengths:
        kind = answer.headers.get("Content-Type", "no type")
        published = " or ".join(str(length) for length in sorted(lengths))
        raise DownloadError(f"offers {total} bytes ({kind}) where {published} are published", final=True)


def _total(answer: Any, start: int) -> int | None:
    """Length in bytes of the whole file, of which `answer` brings what follows `start`."""
    length = answer.headers.get("Content-Length")
    return None if length is None else start + int(length)


def _receive(url: str, answer: Any, part: Path, start: int, progress: Progress | None) -> None:
    total = _total(answer, start)
    if total is not None:
        require_space(part.parent, total - start, "the download")
    first = answer.read(_CHUNK)
    if start == 0 and first[:2] != _GZIP_MAGIC:
        kind = answer.headers.get("Content-Type", "no type")
        raise DownloadError(f"answered with no gzip file ({kind}): {first[:40]!r}", final=True)
    validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
    # A weak ETag does not promise the same bytes, so it cannot guard a resume.
    note = {"url": url, "validator": None if str(validator).startswith("W/") else validator}
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        _source_note(part).write_text(json.dumps(note))
        done = start
        for chunk in _chunks(first, answer):
            file.write(chunk)
            done += len(chunk)
            if progress is not None:
                progress("download", done, total)
    if total is not None and done != total:
        raise DownloadError(f"the connection ended after {done} of {total} bytes")


def _chunks(first: bytes, answer: Any) -> Iterator[bytes]:
    chunk = first
    while chunk:
        yield chunk
        chunk = answer.read(_CHUNK)


def _whole_length(headers: Any) -> int | None:
    length = str(headers.get("Content-Range", "")).rpartition("/")[2]
    return int(length) if length.isdigit() else None


def _source_note(part: Path) -> Path:
    return part.with_name(part.name + ".json")
