"""Download one gzip file into a `.part`, resumable, with retries."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Collection
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from lrelu_bench.data import web
from lrelu_bench.data.disk import require_space, writing
from lrelu_bench.data.progress import Progress, say
from lrelu_bench.data.web import Answer, DownloadError, UnresumableError

TRIES = 3
"""Tries in a row that bring less than `GAIN_BYTES` before a source is given up."""
GAIN_BYTES = 2**20
BACKOFF_SECONDS = 1.0
"""Pause after the first failure; it doubles with each further one."""
MAX_WAIT_SECONDS = 60.0
"""Longest pause that a server may ask for."""
_SPACE_EVERY = 64 * 2**20
_HEAD_BYTES = 512
_GZIP_MAGIC = b"\x1f\x8b"


def download(url: str, part: Path, progress: Progress | None = None, lengths: Collection[int] = ()) -> None:
    """Bring the whole gzip file at `url` into `part`, going on from what an earlier try left there.

    Where `lengths` (bytes) are given, a file of another length is not even begun. Raises DownloadError where
    the file cannot be had, BenchError where the disk is too full. A broken transfer keeps its `part` for the
    next call.
    """
    tries, best = 0, _size(part)
    while True:
        try:
            _attempt(url, part, progress, lengths)
            break
        except DownloadError as error:
            # A server that cuts every connection, but each later than the last, gets there in the end.
            tries = 1 if _size(part) >= best + GAIN_BYTES else tries + 1
            best = max(best, _size(part))
            if error.final or tries >= TRIES:
                raise
            time.sleep(_pause(error, tries, url, progress))
    _source_note(part).unlink(missing_ok=True)


def discard(part: Path) -> None:
    """Remove a partial download and the note on where it came from."""
    with writing(part):
        part.unlink(missing_ok=True)
        _source_note(part).unlink(missing_ok=True)


def _pause(error: DownloadError, tries: int, url: str, progress: Progress | None) -> float:
    """Seconds until the next try; raises DownloadError where the server asks for too many."""
    if error.wait is not None and error.wait > MAX_WAIT_SECONDS:
        raise DownloadError(f"{error}, asks to wait {error.wait:g} s", final=True) from error
    seconds = max(BACKOFF_SECONDS * 2.0 ** (tries - 1), error.wait or 0.0)
    say(progress, f"{url}: {error}; trying again in {seconds:g} s")
    return seconds


def _attempt(url: str, part: Path, progress: Progress | None, lengths: Collection[int]) -> None:
    start, noted = _resume_point(url, part)
    if lengths and start > max(lengths):
        start = 0
    try:
        with web.ask(url, start, noted.get("validator")) as answer:
            if answer.start and noted.get("total", answer.total) != answer.total:
                raise UnresumableError(f"has {answer.total} bytes where it had {noted['total']}")
            _require_length(answer, lengths)
            _receive(url, answer, part, progress, lengths)
    except UnresumableError:
        discard(part)
        raise


def _resume_point(url: str, part: Path) -> tuple[int, dict[str, Any]]:
    """(first missing byte, note on the bytes there); 0 where `part` came from another address."""
    start = _size(part)
    try:
        note = json.loads(_source_note(part).read_text())
        if note["url"] != url:
            return 0, {}
    except (OSError, ValueError, KeyError, TypeError):
        # A `.part` without a note may come from another tool: the digest decides in the end.
        return start, {}
    return start, note if start else {}


def _require_length(answer: Answer, lengths: Collection[int]) -> None:
    if lengths and answer.total is not None and answer.total not in lengths:
        reason = f"offers {answer.total} bytes ({answer.kind}) where {_either(lengths)}"
        raise DownloadError(reason, final=True)


def _either(lengths: Collection[int]) -> str:
    return f"{' or '.join(str(length) for length in sorted(lengths))} are published"


def _receive(
    url: str, answer: Answer, part: Path, progress: Progress | None, lengths: Collection[int]
) -> None:
    expected = answer.total if answer.total is not None else max(lengths, default=0)
    require_space(part.parent, max(0, expected - answer.start), "the download")
    first = _head(answer)
    if answer.start == 0:
        _require_gzip(first, answer.kind)
    with writing(part), part.open("r+b" if answer.start else "wb") as file:
        file.seek(answer.start)
        file.truncate()
        note = {"url": url, "validator": answer.validator, "total": answer.total}
        _source_note(part).write_text(json.dumps(note))
        done, room = answer.start, answer.start + _SPACE_EVERY
        for chunk in chain([first], answer.chunks):
            done += len(chunk)
            if lengths and done > max(lengths):
                raise UnresumableError(f"sends more bytes than the {_either(lengths)}", final=True)
            if answer.total is None and done > room:
                # A body without end must not fill the disk to its last byte.
                require_space(part.parent, _SPACE_EVERY, "the download")
                room = done + _SPACE_EVERY
            file.write(chunk)
            if progress is not None:
                progress("download", done, answer.total)
    if answer.total is not None and done != answer.total:
        raise DownloadError(f"the connection ended after {done} of {answer.total} bytes")
    if lengths and done not in lengths:
        raise DownloadError(f"the connection ended after {done} bytes where {_either(lengths)}")


def _head(answer: Answer) -> bytes:
    """The first bytes, enough of them to see what they are; fewer only where there are no more."""
    head = b""
    while len(head) < _HEAD_BYTES and (chunk := next(answer.chunks, b"")):
        head += chunk
    return head


def _require_gzip(first: bytes, kind: str) -> None:
    if not first:
        raise DownloadError(f"sent no bytes ({kind})", final=True)
    if first[:2] != _GZIP_MAGIC:
        raise DownloadError(f"answered with no gzip file ({kind}): {first[:40]!r}", final=True)
    # Servers that label the file itself as encoded are many, those that encode it once more are refused.
    with suppress(zlib.error):
        if zlib.decompressobj(31).decompress(first, 2) == _GZIP_MAGIC:
            raise DownloadError(f"compressed the file a second time ({kind})", final=True)


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except OSError:
        return 0


def _source_note(part: Path) -> Path:
    return part.with_name(part.name + ".json")
