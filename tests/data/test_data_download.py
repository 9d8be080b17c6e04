"""Retries, waits, locks and disks of a download; what servers do wrong is in test_download_faults.py."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.request import Request

import pytest
from bad_disk import folder_of_others, read_only, room_for
from data_process import start
from http_served import Exchange, Served
from progress_seen import Seen
from tiny_archive import tiny_archive

from lrelu_bench.data import archives, cache, download, web
from lrelu_bench.data.web import DownloadError
from lrelu_bench.errors import BenchError

Serve = Callable[[bytes], Served]


@pytest.fixture
def body(tiny_tgz: Path) -> bytes:
    return tiny_tgz.read_bytes()


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "x.tgz.part"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the download slept, with its own pauses between tries."""
    slept: list[float] = []
    monkeypatch.setattr(download, "BACKOFF_SECONDS", 1.0)
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def test_each_pause_is_twice_the_last_and_is_said(
    serve: Serve, body: bytes, part: Path, pauses: list[float], seen: Seen
) -> None:
    served = serve(body)
    served.status = 500
    with pytest.raises(DownloadError, match="HTTP 500"):
        download.download(served.url, part, seen)
    assert pauses == [1.0, 2.0]
    assert len(served.requests) == download.TRIES
    assert [line.rpartition(": ")[2] for line in seen.lines] == [
        "HTTP 500 Internal Server Error; trying again in 1 s",
        "HTTP 500 Internal Server Error; trying again in 2 s",
    ]


def _busy_once(headers: str) -> Callable[[Exchange], None]:
    busy = f"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n{headers}\r\n"
    return lambda at: at.send(busy.encode()) if at.n == 0 else at.well()


@pytest.mark.parametrize(("asked", "pause"), [("5", 5.0), ("0", 1.0), ("soon", 1.0), ("-3", 1.0)])
def test_a_server_may_ask_for_a_pause(
    serve: Serve, body: bytes, part: Path, pauses: list[float], asked: str, pause: float
) -> None:
    served = serve(body)
    served.behave = _busy_once(f"Retry-After: {asked}\r\n")
    download.download(served.url, part)
    assert pauses == [pause]
    assert part.read_bytes() == body


@pytest.mark.parametrize("years", [-30, 0, 30])
def test_a_pause_until_a_date_is_measured_by_the_servers_clock(
    serve: Serve, body: bytes, part: Path, pauses: list[float], years: int
) -> None:
    now = datetime.now(UTC) + timedelta(days=365 * years)
    then = now + timedelta(seconds=7)
    served = serve(body)
    served.behave = _busy_once(
        f"Date: {format_datetime(now, True)}\r\nRetry-After: {format_datetime(then, True)}\r\n"
    )
    download.download(served.url, part)
    assert pauses == [7.0]


def test_a_server_that_cuts_every_connection_gets_there_in_the_end(
    monkeypatch: pytest.MonkeyPatch, serve: Serve, body: bytes, part: Path
) -> None:
    monkeypatch.setattr(download, "GAIN_BYTES", 2000)
    served = serve(body)
    served.behave = lambda at: at.well(keep=2500)
    download.download(served.url, part)
    assert part.read_bytes() == body
    assert len(served.requests) > 2 * download.TRIES


def test_a_file_of_another_length_than_before_starts_again(serve: Serve, body: bytes, part: Path) -> None:
    served = serve(body[:-5000])
    served.etag, served.behave = None, lambda at: at.well(keep=3000, ETag=None)
    with pytest.raises(DownloadError, match="connection ended"):
        download.download(served.url, part)
    served.body, served.behave = body, lambda at: at.well(ETag=None)
    download.download(served.url, part)
    assert part.read_bytes() == body
    assert [request.get("Range") for request in served.requests[-2:]] == ["bytes=9000-", None]


def test_a_new_validator_in_spite_of_if_range_starts_again(serve: Serve, body: bytes, part: Path) -> None:
    served = serve(body[:2] + body[:1:-1])
    served.behave = lambda at: at.well(keep=3000)
    with pytest.raises(DownloadError, match="connection ended"):
        download.download(served.url, part)
    served.body, served.behave = body, lambda at: at.well(ETag='"two"')
    download.download(served.url, part)
    assert part.read_bytes() == body


def test_encryption_is_not_redirected_away() -> None:
    request, page = Request("https://127.0.0.1/x.tgz"), io.BytesIO()
    with pytest.raises(DownloadError, match=r"redirects to 'http://127.0.0.1/x.tgz', another kind"):
        web._Redirects().http_error_302(request, page, 302, "Found", {"Location": "http://127.0.0.1/x.tgz"})


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///nowhere/x.tgz", "there is no such file"),
        ("file:///tmp", "there is no such file"),
        ("file://fileserver/x.tgz", "names another machine"),
        ("gopher://127.0.0.1/x.tgz", r"no http\(s\):// or file:// address"),
        ("http://127.0.0.1:9/a b.tgz", "is no address"),
    ],
)
def test_an_address_that_cannot_serve_is_tried_once(
    part: Path, pauses: list[float], url: str, reason: str
) -> None:
    with pytest.raises(DownloadError, match=reason):
        download.download(url, part)
    assert pauses == []


def test_a_connection_that_is_never_made_is_given_up(monkeypatch: pytest.MonkeyPatch, part: Path) -> None:
    monkeypatch.setattr(web, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        for _ in range(3):
            # The system answers for a server as long as there is room in its queue.
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        began = time.monotonic()
        with pytest.raises(DownloadError, match=r"sent nothing for 0\.2 s"):
            download.download(f"http://127.0.0.1:{full.getsockname()[1]}/x.tgz", part)
    assert time.monotonic() - began < 10


def test_a_disk_that_fills_up_keeps_the_part(serve: Serve, home: Path, body: bytes) -> None:
    served = serve(body)
    archive = tiny_archive(url=served.url)
    with room_for(20_000), pytest.raises(BenchError, match=r"the disk is full .*LRELU_BENCH_DATA") as caught:
        archives.fetch(archive, home)
    assert "\n" not in str(caught.value)
    assert archives.state(archive, home).status == "partial"
    assert archives.state(archive, home).bytes == 20_000
    assert len(served.requests) == 1
    assert archives.fetch(archive, home).read_bytes() == body
    assert served.requests[-1]["Range"] == "bytes=20000-"


def test_a_body_of_unknown_length_leaves_the_disk_some_room(
    monkeypatch: pytest.MonkeyPatch, serve: Serve, body: bytes, part: Path
) -> None:
    served, free = serve(body), [10**9, 0]
    served.behave = lambda at: (at.head(200), at.send(at.body))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": free.pop(0)}))
    monkeypatch.setattr(download, "_SPACE_EVERY", 10_000)
    with pytest.raises(BenchError, match="GB are free where the download needs"):
        download.download(served.url, part)
    assert part.stat().st_size < len(body)


def test_a_read_only_folder_is_one_sentence(tiny_tgz: Path, body: bytes) -> None:
    with folder_of_others() as folder:
        home, mine = folder / "home", folder / "mine.tgz"
        home.mkdir()
        mine.write_bytes(body)
        with read_only(home):
            for work in (
                lambda: archives.fetch(tiny_archive(url=mine.as_uri()), home),
                lambda: cache.adopt(tiny_archive(), mine, home),
            ):
                with pytest.raises(
                    BenchError, match=r"cannot be written \(Permission denied\).*LRELU_BENCH_DATA"
                ):
                    work()


def test_whole_data_serve_from_a_read_only_folder(tiny_tgz: Path, body: bytes) -> None:
    with folder_of_others() as folder:
        home, mine = folder / "home", folder / "mine.tgz"
        mine.write_bytes(body)
        cache.adopt(tiny_archive(), mine, home)
        with read_only(home):
            assert len(cache.ensure(tiny_archive(), home)) == 60
            assert archives.state(tiny_archive(), home).status == "ready"
            assert archives.verify(tiny_archive(), home) == []


def test_no_socket_is_opened_where_the_data_are_here(
    monkeypatch: pytest.MonkeyPatch, home: Path, tiny_tgz: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    archives.import_archive(tiny_archive(), tiny_tgz, home)
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(AssertionError, match="a socket was opened"):
        download.download("http://127.0.0.1:9/x.tgz", home / "x.part")
    assert len(cache.ensure(tiny_archive(), home)) == 60
    assert len(cache.fetch(tiny_archive(), home)) == 60
    archives.archive_path(tiny_archive(), home).unlink()
    assert len(cache.ensure(tiny_archive(), home)) == 60
    assert archives.verify(tiny_archive(), home) == []


def _half_then(release: threading.Event) -> Callable[[Exchange], None]:
    def behave(at: Exchange) -> None:
        at.well(keep=20_000 if at.n == 0 else None)
        if at.n == 0:
            release.wait(20)
            at.send(at.body[20_000:])

    return behave


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("killed", [False, True])
def test_a_second_process_waits_says_for_whom_and_goes_on(
    serve: Serve, home: Path, body: bytes, killed: bool
) -> None:
    release, served = threading.Event(), serve(body)
    served.behave = _half_then(release)
    part = archives.archive_path(tiny_archive(), home).with_suffix(".tgz.part")
    with start("fetch", home, served.url) as first:
        _until(lambda: part.exists() and part.stat().st_size > 10_000)
        with start("fetch", home, served.url) as second:
            assert f"held by process {first.pid} on " in second.stdout.readline()
            if killed:
                first.send_signal(signal.SIGKILL)
                first.wait()
            else:
                release.set()
            assert second.wait(timeout=30) == 0
        assert first.wait(timeout=30) == (-signal.SIGKILL if killed else 0)
        release.set()
    assert len(served.requests) == 1 + killed
    if killed:
        assert int(served.requests[-1]["Range"].removeprefix("bytes=").rstrip("-")) > 10_000
    assert archives.archive_path(tiny_archive(), home).read_bytes() == body
    assert archives.verify(tiny_archive(), home) == []


def test_a_lock_left_by_a_dead_process_is_free(home: Path, tiny_tgz: Path, seen: Seen) -> None:
    process = start("fetch", home, tiny_tgz.as_uri(), 1)
    process.communicate()
    lock = archives.archive_path(tiny_archive(), home).with_suffix(".tgz.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(json.dumps({"pid": process.pid, "host": "here", "since": "2001-01-01T00:00:00+00:00"}))
    archives.fetch(tiny_archive(url=tiny_tgz.as_uri()), home, seen)
    assert seen.lines == []


@pytest.mark.parametrize("task", ["fetch", "import"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["KILL", "TERM"])
def test_killed_at_any_point_and_repeated_ends_in_the_same_bytes(
    serve: Serve, home: Path, tiny_tgz: Path, body: bytes, task: str, number: signal.Signals
) -> None:
    source = tiny_tgz if task == "import" else f"{serve(body).url}/tiny.tgz"
    with start(task, home, source) as process:
        points = int(process.communicate()[0].split()[-1])
    whole = _contents(home)
    assert points > 100
    for at in sorted(random.Random(f"{task} {number}").sample(range(1, points + 1), 6)):
        shutil.rmtree(home)
        with start(task, home, source, at, int(number)) as process:
            process.communicate()
        assert process.returncode == -number
        _nothing_torn_is_taken_for_whole(home, body)
        if task == "import":
            cache.adopt(tiny_archive(), tiny_tgz, home)
        else:
            cache.fetch(tiny_archive(url=str(source)), home)
        assert _contents(home) == whole, f"killed at point {at} of {points}"


def _nothing_torn_is_taken_for_whole(home: Path, body: bytes) -> None:
    path = archives.archive_path(tiny_archive(), home)
    assert not path.exists() or path.read_bytes() == body
    if archives.state(tiny_archive(), home).status == "ready":
        cache.open_cache(tiny_archive(), home).require_sound()


def _contents(home: Path) -> dict[str, str]:
    files = [path for path in home.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
