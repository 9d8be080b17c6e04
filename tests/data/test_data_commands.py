"""`data` commands and `run` on harmed data, as a user meets them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest
from cache_faults import CACHE_FAULTS, CacheFault, flip
from hostile_archives import HOSTILE, Hostile
from tiny_archive import tiny_archive, tiny_members, write_members

from lrelu_bench.data import catalog, decode

Call = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: Call, tiny_tgz: Path) -> Path:
    """The data folder, with the tiny archive imported."""
    monkeypatch.setitem(catalog.ARCHIVES, "imagewoof2-160", tiny_archive())
    monkeypatch.setitem(catalog.ARCHIVES, "imagewoof-160", tiny_archive("imagewoof-160"))
    monkeypatch.setenv("LRELU_BENCH_DATA", str(tmp_path / "data"))
    assert call("data", "import", "imagewoof2-160", shutil.copy(tiny_tgz, tmp_path / "mine.tgz"))[0] == 0
    return tmp_path / "data"


def _cache(data: Path) -> Path:
    (folder,) = (data / "cache").glob("imagewoof2-160-*")
    return folder


@pytest.mark.parametrize("fault", CACHE_FAULTS[::3], ids=lambda fault: fault.name)
@pytest.mark.parametrize("with_archive", [True, False])
def test_verify_without_names_finds_every_damage(
    call: Call, data: Path, fault: CacheFault, with_archive: bool
) -> None:
    fault.harm(_cache(data))
    if not with_archive:
        shutil.rmtree(data / "archives")
    code, out, err = call("data", "verify")
    assert code == 2
    assert "imagewoof2-160: bad" in out
    assert re.search(fault.what, err)
    assert "Traceback" not in out + err


def test_a_torn_cache_without_its_archive_is_listed_as_damaged(call: Call, data: Path) -> None:
    shutil.rmtree(data / "archives")
    flip(_cache(data) / "meta.json", 0.5)
    code, out, _ = call("data", "list")
    assert code == 0
    assert re.search(r"imagewoof2-160 +40 / 20 +damaged", out)
    assert "run `lrelu-bench data fetch imagewoof2-160`" in " ".join(out.split())


def test_fetch_replaces_a_damaged_cache(
    call: Call, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_tgz: Path
) -> None:
    shutil.rmtree(data / "archives")
    flip(_cache(data) / "pixels.bin", 0.5)
    (tmp_path / "mirror").mkdir()
    shutil.copy(tiny_tgz, tmp_path / "mirror" / "imagewoof2-160.tgz")
    monkeypatch.setenv("LRELU_BENCH_MIRROR", (tmp_path / "mirror").as_uri())
    code, out, err = call("data", "fetch", "imagewoof2-160")
    assert (code, err) == (0, "")
    assert "damaged (pixels.bin: 1 of 1 blocks changed" in out
    assert call("data", "verify")[0] == 0


SMALL = ("--set", "size=32", "--set", "batch_size=4", "--set", "subset=1", "--device", "cpu")


def test_run_says_that_it_mends_a_cache_and_what_was_left_out(
    call: Call, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(decode, "UNREADABLE_SHARE", 0.05)
    members = tiny_members(v1_val=2)
    members[3] = (members[3][0], b"no image")
    broken = write_members(tmp_path / "broken.tgz", members)
    code, out, _ = call("data", "import", "imagewoof2-160", broken)
    assert (code, "1 of 60 images cannot be decoded and are left out" in out) == (0, True)
    assert "1 of its images cannot be decoded" in " ".join(call("data", "list")[1].split())
    used = _cache(data)
    assert used.name.endswith(hashlib.sha256(broken.read_bytes()).hexdigest()[:12])
    flip(used / "pixels.bin", 0.5)
    code, out, err = call("run", ROOT / "configs" / "smoke.yaml", *SMALL)
    assert (code, err) == (0, "")
    assert f"{used}: damaged (pixels.bin: 1 of 1 blocks changed" in out
    assert f"1 of 60 images cannot be decoded and are left out ('{members[3][0].split('/', 1)[1]}'" in out
    (data / "archives" / "imagewoof2-160.tgz").unlink()
    flip(used / "pixels.bin", 0.5)
    code, out, err = call("run", ROOT / "configs" / "smoke.yaml", *SMALL, "--seed", "1")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert "run `lrelu-bench data fetch imagewoof2-160`" in err


@pytest.mark.parametrize("hostile", HOSTILE[::7], ids=lambda hostile: hostile.name)
def test_importing_a_hostile_archive_is_one_sentence(
    call: Call, data: Path, tmp_path: Path, hostile: Hostile
) -> None:
    before = sorted(data.rglob("*"))
    code, out, err = call("data", "import", "imagewoof2-160", hostile.write(tmp_path / "bad.tgz"))
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert "Traceback" not in out + err
    assert sorted(data.rglob("*")) == before
    assert call("data", "verify")[0] == 0


def test_a_clock_that_jumps_changes_nothing(
    call: Call, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = {path.name: path.read_bytes() for path in _cache(data).iterdir()}
    clock = cycle([0.0, 4e9, 1e9, -5.0, 2e9])
    monkeypatch.setattr(time, "time", lambda: next(clock))
    for path, then in zip(sorted(data.rglob("*")), clock, strict=False):
        os.utime(path, (abs(then), abs(then)))
    assert call("data", "verify")[0] == 0
    code, out, _ = call("data", "fetch", "imagewoof2-160")
    assert (code, "decoding" in out) == (0, False)
    shutil.rmtree(_cache(data))
    assert call("data", "fetch", "imagewoof2-160")[0] == 0
    assert {path.name: path.read_bytes() for path in _cache(data).iterdir()} == whole
