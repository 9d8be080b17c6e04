"""Ask one address for a file, from a given byte on, and distrust the answer.

What a server can do wrong ends in a `DownloadError` within bounded time: redirects in a circle or out of
HTTP(S), another range than was asked for, a changed file, a connection that is cut or only drips.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urljoin, urlsplit

from lrelu_bench import __version__
from lrelu_bench.printable import brief

TIMEOUT_SECONDS = 30.0
"""Longest wait for a connection, and for any next bytes."""
STALL_SECONDS = 60.0
STALL_BYTES = 2**16
"""What must arrive in every `STALL_SECONDS`, from the first request to the last byte."""
_CHUNK = 2**18
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_TRANSIENT = (408, 425, 429)


class DownloadError(Exception):
    """One source could not deliver; `final` where trying it again is pointless.

    `wait` is for how many seconds the server asks to be left alone, if it does.
    """

    def __init__(self, reason: str, final: bool = False, wait: float | None = None) -> None:
        # Much of it is what the server said.
        super().__init__(brief(reason, 400))
        self.final, self.wait = final, wait


class UnresumableError(DownloadError):
    """The answer does not continue the bytes that are here: start again without them."""


@dataclass(frozen=True)
class Answer:
    """A file on its way: `chunks` brings its bytes from `start` on, `total` is its whole length if known.

    `validator` (an ETag or a date) names this version of the file; `kind` says for messages what came.
    """

    start: int
    total: int | None
    validator: str | None
    kind: str
    chunks: Iterator[bytes]


@contextmanager
def ask(url: str, start: int = 0, validator: str | None = None) -> Iterator[Answer]:
    """Request the file at an http(s):// or file:// `url` from byte `start` on.

    The answer starts at `start` or, where the server sends the whole file or `validator` names another
    version, at 0. Raises DownloadError, here and from the answer's chunks.
    """
    if url.lower().startswith("file://"):
        with _local(url) as answer:
            yield answer
        return
    watch = _Watch()
    opener = urllib.request.build_opener(_Http(watch), _Https(watch), _Redirects)
    with watch, closing(_opened(opener, _request(url, start, validator), watch)) as response:
        if response.code == 416:
            yield _finished(response, start)
        else:
            yield _answer(response, start, validator, watch)


def _request(url: str, start: int, validator: str | None) -> urllib.request.Request:
    headers = {"User-Agent": f"lrelu-bench/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator is not None:
            headers["If-Range"] = validator
    if urlsplit(url).scheme.lower() not in ("http", "https"):
        raise DownloadError("is no http(s):// or file:// address", final=True)
    return urllib.request.Request(url, headers=headers)


def _opened(opener: urllib.request.OpenerDirector, request: urllib.request.Request, watch: _Watch) -> Any:
    try:
        return opener.open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416 and request.has_header("Range"):
            return error
        error.close()
        _fail(error, watch)
    except (OSError, ValueError, http.client.HTTPException) as error:
        _fail(error, watch)


def _answer(response: Any, start: int, validator: str | None, watch: _Watch) -> Answer:
    headers = response.headers
    kind = headers.get("Content-Type", "no type")
    if encoding := headers.get("Content-Encoding"):
        kind += f", Content-Encoding {encoding}"
    # A weak ETag does not promise the same bytes, so it cannot guard a resume.
    found = headers.get("ETag") or headers.get("Last-Modified")
    found = None if found is None or found.startswith("W/") else found
    length = _length(headers.get("Content-Length"))
    total, first = length, 0
    if response.status == 206:
        first, total = _continued(headers, start, kind)
        if validator is not None and found is not None and found != validator:
            raise UnresumableError("the file there has changed since the part here was downloaded")
    elif response.status != 200:
        raise DownloadError(f"HTTP {response.status} {response.reason}, neither the file nor an error", True)
    return Answer(first, total, found, kind, _chunks(response, watch))


def _continued(headers: Any, start: int, kind: str) -> tuple[int, int | None]:
    """(first byte, whole length) of an answer with status 206."""
    given = str(headers.get("Content-Range", ""))
    match = _RANGE.fullmatch(given)
    if not start:
        raise DownloadError(f"sent a part of the file ('{given}') where all of it was asked for", final=True)
    if match is None or int(match[1]) != start:
        raise UnresumableError(f"sent the range '{given[:80]}' where bytes from {start} on were asked for")
    if "html" in kind.lower():
        raise DownloadError(f"answered with no gzip file ({kind})", final=True)
    return start, _length(match[3])


def _finished(response: Any, start: int) -> Answer:
    """The server has nothing after `start`: the part is the whole file, or is no part of it."""
    whole = _length(str(response.headers.get("Content-Range", "")).rpartition("/")[2])
    if whole != start:
        raise UnresumableError(f"the server refused to go on from byte {start}")
    return Answer(start, whole, None, "nothing more", iter(()))


def _length(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\d{1,18}", text, re.ASCII) else None


def _chunks(response: Any, watch: _Watch) -> Iterator[bytes]:
    try:
        # read1, because read would wait for a whole chunk of what only drips.
        while chunk := response.read1(_CHUNK):
            watch.received += len(chunk)
            yield chunk
    except (OSError, ValueError, http.client.HTTPException) as error:
        _fail(error, watch)
    if watch.stalled:
        raise watch.error()


def _fail(error: Exception, watch: _Watch) -> NoReturn:
    """Raise what `error` means for the download."""
    if watch.stalled:
        raise watch.error() from error
    if isinstance(error, urllib.error.HTTPError):
        if 300 <= error.code < 400:
            raise DownloadError("redirects in a circle, or to nowhere", final=True) from error
        transient = error.code in _TRANSIENT or error.code >= 500
        reason = f"HTTP {error.code} {error.reason}"
        raise DownloadError(reason, not transient, _retry_after(error.headers)) from error
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        _fail(error.reason, watch)
    if isinstance(error, TimeoutError):
        raise DownloadError(f"sent nothing for {TIMEOUT_SECONDS:g} s") from error
    if isinstance(error, http.client.IncompleteRead):
        raise DownloadError("the connection ended in the middle of the file") from error
    if isinstance(error, http.client.InvalidURL):
        raise DownloadError(f"is no address ({error})", final=True) from error
    if isinstance(error, http.client.HTTPException):
        raise DownloadError(f"broken answer ({type(error).__name__})") from error
    raise DownloadError(str(error) or type(error).__name__) from error


def _retry_after(headers: Any) -> float | None:
    """Seconds the server asks to wait; a date counts from the server's own, for clocks differ."""
    given = str(headers.get("Retry-After", "")).strip()
    if re.fullmatch(r"\d{1,9}", given, re.ASCII):
        return float(given)
    with suppress(TypeError, ValueError):
        until, now = (parsedate_to_datetime(text) for text in (given, headers["Date"]))
        return max(0.0, (until - now).total_seconds())
    return None


@contextmanager
def _local(url: str) -> Iterator[Answer]:
    parts = urlsplit(url)
    path = Path(urllib.request.url2pathname(parts.path))
    if parts.netloc not in ("", "localhost"):
        raise DownloadError("names another machine; use http(s):// for that", final=True)
    if not path.is_file():
        raise DownloadError("there is no such file", final=True)
    try:
        with path.open("rb") as file:
            yield Answer(0, path.stat().st_size, None, "a file", iter(partial(file.read, _CHUNK), b""))
    except OSError as error:
        raise DownloadError(error.strerror or str(error), final=True) from error


class _Watch:
    """Cuts a connection on which too little arrives, however regularly it drips."""

    def __init__(self) -> None:
        self.received, self.stalled = 0, False
        self.connection: socket.socket | None = None
        self._done = threading.Event()

    def __enter__(self) -> None:
        threading.Thread(target=self._look, name="download-watch", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def _look(self) -> None:
        before = 0
        while not self._done.wait(STALL_SECONDS):
            if self.received - before < STALL_BYTES and self.connection is not None:
                self.stalled = True
                with suppress(OSError):
                    # Not SSLSocket's own, which another thread may be reading from.
                    socket.socket.shutdown(self.connection, socket.SHUT_RDWR)
                return
            before = self.received

    def error(self) -> DownloadError:
        return DownloadError(f"sent fewer than {STALL_BYTES} bytes in {STALL_SECONDS:g} s")


class _WatchedHttp(http.client.HTTPConnection):
    def __init__(self, *args: Any, watch: _Watch, **options: Any) -> None:
        super().__init__(*args, **options)
        self._watch = watch

    def connect(self) -> None:
        super().connect()
        self._watch.connection = self.sock


class _WatchedHttps(http.client.HTTPSConnection):
    def __init__(self, *args: Any, watch: _Watch, **options: Any) -> None:
        super().__init__(*args, **options)
        self._watch = watch

    def connect(self) -> None:
        super().connect()
        self._watch.connection = self.sock


class _Http(urllib.request.HTTPHandler):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_WatchedHttp, watch=self._watch), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_WatchedHttps, watch=self._watch), req)


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5
    max_repeats = 1

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        target = urljoin(req.full_url, headers.get("Location", ""))
        scheme = urlsplit(target).scheme
        # A file of this machine is not what a server may point to, nor may it take the encryption away.
        # The page that comes with a redirect may be without end: it is not read.
        fp.close()
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise DownloadError(f"redirects to '{target}', another kind of address", final=True)
        return super().http_error_302(req, io.BytesIO(), code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302
