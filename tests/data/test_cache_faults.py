"""Caches that a disk, a crash or a full machine harmed: found, said in one line, built anew."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from bad_disk import folder_of_others, read_only, room_for, unprivileged
from cache_faults import CACHE_FAULTS, CacheFault, as_schema_1, flip
from progress_seen import Seen
from tiny_archive import tiny_archive, tiny_members, write_members

from lrelu_bench.config import Experiment
from lrelu_bench.data import archives, cache, cache_meta, datasets, decode
from lrelu_bench.data.cache import ImageCache
from lrelu_bench.data.cache_meta import DamagedCacheError
from lrelu_bench.data.catalog import Digest
from lrelu_bench.errors import BenchError

ARCHIVE = tiny_archive()
EACH = pytest.mark.parametrize("fault", CACHE_FAULTS, ids=lambda fault: fault.name)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks for the tiny cache's half megabyte."""
    monkeypatch.setattr(decode, "BLOCK_BYTES", 2**16)
    monkeypatch.setattr(cache, "BLOCK_BYTES", 2**16)


@pytest.fixture(scope="session")
def whole_home(tmp_path_factory: pytest.TempPathFactory, tiny_tgz: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "BLOCK_BYTES", 2**16)
        whole = tmp_path_factory.mktemp("whole")
        cache.adopt(ARCHIVE, tiny_tgz, whole)
    return whole


@pytest.fixture
def ready(home: Path, whole_home: Path) -> ImageCache:
    """A cache of the tiny archive that a test may harm."""
    shutil.copytree(whole_home, home)
    return cache.open_cache(ARCHIVE, home)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@EACH
def test_what_is_damaged_is_said_and_built_anew(
    ready: ImageCache, home: Path, seen: Seen, fault: CacheFault
) -> None:
    whole = _bytes(ready.folder)
    assert len(ready.meta.blocks) > 3
    fault.harm(ready.folder)
    assert archives.state(ARCHIVE, home).status in ("archive", "ready")
    (problem,) = archives.verify(ARCHIVE, home)
    again = cache.ensure(ARCHIVE, home, seen, offline=True)
    assert _bytes(again.folder) == whole
    (line,) = seen.lines
    assert line.startswith(f"{ready.folder}: damaged (")
    assert line.endswith("decoding the archive again")
    assert sorted(path.name for path in (home / "cache").iterdir()) == [
        ready.folder.name,
        "imagewoof2-160.lock",
    ]
    for text in (problem, line):
        assert re.search(fault.what, text), text
        assert text.isprintable()
    assert archives.verify(ARCHIVE, home) == []


@EACH
@pytest.mark.parametrize("with_record", [True, False])
def test_without_the_archive_one_sentence_names_the_remedy_that_works(
    ready: ImageCache, home: Path, tiny_tgz: Path, fault: CacheFault, with_record: bool
) -> None:
    whole = _bytes(ready.folder)
    fault.harm(ready.folder)
    archives.archive_path(ARCHIVE, home).unlink()
    if not with_record:
        archives.record_path(ARCHIVE, home).unlink()
    for work in (
        lambda: cache.ensure(ARCHIVE, home),
        lambda: cache.ensure(ARCHIVE, home, offline=True),
        lambda: cache.build(ARCHIVE, home),
    ):
        with pytest.raises(DamagedCacheError, match=fault.what) as caught:
            work()
        assert "lrelu-bench data fetch imagewoof2-160" in str(caught.value)
        assert str(caught.value).isprintable()
    assert archives.state(ARCHIVE, home).status in ("damaged", "ready")
    assert archives.verify(ARCHIVE, home) == [str(caught.value)]
    fetched = cache.fetch(tiny_archive(url=tiny_tgz.as_uri()), home)
    assert _bytes(fetched.folder)["pixels.bin"] == whole["pixels.bin"]
    assert archives.verify(ARCHIVE, home) == []


@pytest.mark.parametrize("name", ["meta.json", "index.npz", "pixels.bin"])
def test_no_flipped_bit_goes_unnoticed(ready: ImageCache, home: Path, name: str) -> None:
    path = ready.folder / name
    content, rng = path.read_bytes(), random.Random(name)
    for _ in range(60):
        flip(path, rng.random(), rng.randrange(8))
        assert archives.verify(ARCHIVE, home) != []
        path.write_bytes(content)
    assert archives.verify(ARCHIVE, home) == []


def test_a_damaged_archive_does_not_replace_a_damaged_cache(ready: ImageCache, home: Path) -> None:
    flip(ready.folder / "pixels.bin", 0.5)
    flip(archives.archive_path(ARCHIVE, home), 0.5)
    harmed = _bytes(ready.folder)
    with pytest.raises(BenchError, match=r"imagewoof2-160\.tgz: has sha256:.* was recorded"):
        cache.ensure(ARCHIVE, home)
    assert _bytes(ready.folder) == harmed
    assert len(archives.verify(ARCHIVE, home)) == 3


def test_a_folder_under_another_archives_name_is_refused(ready: ImageCache, home: Path, seen: Seen) -> None:
    other = ready.folder.with_name(f"{ready.folder.name[:-3]}abc")
    ready.folder.rename(other)
    archives.archive_path(ARCHIVE, home).unlink()
    archives.record_path(ARCHIVE, home).unlink()
    with pytest.raises(DamagedCacheError, match="it was made as"):
        cache.ensure(ARCHIVE, home)


def test_several_at_once_find_one_damage_and_mend_it_once(ready: ImageCache, home: Path, seen: Seen) -> None:
    flip(ready.folder / "pixels.bin", 0.5)
    with ThreadPoolExecutor(4) as pool:
        caches = list(pool.map(lambda _: cache.ensure(ARCHIVE, home, seen), range(4)))
    assert sum("damaged" in line for line in seen.lines) == 1
    assert all(len(opened) == 60 for opened in caches)


def _older(ready: ImageCache) -> dict[str, bytes]:
    whole = _bytes(ready.folder)
    as_schema_1(ready.folder, f"sha256:{hashlib.sha256(whole['pixels.bin']).hexdigest()}")
    return whole


def test_a_cache_of_the_first_schema_is_checked_and_upgraded(
    ready: ImageCache, home: Path, seen: Seen
) -> None:
    whole = _older(ready)
    assert archives.state(ARCHIVE, home).status == "ready"
    assert archives.verify(ARCHIVE, home) == []
    upgraded = cache.ensure(ARCHIVE, home, seen)
    assert seen.lines == [f"{ready.folder}: checked, and upgraded from schema 1 to 2"]
    assert _bytes(upgraded.folder) == whole
    assert "decode" not in {stage for stage, _, _ in seen}


def test_a_damaged_cache_of_the_first_schema_is_not_upgraded(
    ready: ImageCache, home: Path, seen: Seen
) -> None:
    whole = _older(ready)
    flip(ready.folder / "pixels.bin", 0.5)
    assert "blocks changed" in archives.verify(ARCHIVE, home)[0]
    assert _bytes(cache.ensure(ARCHIVE, home, seen).folder) == whole
    assert "damaged" in seen.lines[0]


def test_a_cache_of_the_first_schema_serves_from_a_read_only_disk(tiny_tgz: Path) -> None:
    with folder_of_others() as folder:
        mine = shutil.copy(tiny_tgz, folder / "mine.tgz")
        _older(cache.adopt(ARCHIVE, Path(mine), folder / "home")[1])
        with read_only(folder / "home"):
            assert len(cache.ensure(ARCHIVE, folder / "home")) == 60


def test_a_cache_of_a_newer_version_is_left_alone(ready: ImageCache, home: Path) -> None:
    meta = json.loads((ready.folder / "meta.json").read_text())
    del meta["meta_digest"]
    newer = {**meta, "schema": 3, "colours": "many"}
    newer["meta_digest"] = cache_meta._digest(newer)
    (ready.folder / "meta.json").write_text(json.dumps(newer))
    before = _bytes(ready.folder)
    with pytest.raises(BenchError, match=r"made by a newer lrelu-bench \(schema 3, this one reads 2\)"):
        cache.ensure(ARCHIVE, home)
    assert _bytes(ready.folder) == before


def test_a_cache_that_may_not_be_read_is_not_rebuilt(tiny_tgz: Path) -> None:
    with folder_of_others() as folder:
        mine = shutil.copy(tiny_tgz, folder / "mine.tgz")
        opened = cache.adopt(ARCHIVE, Path(mine), folder / "home")[1]
        for name in ("meta.json", "index.npz", "pixels.bin"):
            (opened.folder / name).chmod(0)
            with unprivileged(), pytest.raises(BenchError, match=r"may not be read \(Permission denied\)"):
                cache.ensure(ARCHIVE, folder / "home")
            (opened.folder / name).chmod(0o644)


def test_what_killed_builds_and_imports_left_is_cleaned(home: Path, tiny_tgz: Path) -> None:
    digest = "0123456789ab"
    left = [home / "cache" / f".{kind}-imagewoof2-160-{digest}" for kind in ("building", "discarded")]
    left.append(home / ".importing-imagewoof2-160")
    others = [home / "cache" / f".building-imagewoof2-320-{digest}", home / ".importing-imagewoof2-320"]
    for folder in (*left, *others):
        folder.mkdir(parents=True)
        (folder / "pixels.bin").write_bytes(b"half")
    assert archives.state(ARCHIVE, home).status == "absent"
    cache.adopt(ARCHIVE, tiny_tgz, home)
    assert [folder for folder in left if folder.exists()] == []
    assert all(folder.exists() for folder in others)


def _broken(tmp_path: Path, broken: dict[int, bytes]) -> tuple[Path, list[str]]:
    members = tiny_members(v1_val=2)
    for i, content in broken.items():
        members[i] = (members[i][0], content)
    names = [members[i][0].removeprefix("imagewoof2-160/") for i in broken]
    return write_members(tmp_path / "broken.tgz", members), names


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of the tiny archive's sixty images may be unreadable."""
    monkeypatch.setattr(decode, "UNREADABLE_SHARE", 0.05)


HALF = tiny_members(v1_val=2)[9][1][:600]


def test_a_few_unreadable_images_are_left_out_named_and_counted(
    home: Path, tmp_path: Path, tiny_tgz: Path, seen: Seen, few: None
) -> None:
    path, names = _broken(tmp_path, {3: b"no image", 9: HALF})
    whole = cache.adopt(ARCHIVE, tiny_tgz, tmp_path / "other")[1]
    record, found = cache.adopt(ARCHIVE, path, home, seen)
    assert len(found) == 58
    assert sorted(found.unreadable) == sorted(names)
    assert "truncated" in found.unreadable[names[1]]
    (line,) = seen.lines
    assert line.startswith("imagewoof2-160: 2 of 60 images cannot be decoded and are left out")
    assert all(name in line for name in names)
    where = {name: i for i, name in enumerate(whole.names)}
    for i, name in enumerate(found.names):
        assert np.array_equal(found.image(i), whole.image(where[name]))
    assert "2 of its images cannot be decoded" in archives.state(ARCHIVE, home).detail
    assert archives.verify(ARCHIVE, home) == []
    seen.lines.clear()
    cache.ensure(ARCHIVE, home, seen)
    assert seen.lines == [line]
    assert not record.official


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_split_knows_what_was_left_out(
    monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path, few: None, version: str
) -> None:
    path, names = _broken(tmp_path, {3: b"no image", 6: b"", 9: HALF})
    monkeypatch.setitem(datasets.ARCHIVES, "imagewoof2-160", ARCHIVE)
    monkeypatch.setitem(datasets.ARCHIVES, "imagewoof-160", tiny_archive("imagewoof-160"))
    monkeypatch.setattr(datasets, "archive_for", lambda *_: ARCHIVE)
    cache.adopt(ARCHIVE, path, home)
    values = {"size": 128, "arch": "xresnet18", "protocol": "leaderboard-2019", "epochs": 1}
    experiment = Experiment.model_validate(
        {"dataset": "imagewoof", "version": version, "activation": "relu", **values}
    )
    split = datasets.open_split(experiment, home)
    lost_valid = sum(("val/" in name) if version == "v2" else ("ILSVRC2012_val_" in name) for name in names)
    assert (len(split.train), len(split.valid)) == (40 - 3 + lost_valid, 20 - lost_valid)


@pytest.mark.parametrize("official", [False, True])
def test_too_many_unreadable_images_are_an_error_that_names_them(
    home: Path, tmp_path: Path, few: None, official: bool
) -> None:
    path, names = _broken(tmp_path, {3: b"no image"} if official else {3: b"", 4: b"x", 6: HALF, 7: HALF})
    archive = ARCHIVE
    if official:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        archive = tiny_archive(digests=(Digest("sha256", digest, path.stat().st_size, "made here"),))
    refusal = f"{len(names)} of 60 images cannot be decoded, where {0 if official else 3} may be left out"
    with pytest.raises(BenchError, match=refusal) as caught:
        cache.adopt(archive, path, home)
    assert all(name in str(caught.value) for name in names)
    assert archives.state(archive, home).status == "absent"
    assert [file for file in home.rglob("*") if file.is_file() and file.suffix != ".lock"] == []


def test_of_thousands_of_unreadable_images_a_few_are_named(home: Path, tmp_path: Path) -> None:
    path, _ = _broken(tmp_path, dict.fromkeys(range(1, 61), b""))
    with pytest.raises(BenchError, match=r"60 of 60 images cannot be decoded.* and 40 more\)"):
        cache.adopt(ARCHIVE, path, home)


@pytest.mark.parametrize("room", [0, 1000, 100_000])
def test_a_disk_that_fills_up_while_decoding_leaves_what_was_there(
    ready: ImageCache, home: Path, tmp_path: Path, room: int
) -> None:
    path, _ = _broken(tmp_path, {0: b"another table"})
    before = _bytes(ready.folder)
    # The archive itself is linked, not copied.
    with room_for(room), pytest.raises(BenchError, match=r"the disk is full .*LRELU_BENCH_DATA") as caught:
        cache.adopt(ARCHIVE, path, home)
    assert str(caught.value).isprintable()
    assert _bytes(ready.folder) == before
    assert archives.verify(ARCHIVE, home) == []
    assert _remains(home) == []
    flip(ready.folder / "pixels.bin", 0.5)
    with room_for(room), pytest.raises(BenchError, match="the disk is full"):
        cache.ensure(ARCHIVE, home)
    assert _remains(home) == []
    assert _bytes(cache.ensure(ARCHIVE, home).folder) == before


def _remains(home: Path) -> list[Path]:
    return [path for path in (*home.iterdir(), *(home / "cache").iterdir()) if path.name.startswith(".")]


@pytest.mark.parametrize("error", [MemoryError("no room"), RuntimeError("can't start new thread")])
def test_a_machine_without_memory_or_threads_is_told_and_nothing_is_torn(
    monkeypatch: pytest.MonkeyPatch, home: Path, tiny_tgz: Path, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    target = (decode, "_pixels") if isinstance(error, MemoryError) else (decode.ThreadPoolExecutor, "submit")
    with monkeypatch.context() as patch:
        patch.setattr(*target, fail)
        with pytest.raises(BenchError, match=rf"too little memory, .*{error}.*try again"):
            cache.adopt(ARCHIVE, tiny_tgz, home)
    assert _remains(home) == []
    assert archives.state(ARCHIVE, home).status == "absent"
    assert len(cache.adopt(ARCHIVE, tiny_tgz, home)[1]) == 60
