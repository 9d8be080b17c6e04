from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from http_served import Served, serving
from progress_seen import Seen
from tiny_archive import write_tiny_archive

from lrelu_bench.data import download


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], Served]]:
    with ExitStack() as servers:
        yield lambda body: servers.enter_context(serving(Served(body=body)))


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
    monkeypatch.setattr(socket, "getaddrinfo", _of_this_machine)


_ask = socket.getaddrinfo


def _of_this_machine(host: str, *arguments: Any, **options: Any) -> Any:
    if host != "127.0.0.1":
        raise OSError(f"tests of the data do not ask for {host}")
    return _ask(host, *arguments, **options)


@pytest.fixture(scope="session")
def tiny_tgz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny archive shared by all tests: read it, never change it."""
    return write_tiny_archive(tmp_path_factory.mktemp("tiny") / "tiny.tgz", v1_val=2)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"
