"""The data folder in every state that a user's may be in."""

import errno
import io
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_archive import tiny_archive, write_tiny_archive

from lrelu_bench import locks
from lrelu_bench.data import cache, catalog, mnist
from lrelu_bench.doctor import data

NAME = "imagewoof2-160"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A data folder with one archive, recorded and decoded: copy it, never change it."""
    place = tmp_path_factory.mktemp("prepared")
    tgz = write_tiny_archive(place / "tiny.tgz", train=1, val=1)
    cache.adopt(tiny_archive(train=1, val=1), tgz, place / "data")
    return place / "data"


@pytest.fixture
def home(prepared, tmp_path, monkeypatch):
    monkeypatch.setitem(catalog.ARCHIVES, NAME, tiny_archive(train=1, val=1))
    shutil.copytree(prepared, tmp_path / "data")
    return tmp_path / "data"


def _of(findings, check):
    return [finding for finding in findings if finding.check == check]


def _cache(home):
    (folder,) = home.glob(f"cache/{NAME}-*/")
    return folder


def _disk(monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))


def _refuse_writing(monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, "as the test says")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)


def test_a_folder_that_is_not_there_yet_is_well(tmp_path):
    folder, space = data.folder()
    assert (folder.status, folder.detail) == ("ok", f"{tmp_path / 'data'}, made when data is fetched")
    assert space.check == "space for data"
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"


def test_a_folder_that_can_be_written_keeps_no_trace_of_it(home):
    before = sorted(home.rglob("*"))
    assert next(data.folder()).status == "ok"
    assert sorted(home.rglob("*")) == before


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_a_problem(monkeypatch, tmp_path, number):
    _refuse_writing(monkeypatch, number)
    folder, _ = data.folder()
    assert folder.status == "problem"
    assert folder.detail == f"{tmp_path / 'data'} cannot be written ({tmp_path}: as the test says)"
    assert "LRELU_BENCH_DATA" in folder.remedy


def test_a_full_disk_that_takes_an_empty_file_is_a_problem(monkeypatch):
    class Full(io.BytesIO):
        def write(self, content):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    folder, _ = data.folder()
    assert (folder.status, "No space left on device" in folder.detail) == ("problem", True)


def test_reading_is_enough_where_data_is_ready(monkeypatch, home):
    _refuse_writing(monkeypatch, errno.EROFS)
    assert next(data.folder()).status == "warning"


def test_a_file_in_its_place_is_a_problem(tmp_path):
    (tmp_path / "data").write_text("not a folder")
    folder, _ = data.folder()
    assert (folder.status, "is no folder" in folder.detail) == ("problem", True)
    assert data.archives().__next__().status == "ok", "and nothing else breaks"
    assert [f.status for f in data.leftovers()] == ["ok"]


@pytest.mark.parametrize(("free", "status"), [(10**7, "problem"), (10**9, "warning"), (10**10, "ok")])
def test_space_is_held_against_what_an_archive_takes(monkeypatch, free, status):
    _disk(monkeypatch, free)
    _, space = data.folder()
    assert space.status == status
    assert (space.remedy is None) == (status == "ok")


def test_nothing_here_is_one_line():
    (finding,) = data.archives()
    assert (finding.check, finding.status) == ("not here", "ok")
    assert all(name in finding.detail for name in catalog.ARCHIVES)


def test_a_ready_archive_and_the_absent_ones(home):
    ready, absent = data.archives()
    assert (ready.check, ready.status) == (NAME, "ok")
    assert ready.detail.startswith("ready, 20 images; ")
    assert "no digest of imagewoof2-160 is published" in ready.detail
    assert f"{NAME}," not in absent.detail


def test_an_archive_alone_is_decoded_later(home):
    shutil.rmtree(_cache(home))
    archive, _ = data.archives()
    assert (archive.status, archive.detail.endswith("decoded at its first use")) == ("ok", True)


def test_a_partial_download_goes_on(home):
    shutil.rmtree(home)
    (home / "archives").mkdir(parents=True)
    (home / "archives" / f"{NAME}.tgz.part").write_bytes(b"123")
    partial, _ = data.archives()
    assert partial.detail == "partial: 3 bytes are downloaded; fetching goes on from there"
    assert [f.status for f in data.leftovers()] == ["ok"]


@pytest.mark.parametrize("damage", ["pixels.bin", "index.npz", "meta.json"])
@pytest.mark.parametrize("kept", [True, False])
def test_a_damaged_cache_is_a_problem_with_what_to_do(home, damage, kept):
    folder = _cache(home)
    with (folder / damage).open("r+b") as file:
        file.truncate(10)
    if not kept:
        (home / "archives" / f"{NAME}.tgz").unlink()
    (finding,) = _of(data.archives(), NAME)
    assert finding.status == "problem"
    assert finding.detail.startswith(f"{folder}: ")
    assert "; " not in finding.detail
    assert finding.remedy


def test_a_truncated_archive_is_a_problem(home):
    with (home / "archives" / f"{NAME}.tgz").open("r+b") as file:
        file.truncate(100)
    (finding,) = _of(data.archives(), NAME)
    assert finding.status == "problem"
    assert "has 100 bytes, which is not what its record says" in finding.detail
    assert finding.remedy == f"move it away; unless a cache of it serves then, lrelu-bench data fetch {NAME}"
    (home / "archives" / f"{NAME}.tgz").unlink()
    (finding,) = _of(data.archives(), NAME)
    assert finding.detail.startswith("ready, 20 images"), "what the remedy says comes true"


def test_an_archive_put_there_by_hand_is_held_against_the_published_lengths(tmp_path):
    file = tmp_path / "data" / "archives" / "imagenette2-160.tgz"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"1234")
    warning, *_ = data.archives()
    assert (warning.check, warning.status) == ("imagenette2-160", "warning")
    assert "has 4 bytes, not the 98,948,031 or 99,003,388 of the official ones" in warning.detail
    assert warning.remedy == f"if it is whole: lrelu-bench data import imagenette2-160 {file}"


def test_the_cache_of_another_archive_is_a_warning(home):
    other = home / "cache" / f"{NAME}-0123456789ab"
    shutil.copytree(_cache(home), other)
    warning, ready = _of(data.archives(), NAME)
    assert (warning.status, ready.status) == ("warning", "ok")
    assert warning.detail.startswith(f"{other} serves no archive here and takes ")


def test_a_folder_that_cannot_be_looked_into_is_a_problem(monkeypatch, home):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied", str(home / "archives"))

    monkeypatch.setattr("lrelu_bench.data.archives.state", refuse)
    (finding,) = data.archives()
    assert finding.detail == f"cannot be looked at ({home / 'archives'}: Permission denied)"


def test_what_killed_processes_left_is_named_with_its_size(home):
    cache_ = home / "cache"
    left = [cache_ / f".{what}-{NAME}-0123456789ab" for what in ("building", "discarded")]
    left.append(home / ".importing-x")
    for folder in left:
        folder.mkdir()
        (folder / "pixels.bin").write_bytes(bytes(2 * 10**6))
    finding, *_ = data.leftovers()
    assert (finding.check, finding.status) == ("leftovers", "warning")
    assert all(str(folder) in finding.detail for folder in left)
    assert ": 6.0 MB, left by processes that were killed" in finding.detail


def test_what_a_living_process_works_on_is_no_leftover(home):
    (home / "cache" / f".building-{NAME}-0123456789ab").mkdir()
    with locks.hold_at_once(home / "cache" / f"{NAME}.lock"):
        at_work, none = data.leftovers()
        assert at_work.detail == f"another process holds {NAME}"
        assert none.detail == "none"
    assert [f.status for f in data.leftovers()] == ["warning"]


def test_bad_downloads_are_named_and_counted(home):
    for number in range(5):
        (home / "archives" / f"{NAME}.tgz.bad-{number}").write_bytes(bytes(10**6))
    (finding,) = data.leftovers()
    assert (finding.check, finding.status) == ("bad downloads", "warning")
    assert f"{NAME}.tgz.bad-2 and 2 more: 5.0 MB" in finding.detail


def test_a_part_beside_its_archive_is_a_leftover(home):
    (home / "archives" / f"{NAME}.tgz.part").write_bytes(b"1")
    (finding,) = data.leftovers()
    assert f"{NAME}.tgz.part" in finding.detail


def test_mnists_files(tmp_path, monkeypatch):
    raw = mnist.folder_of(tmp_path / "data")
    assert [f.detail for f in data.digits()] == ["0 of 4 files here; a run fetches what it needs"]
    raw.mkdir(parents=True)
    (raw / "t10k-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    (finding,) = data.digits()
    assert finding.status == "problem"
    assert "t10k-labels-idx1-ubyte.gz: is not the official file" in finding.detail
    assert finding.remedy
    monkeypatch.setattr(mnist, "problem", lambda path: "")
    (raw / "t10k-images-idx3-ubyte.gz").touch()
    (finding,) = data.digits()
    assert (finding.status, finding.detail) == ("ok", "2 of 4 files here, enough for mnist-t10k")


def test_looking_changes_nothing(home):
    def picture():
        return {path: path.read_bytes() if path.is_file() else None for path in Path(home).rglob("*")}

    before = picture()
    for find in (data.folder, data.archives, data.digits, data.leftovers):
        list(find())
    assert picture() == before
