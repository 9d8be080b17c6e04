from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from http_served import Served
from progress_seen import Seen
from tiny_archive import tiny_archive, write_tiny_archive

from lrelu_bench.data import archives, download
from lrelu_bench.data.catalog import Archive, Digest
from lrelu_bench.errors import BenchError

Serve = Callable[[bytes], Served]


def _published(archive: Archive, body: bytes, algorithm: str = "md5") -> Archive:
    digest = Digest(algorithm, hashlib.new(algorithm, body).hexdigest(), len(body), "made here")
    return replace(archive, digests=(Digest("sha256", "0" * 64, 1, "older"), digest))


@pytest.fixture
def body(tiny_tgz: Path) -> bytes:
    return tiny_tgz.read_bytes()


@pytest.fixture
def served(serve: Serve, body: bytes) -> Served:
    return serve(body)


@pytest.fixture
def archive(served: Served, body: bytes) -> Archive:
    return _published(tiny_archive(url=f"{served.url}/tiny.tgz"), body)


def _files(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "archives").iterdir() if path.suffix != ".lock")


def test_data_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert archives.data_home() == tmp_path / "lrelu-bench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert archives.data_home() == Path.home() / ".cache" / "lrelu-bench"
    monkeypatch.setenv("LRELU_BENCH_DATA", str(tmp_path / "mine"))
    assert archives.data_home() == tmp_path / "mine"
    monkeypatch.setenv("LRELU_BENCH_DATA", "mine")
    assert archives.data_home() == Path.cwd() / "mine"


def test_fetch_downloads_checks_and_records(
    archive: Archive, home: Path, body: bytes, served: Served, seen: Seen
) -> None:
    path = archives.fetch(archive, home, seen)
    assert path.read_bytes() == body
    assert ("download", len(body), len(body)) in seen
    assert _files(home) == ["imagewoof2-160.json", "imagewoof2-160.tgz"]
    state = archives.state(archive, home)
    assert (state.status, state.official, state.bytes) == ("archive", True, len(body))
    assert state.digest == "sha256:" + hashlib.sha256(body).hexdigest()
    assert "md5 of made here" in state.detail
    assert served.requests[0]["User-Agent"].startswith("lrelu-bench/")
    archives.fetch(archive, home)
    assert len(served.requests) == 1


def test_fetch_goes_on_from_a_part(archive: Archive, home: Path, body: bytes, served: Served) -> None:
    served.cut_at = [5000] * download.TRIES
    served.ranges = False
    with pytest.raises(BenchError, match="the connection ended after 5000 of"):
        archives.fetch(archive, home)
    state = archives.state(archive, home)
    assert (state.status, state.bytes) == ("partial", 5000)
    served.ranges = True
    archives.fetch(archive, home)
    assert served.requests[-1]["Range"] == "bytes=5000-"
    assert served.requests[-1]["If-Range"] == '"one"'
    assert archives.archive_path(archive, home).read_bytes() == body


def test_a_cut_connection_is_resumed_within_one_fetch(archive: Archive, home: Path, served: Served) -> None:
    served.cut_at = [4000, 9000]
    archives.fetch(archive, home)
    assert [request.get("Range") for request in served.requests] == [None, "bytes=4000-", "bytes=9000-"]


def _leave_part(archive: Archive, home: Path, content: bytes) -> None:
    part = archives.archive_path(archive, home).with_suffix(".tgz.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(content)


def test_a_part_of_another_tool_is_used(archive: Archive, home: Path, body: bytes, served: Served) -> None:
    _leave_part(archive, home, body[:7000])
    archives.fetch(archive, home)
    assert served.requests[0]["Range"] == "bytes=7000-"


def test_a_part_that_is_whole_is_taken(archive: Archive, home: Path, body: bytes, served: Served) -> None:
    _leave_part(archive, home, body)
    archives.fetch(archive, home)
    assert archives.state(archive, home).official


def test_a_part_longer_than_the_file_starts_again(archive: Archive, home: Path, body: bytes) -> None:
    _leave_part(archive, home, body + b"tail")
    assert archives.fetch(archive, home).read_bytes() == body


def test_a_server_without_ranges_starts_again(
    archive: Archive, home: Path, body: bytes, served: Served
) -> None:
    served.ranges = False
    _leave_part(archive, home, b"x" * 7000)
    assert archives.fetch(archive, home).read_bytes() == body


def test_a_file_changed_since_the_part_starts_again(
    monkeypatch: pytest.MonkeyPatch, archive: Archive, home: Path, body: bytes, served: Served
) -> None:
    served.etag, served.body, served.cut_at = '"old"', b"\x1f\x8b" + body[2:][::-1], [6000]
    monkeypatch.setattr(download, "TRIES", 1)
    with pytest.raises(BenchError, match="ended after 6000"):
        archives.fetch(archive, home)
    served.etag, served.body = '"new"', body
    assert archives.fetch(archive, home).read_bytes() == body
    assert served.requests[-1]["If-Range"] == '"old"'


def test_a_wrong_digest_is_kept_aside_and_never_used(archive: Archive, home: Path, served: Served) -> None:
    served.body = served.body[:-4] + b"\0\0\0\0"
    for bad in ("imagewoof2-160.tgz.bad", "imagewoof2-160.tgz.bad-2"):
        with pytest.raises(BenchError, match="is none of the published ones") as caught:
            archives.fetch(archive, home)
        assert bad in str(caught.value)
        assert bad in _files(home)
    assert archives.state(archive, home).status == "absent"


def test_a_web_page_is_refused_without_retry(archive: Archive, home: Path, served: Served) -> None:
    served.body, served.content_type = b"<html>sign in</html>", "text/html"
    with pytest.raises(BenchError, match=r"offers 20 bytes \(text/html\) where 1 or \d+ are published"):
        archives.fetch(archive, home)
    archive = replace(archive, digests=())
    with pytest.raises(BenchError, match=r"no gzip file \(text/html\)"):
        archives.fetch(archive, home)
    assert len(served.requests) == 2
    assert _files(home) == []


def test_the_error_off_line_names_address_reason_and_remedy(home: Path) -> None:
    archive = tiny_archive(url="http://127.0.0.1:9/tiny.tgz")
    with pytest.raises(BenchError) as caught:
        archives.fetch(archive, home)
    for part in (archive.url, "refused", "lrelu-bench data import imagewoof2-160 FILE"):
        assert part in str(caught.value)


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (503, download.TRIES)])
def test_only_errors_that_may_pass_are_retried(
    archive: Archive, home: Path, served: Served, status: int, tries: int
) -> None:
    served.status = status
    with pytest.raises(BenchError, match=f"HTTP {status}"):
        archives.fetch(archive, home)
    assert len(served.requests) == tries


def test_mirrors_come_first_and_in_order(
    monkeypatch: pytest.MonkeyPatch, serve: Serve, archive: Archive, home: Path, served: Served
) -> None:
    dead, good = serve(b""), serve(served.body)
    dead.status = 404
    monkeypatch.setenv("LRELU_BENCH_MIRROR", f"{dead.url}/a/, {good.url}/b")
    archives.fetch(archive, home)
    assert [r["path"] for r in dead.requests + good.requests] == [f"/{x}/imagewoof2-160.tgz" for x in "ab"]
    assert served.requests == []


def test_a_bad_mirror_does_not_hide_the_official_address(
    monkeypatch: pytest.MonkeyPatch, serve: Serve, archive: Archive, home: Path, tmp_path: Path
) -> None:
    other = write_tiny_archive(tmp_path / "other.tgz", size=(20, 30)).read_bytes()
    monkeypatch.setenv("LRELU_BENCH_MIRROR", serve(other).url)
    archives.fetch(archive, home)
    assert archives.state(archive, home).official
    assert _files(home) == ["imagewoof2-160.json", "imagewoof2-160.tgz"]


def test_a_folder_can_be_a_mirror(
    monkeypatch: pytest.MonkeyPatch, archive: Archive, home: Path, body: bytes, tmp_path: Path
) -> None:
    (tmp_path / "imagewoof2-160.tgz").write_bytes(body)
    monkeypatch.setenv("LRELU_BENCH_MIRROR", tmp_path.as_uri())
    assert archives.fetch(archive, home).read_bytes() == body


def test_a_mirror_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("LRELU_BENCH_MIRROR", "ftp://example.org")
    with pytest.raises(BenchError, match=r"LRELU_BENCH_MIRROR: 'ftp://example.org'"):
        archives.fetch(tiny_archive(), home)


def test_an_unpublished_digest_is_pinned(
    archive: Archive, home: Path, served: Served, tmp_path: Path
) -> None:
    archive = replace(archive, digests=())
    path = archives.fetch(archive, home)
    state = archives.state(archive, home)
    assert not state.official
    assert "pinned to the first download's" in state.detail
    path.unlink()
    served.body = write_tiny_archive(tmp_path / "other.tgz", size=(20, 30)).read_bytes()
    with pytest.raises(BenchError, match="the first download's"):
        archives.fetch(archive, home)


def test_a_download_of_wrong_contents_is_refused(
    archive: Archive, home: Path, served: Served, tmp_path: Path
) -> None:
    served.body = write_tiny_archive(tmp_path / "few.tgz", train=1, val=1).read_bytes()
    with pytest.raises(BenchError, match=r"holds 10 train and 10 val.*\.bad"):
        archives.fetch(replace(archive, digests=()), home)


def test_a_full_disk_is_said_before_the_download(
    monkeypatch: pytest.MonkeyPatch, archive: Archive, home: Path
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(BenchError, match=r"0\.00 GB are free where the download needs.*LRELU_BENCH_DATA"):
        archives.fetch(archive, home)


def test_import_leaves_the_users_file_alone(home: Path, body: bytes, tmp_path: Path) -> None:
    mine = tmp_path / "my woof.tgz"
    mine.write_bytes(body)
    archive = _published(tiny_archive(), b"other bytes")
    record = archives.import_archive(archive, mine, home)
    assert mine.read_bytes() == body
    assert archives.archive_path(archive, home).read_bytes() == body
    assert (record.official, record.origin) == (False, "my woof.tgz")
    assert json.loads((home / "archives" / "imagewoof2-160.json").read_text())["sha256"] == record.sha256
    assert str(tmp_path) not in (home / "archives" / "imagewoof2-160.json").read_text()
    assert archives.verify(archive, home) == []


def test_import_copies_where_it_cannot_link(
    monkeypatch: pytest.MonkeyPatch, home: Path, tiny_tgz: Path, body: bytes
) -> None:
    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "link", fail)
    archives.import_archive(tiny_archive(), tiny_tgz, home)
    assert archives.archive_path(tiny_archive(), home).read_bytes() == body


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_import_knows_the_official_bytes(home: Path, tiny_tgz: Path, body: bytes, algorithm: str) -> None:
    archive = _published(tiny_archive(), body, algorithm)
    assert archives.import_archive(archive, tiny_tgz, home).official


def test_import_of_a_file_already_in_place(home: Path, body: bytes) -> None:
    path = archives.archive_path(tiny_archive(), home)
    path.parent.mkdir(parents=True)
    path.write_bytes(body)
    archives.import_archive(tiny_archive(), path, home)
    assert path.read_bytes() == body


def test_import_checks_a_given_digest(home: Path, tiny_tgz: Path, body: bytes) -> None:
    archive = tiny_archive()
    with pytest.raises(BenchError, match="not sha256:0000"):
        archives.import_archive(archive, tiny_tgz, home, digest="sha256:" + "0" * 64)
    with pytest.raises(BenchError, match="digest: 'crc:12'"):
        archives.import_archive(archive, tiny_tgz, home, digest="crc:12")
    assert archives.state(archive, home).status == "absent"
    archives.import_archive(archive, tiny_tgz, home, digest="SHA256:" + hashlib.sha256(body).hexdigest())


def test_import_of_what_is_no_archive(home: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"none\.tgz: there is no such file"):
        archives.import_archive(tiny_archive(), tmp_path / "none.tgz", home)
    (tmp_path / "page.tgz").write_text("<html>")
    with pytest.raises(BenchError, match="is not a whole gzip tar"):
        archives.import_archive(tiny_archive(), tmp_path / "page.tgz", home)
    assert archives.state(tiny_archive(), home).status == "absent"


def test_verify_finds_a_changed_file(home: Path, body: bytes) -> None:
    archive = tiny_archive()
    assert "is absent" in archives.verify(archive, home)[0]
    path = archives.archive_path(archive, home)
    path.parent.mkdir(parents=True)
    path.write_bytes(body)
    assert "has no record" in archives.verify(archive, home)[0]
    archives.ensure_record(archive, home)
    assert archives.verify(archive, home) == []
    path.write_bytes(body[:-1] + b"\xff")
    problems = archives.verify(archive, home)
    assert "was recorded" in problems[0]
    assert "is not a whole gzip tar" in problems[1]


def test_a_damaged_record_is_made_again(home: Path, tiny_tgz: Path) -> None:
    archive = tiny_archive()
    archives.import_archive(archive, tiny_tgz, home)
    (home / "archives" / "imagewoof2-160.json").write_text('{"archive": ')
    assert "found without a record" in archives.state(archive, home).detail
    assert archives.ensure_record(archive, home).bytes == tiny_tgz.stat().st_size


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BenchError, match=r"cannot be written.*LRELU_BENCH_DATA"):
        archives.fetch(tiny_archive(), tmp_path / "file")
