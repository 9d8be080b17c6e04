"""A file served over HTTP on this machine, as badly as a test asks for.

`FAULTS` lists what a server can do wrong and what must come of it: iterate over it, `serving` each.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Served:
    """What is served, how badly, and what was asked for."""

    url: str = ""
    body: bytes = b""
    content_type: str = "application/gzip"
    etag: str | None = '"one"'
    ranges: bool = True
    status: int | None = None
    cut_at: list[int] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    behave: Callable[[Exchange], None] | None = None
    closing: threading.Event = field(default_factory=threading.Event)


@dataclass
class Exchange:
    """One request and the means to answer it; `start` is the first byte asked for, `n` counts from 0."""

    handler: BaseHTTPRequestHandler
    served: Served
    start: int
    n: int

    @property
    def body(self) -> bytes:
        return self.served.body

    def head(self, status: int, **headers: object) -> None:
        """Send status and headers, an underscore in a name being a hyphen."""
        self.handler.send_response(status)
        for name, value in {"Content_Type": "application/gzip", "Connection": "close", **headers}.items():
            if value is not None:
                self.handler.send_header(name.replace("_", "-"), str(value))
        self.handler.end_headers()

    def send(self, content: bytes) -> None:
        self.handler.wfile.write(content)

    def well(self, keep: int | None = None, **headers: object) -> None:
        """Answer as a good server does, `headers` apart; with `keep`, cut after so many bytes."""
        rest, total = self.body[self.start :], len(self.body)
        if not rest:
            self.head(416, Content_Range=f"bytes */{total}", Content_Length=0)
            return
        given = {"Content_Length": len(rest), "ETag": '"one"'}
        if self.start:
            given["Content_Range"] = f"bytes {self.start}-{total - 1}/{total}"
        self.head(206 if self.start else 200, **{**given, **headers})
        self.send(rest[:keep])

    def in_chunks(self, content: bytes, end: bool = True, step: int = 5000) -> None:
        """Send `content` in chunked coding, with or without the end mark."""
        for at in range(0, len(content), step):
            piece = content[at : at + step]
            self.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.send(b"0\r\n\r\n" if end else b"1388\r\nhalf a chunk")

    def drip(self, content: bytes) -> None:
        """Send a byte at a time, more often than any time-out looks, until nobody listens."""
        for byte in content:
            if self.served.closing.wait(0.05):
                return
            self.send(bytes([byte]))

    def hang(self) -> None:
        self.served.closing.wait(20)


@dataclass(frozen=True)
class Fault:
    """One misbehaviour and what must come of it.

    `outcome` is "delivered", or a pattern that the one error sentence matches. `here` bytes of the file lie
    in a part when the download begins, or as many of another file if `stale`. `impatient` faults cost the
    client's time-outs: shorten those.
    """

    name: str
    behave: Callable[[Exchange], None]
    outcome: str = "delivered"
    here: int = 0
    stale: bool = False
    impatient: bool = False

    def part_of(self, body: bytes) -> bytes:
        """What lies in the part when the download of `body` begins."""
        return body[:2] + body[::-1][: self.here - 2] if self.stale else body[: self.here]


def _first_only(broken: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
    return lambda at: broken(at) if at.n == 0 else at.well()


def _redirect(at: Exchange, target: str | None, status: int = 302) -> None:
    at.head(status, Location=target, Content_Length=0)


def _chain(at: Exchange) -> None:
    at.well() if at.n >= 3 else _redirect(at, f"/hop-{at.n}.tgz", (301, 303, 307)[at.n])


def _page(at: Exchange, status: int = 200, **headers: object) -> None:
    page = b"<html>sign in</html>"
    at.head(status, Content_Type="text/html", Content_Length=len(page), **headers)
    at.send(page)


def _web_page_as_range(at: Exchange) -> None:
    total = len(at.body)
    _page(at, 206, Content_Range=f"bytes {at.start}-{total - 1}/{total}")


def _html_of_the_right_length(at: Exchange) -> None:
    at.head(200, Content_Length=len(at.body))
    at.send(b"<html>".ljust(len(at.body)))


def _chunked(content: Callable[[bytes], bytes], end: bool = True) -> Callable[[Exchange], None]:
    def behave(at: Exchange) -> None:
        at.head(200, Transfer_Encoding="chunked")
        at.in_chunks(content(at.body), end)

    return behave


def _no_length(keep: int | None) -> Callable[[Exchange], None]:
    def behave(at: Exchange) -> None:
        at.head(200)
        at.send(at.body[:keep])

    return behave


def _too_much(at: Exchange) -> None:
    at.head(200, Content_Length=len(at.body))
    at.send(at.body + b"more" * 1000)


def _endless(at: Exchange) -> None:
    at.head(200, Transfer_Encoding="chunked")
    at.in_chunks(at.body, end=False)
    while True:
        at.send(b"1000\r\n" + bytes(4096) + b"\r\n")


def _changed_bytes(at: Exchange) -> None:
    at.head(200, Content_Length=len(at.body))
    at.send(at.body[:-4] + bytes(4))


def _drips_headers(at: Exchange) -> None:
    at.send(b"HTTP/1.1 200 OK\r\n")
    at.drip(b"X-Slow: " + b"z" * 4000)


def _drips_body(at: Exchange) -> None:
    at.head(200, Content_Length=len(at.body))
    at.drip(at.body)


def _hangs_in_the_body(at: Exchange) -> None:
    at.well(keep=3000 if at.n == 0 else 0)
    at.hang()


def _twice_compressed(at: Exchange) -> None:
    content = gzip.compress(at.body)
    at.head(200, Content_Length=len(content), Content_Encoding="gzip")
    at.send(content)


def _busy(at: Exchange, **headers: object) -> None:
    at.head(503, Content_Length=0, **headers)


def _escapes(at: Exchange) -> None:
    at.send(b"HTTP/1.1 500 \x1b[31mred\r\nContent-Length: 0\r\n\r\n")


def _many_headers(at: Exchange) -> None:
    at.send(b"HTTP/1.1 200 OK\r\n" + b"X-Again: and again\r\n" * 5000)


FAULTS = [
    Fault("healthy", lambda at: at.well()),
    Fault("healthy, resumed", lambda at: at.well(), here=7000),
    Fault("healthy, but the part is another file's", lambda at: at.well(ETag=None), here=7000, stale=True),
    Fault("cut, later each time", lambda at: at.well(keep=4000 if at.n < 2 else None)),
    Fault("cut before the first byte", lambda at: at.well(keep=0), "sent no bytes"),
    Fault("cut and never resumed", lambda at: at.well(keep=0), "connection ended after 7000 of", here=7000),
    Fault("ignores ranges", lambda at: (setattr(at, "start", 0), at.well())[1], here=7000),
    Fault("another range", _first_only(lambda at: at.well(Content_Range="bytes 0-99/100")), here=7000),
    Fault("nonsense for a range", _first_only(lambda at: at.well(Content_Range="bytes all")), here=7000),
    Fault(
        "another total",
        lambda at: at.well(Content_Range=f"bytes {at.start}-{len(at.body)}/{len(at.body) + 1}"),
        "offers .* where .* are published",
        here=7000,
    ),
    Fault("a range unasked for", lambda at: at.head(206, Content_Range="bytes 0-9/10"), "sent a part of"),
    Fault("new ETag in spite of If-Range", lambda at: at.well(ETag='"two"'), here=7000, stale=True),
    Fault(
        "416 with another length",
        _first_only(lambda at: at.head(416, Content_Range="bytes */5", Content_Length=0)),
        here=7000,
    ),
    Fault("416 always", lambda at: at.head(416, Content_Length=0), "HTTP 416", here=7000),
    Fault("all is here already", lambda at: at.well(), here=2**40),
    Fault("web page", _page, r"offers 20 bytes \(text/html\)"),
    Fault("web page of the right length", _html_of_the_right_length, "no gzip file"),
    Fault("web page, chunked", _chunked(lambda _: b"<html>sign in</html>"), "no gzip file"),
    Fault("web page for a range", _web_page_as_range, r"no gzip file \(text/html\)", here=7000),
    Fault("compressed once more", _twice_compressed, "offers .*Content-Encoding gzip"),
    Fault("compressed once more, chunked", _chunked(gzip.compress), "compressed the file a second time"),
    Fault("labelled as encoded", lambda at: at.well(Content_Encoding="x-gzip")),
    Fault("chunked", _chunked(lambda body: body)),
    Fault("chunked, cut once", _first_only(_chunked(lambda body: body[:9000], end=False))),
    Fault("chunked, always cut", _chunked(lambda body: body[:9000], end=False), "middle of the file"),
    Fault("no length", _no_length(None)),
    Fault("no length, cut", _no_length(9000), "ended after 9000 bytes where"),
    Fault("zero bytes", lambda at: at.head(200, Content_Length=0), "offers 0 bytes"),
    Fault("zero bytes, chunked", _chunked(lambda _: b""), "sent no bytes"),
    Fault("more bytes than promised", _too_much),
    Fault("a body without end", _endless, "sends more bytes than"),
    Fault("other bytes", _changed_bytes, "none of the published ones .*kept as"),
    Fault("redirects that arrive", _chain),
    Fault("redirects in a circle", lambda at: _redirect(at, "/again.tgz"), "redirects in a circle"),
    Fault("redirects to ever new names", lambda at: _redirect(at, f"/{at.n}"), "redirects in a circle"),
    Fault("redirects to nowhere", lambda at: _redirect(at, None), "to nowhere"),
    Fault("redirects to a file", lambda at: _redirect(at, "file:///etc/passwd"), "another kind of address"),
    Fault("redirects to FTP", lambda at: _redirect(at, "ftp://127.0.0.1/x"), "another kind of address"),
    Fault("not found", lambda at: at.head(404, Content_Length=0), "HTTP 404"),
    Fault("forbidden", lambda at: at.head(403, Content_Length=0), "HTTP 403"),
    Fault("busy for good", _busy, "HTTP 503"),
    Fault("a reason with escapes", _escapes, r"HTTP 500 \\x1b\[31mred"),
    Fault("busy once", _first_only(lambda at: _busy(at, Retry_After=0))),
    Fault("busy for an hour", lambda at: _busy(at, Retry_After=3600), "asks to wait 3600 s"),
    Fault("accepted, no file", lambda at: at.head(202, Content_Length=0), "neither the file nor an error"),
    Fault("no HTTP", lambda at: at.send(b"SSH-2.0-OpenSSH_9.9\r\n"), "broken answer"),
    Fault("hangs up", lambda at: None, "broken answer|reset"),
    Fault("headers without end", _many_headers, "broken answer"),
    Fault("never answers", Exchange.hang, "sent nothing for", impatient=True),
    Fault("hangs in the body", _hangs_in_the_body, "sent nothing for", impatient=True),
    Fault("drips headers", _drips_headers, "sent fewer than", impatient=True),
    Fault("drips the body", _drips_body, "sent fewer than", impatient=True),
]
"""What a server of a file can do wrong."""


@contextmanager
def serving(served: Served) -> Iterator[Served]:
    """Serve while the block runs, on a free port of this machine; `served.url` says where."""
    server = _Server(("127.0.0.1", 0), _handler(served))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield served
    finally:
        served.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are what many tests are about."""


def _handler(served: Served) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            served.requests.append({"path": self.path, **dict(self.headers.items())})
            if served.behave is not None:
                with suppress(OSError):
                    served.behave(Exchange(self, served, self._start(), len(served.requests) - 1))
            elif served.status is not None:
                self.send_error(served.status)
            else:
                at = Exchange(self, served, self._start(), len(served.requests) - 1)
                end = served.cut_at.pop(0) if served.cut_at else len(served.body)
                at.well(max(0, end - at.start), ETag=served.etag, Content_Type=served.content_type)

        def _start(self) -> int:
            asked = self.headers.get("Range")
            if asked is None or not served.ranges or self.headers.get("If-Range", served.etag) != served.etag:
                return 0
            return int(asked.removeprefix("bytes=").rstrip("-"))

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
