"""A file served over HTTP on this machine, as badly as a test asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler


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


def handler(served: Served) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.requests.append({"path": self.path, **dict(self.headers.items())})
            if served.status is not None:
                self.send_error(served.status)
                return
            start = self._start()
            if start >= len(served.body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(served.body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(served.body) - 1}/{len(served.body)}")
            self.send_header("Content-Type", served.content_type)
            self.send_header("Content-Length", str(len(served.body) - start))
            if served.etag:
                self.send_header("ETag", served.etag)
            self.end_headers()
            end = served.cut_at.pop(0) if served.cut_at else len(served.body)
            self.wfile.write(served.body[start:end])

        def _start(self) -> int:
            asked = self.headers.get("Range")
            if asked is None or not served.ranges or self.headers.get("If-Range", served.etag) != served.etag:
                return 0
            return int(asked.removeprefix("bytes=").rstrip("-"))

        def log_message(self, *_: object) -> None:
            pass

    return Handler
