"""Servers that misbehave in every way of `FAULTS`: the file arrives whole, or one sentence says why not."""

from __future__ import annotations

import hashlib
import random
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from http_served import FAULTS, Exchange, Fault, Served, serving
from progress_seen import Seen
from tiny_archive import tiny_archive

from lrelu_bench.data import archives, download, web
from lrelu_bench.data.catalog import Archive, Digest
from lrelu_bench.data.web import DownloadError
from lrelu_bench.errors import BenchError

EACH = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)


@pytest.fixture(scope="session")
def body(tiny_tgz: Path) -> bytes:
    return tiny_tgz.read_bytes()


@pytest.fixture
def archive(body: bytes) -> Archive:
    digest = Digest("sha256", hashlib.sha256(body).hexdigest(), len(body), "made here")
    return tiny_archive(digests=(digest,))


@pytest.fixture(autouse=True)
def _impatient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    callspec = getattr(request.node, "callspec", None)
    fault = callspec.params.get("fault") if callspec else None
    if fault is not None and fault.impatient:
        monkeypatch.setattr(web, "TIMEOUT_SECONDS", 0.3)
        monkeypatch.setattr(web, "STALL_SECONDS", 0.4)


def _leave_part(archive: Archive, home: Path, content: bytes, url: str) -> None:
    part = archives.archive_path(archive, home).with_suffix(".tgz.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(content)
    part.with_name(f"{part.name}.json").write_text(f'{{"url": "{url}", "validator": "\\"one\\""}}')


@EACH
def test_the_file_arrives_or_one_sentence_says_why_not(
    fault: Fault, archive: Archive, body: bytes, home: Path
) -> None:
    path = archives.archive_path(archive, home)
    began = time.monotonic()
    with serving(Served(body=body, behave=fault.behave)) as served:
        archive = replace(archive, url=f"{served.url}/tiny.tgz")
        if fault.here:
            _leave_part(archive, home, fault.part_of(body), archive.url)
        if fault.outcome == "delivered":
            archives.fetch(archive, home)
            assert path.read_bytes() == body
        else:
            with pytest.raises(BenchError, match=fault.outcome) as caught:
                archives.fetch(archive, home)
            assert str(caught.value).isprintable()
            assert "lrelu-bench data import" in str(caught.value)
            assert not path.exists()
    assert time.monotonic() - began < 20
    with serving(Served(body=body)) as served:
        archive = replace(archive, url=f"{served.url}/tiny.tgz")
        assert archives.fetch(archive, home).read_bytes() == body
    assert archives.state(archive, home).official
    left = {file.name for file in path.parent.iterdir()} - {f"{path.name}.lock"}
    assert {name for name in left if not name.endswith(".bad")} == {path.name, f"{archive.name}.json"}


@EACH
def test_a_bad_mirror_only_costs_time(
    monkeypatch: pytest.MonkeyPatch, fault: Fault, archive: Archive, body: bytes, home: Path, seen: Seen
) -> None:
    with serving(Served(body=body, behave=fault.behave)) as bad, serving(Served(body=body)) as good:
        monkeypatch.setenv("LRELU_BENCH_MIRROR", bad.url)
        path = archives.fetch(replace(archive, url=f"{good.url}/tiny.tgz"), home, seen)
    assert path.read_bytes() == body
    if not fault.here:
        assert len(good.requests) == (fault.outcome != "delivered")
    if good.requests and not fault.here:
        assert re.search(f"{bad.url}/imagewoof2-160.tgz: .*({fault.outcome})", seen.lines[-1])


def test_whatever_a_server_answers_ends_in_the_file_or_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, body: bytes, tmp_path: Path
) -> None:
    monkeypatch.setattr(web, "TIMEOUT_SECONDS", 0.2)
    rng, part = random.Random(6), tmp_path / "x.tgz.part"

    def behave(at: Exchange) -> None:
        status, left = rng.choice([200, 206, 206, 302, 416, 500, 100, 999]), len(at.body) - at.start
        head = bytearray(
            f'HTTP/1.1 {status} OK\r\nContent-Length: {left}\r\nETag: "one"\r\nLocation: /x\r\n'
            f"Content-Range: bytes {at.start}-{len(at.body) - 1}/{len(at.body)}\r\n\r\n".encode()
        )
        for _ in range(rng.choice([0, 1, 5])):
            where = rng.randrange(len(head))
            head[where : where + rng.choice([0, 1, 9])] = rng.choice([b"", b"\n", b"-", b"9" * 30, b"\x1b"])
        at.send(bytes(head) + at.body[at.start :])

    whole, said = 0, []
    with serving(Served(body=body, behave=behave)) as served:
        for _ in range(150):
            part.write_bytes(body[: rng.randrange(len(body))])
            try:
                download.download(served.url, part, None, (len(body),))
                whole += part.read_bytes() == body
            except DownloadError as error:
                said.append(str(error))
    assert whole > 10
    assert "".join(said).isprintable()
