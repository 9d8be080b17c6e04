from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

# Where pytest is not told to, it puts this folder on the path, not the one `tiny_archive` lies in.
sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny_archive import write_tiny_archive

from lrelu_bench.data import download


@dataclass
class Served:
    """One file served over HTTP on this machine, and how badly."""

    url: str = ""
    body: bytes = b""
    content_type: str = "application/gzip"
    etag: str | None = '"one"'
    ranges: bool = True
    status: int | None = None
    cut_at: list[int] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)


def _handler(served: Served) -> type[BaseHTTPRequestHandler]:
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


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], Served]]:
    servers = []

    def start(body: bytes) -> Served:
        served = Served(body=body)
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        servers.append((server, thread))
        served.url = f"http://127.0.0.1:{server.server_address[1]}"
        return served

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "LRELU_BENCH_DATA",
        "LRELU_BENCH_MIRROR",
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "BACKOFF_SECONDS", 0.0)


@pytest.fixture(scope="session")
def tiny_tgz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny archive shared by all tests: read it, never change it."""
    return write_tiny_archive(tmp_path_factory.mktemp("tiny") / "tiny.tgz", v1_val=2)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"
