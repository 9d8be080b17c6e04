from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from http_served import Served, handler
from tiny_archive import write_tiny_archive

from lrelu_bench.data import download


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], Served]]:
    servers = []

    def start(body: bytes) -> Served:
        served = Served(body=body)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler(served))
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
