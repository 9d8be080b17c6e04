"""The results folder, its runs, locks and torn files, and the clock."""

import errno
import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from run_results import run, save

from lrelu_bench import locks
from lrelu_bench.checkpoint_header import DIGEST_CHARACTERS, MAGIC, About
from lrelu_bench.doctor import results
from lrelu_bench.run_folder import CHECKPOINTS, RunFolder

RESULTS = Path("results")


def _by_check():
    return {finding.check: finding for finding in results.runs()}


def test_no_folder_yet_is_well(tmp_path):
    folder, _ = results.folder()
    assert (folder.status, folder.detail) == ("ok", f"{tmp_path / 'results'}, made by the first run")
    assert {f.check: f.status for f in results.runs()} == {"finished runs": "ok", "clock": "ok"}
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_problem(monkeypatch, tmp_path):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    folder, space = results.folder()
    assert (folder.status, space.status) == ("problem", "problem")
    assert folder.detail.endswith(f"cannot be written ({tmp_path}: No space left on device)")
    assert "--output DIR" in folder.remedy
    assert "--output DIR" in space.remedy


def test_a_current_directory_that_is_gone_is_a_problem(monkeypatch, tmp_path):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    (finding,) = results.folder()
    assert (finding.status, finding.detail) == ("problem", "the current directory is gone")


def test_finished_runs_are_counted():
    for seed in range(3):
        save(RESULTS, run(seed=seed))
    save(RESULTS, run(seed=3, status="diverged"))
    assert _by_check()["finished runs"].detail == "4"
    assert set(_by_check()) == {"finished runs", "clock"}


def _checkpoint(folder, number, epoch, step):
    about = About(number, epoch, step, {"config": "0123456789ab"})
    name = CHECKPOINTS[number % 2]
    (folder / name).write_bytes(MAGIC + b"0" * DIGEST_CHARACTERS + b"\n" + about.packed() + b"the state")


def test_unfinished_runs_are_named_with_where_they_go_on():
    for seed in range(4):
        folder = save(RESULTS, run(seed=seed, status="running", epochs_done=2))
        if seed == 1:
            _checkpoint(folder, 6, 2, 0)
            _checkpoint(folder, 7, 2, 40)
    finding = _by_check()["unfinished"]
    assert finding.status == "warning"
    assert finding.detail == (
        "results/woof/seed-0 (nothing saved), "
        "results/woof/seed-1 (to go on: epoch 3, after step 40), "
        "results/woof/seed-2 (nothing saved) and 1 more"
    )
    assert "give the command that began it again" in finding.remedy


def test_a_damaged_checkpoint_is_a_warning():
    folder = save(RESULTS, run(status="running"))
    _checkpoint(folder, 6, 2, 0)
    (folder / CHECKPOINTS[1]).write_bytes(b"half")
    found = _by_check()
    assert found["checkpoint"].status == "warning"
    assert CHECKPOINTS[1] in found["checkpoint"].detail
    assert found["unfinished"].detail.endswith("(to go on: after epoch 2)")


def test_a_run_that_replaces_another_goes_on_beside_it():
    folder = save(RESULTS, run())
    new = RunFolder(folder).staged.path
    save(RESULTS, run(status="running", seed=9)).rename(new)
    _checkpoint(new, 1, 1, 0)
    found = _by_check()
    assert found["unfinished"].detail == "results/woof/seed-0 (to go on: after epoch 1)"
    assert found["finished runs"].detail == "1"


@pytest.mark.parametrize("kept", [True, False])
def test_a_replacement_that_was_cut_short_is_named(kept):
    folder = save(RESULTS, run())
    save(RESULTS, run(seed=9)).rename(folder.with_name(".seed-0.old"))
    if not kept:
        shutil.rmtree(folder)
    finding = _by_check()["to be tidied"]
    assert (finding.status, finding.detail.startswith("results/woof/seed-0: ")) == ("warning", True)
    assert "give the command that trained it again" in finding.remedy


def test_a_run_that_is_at_work_is_not_unfinished_and_its_files_are_not_torn():
    folder = save(RESULTS, run(status="running"))
    (folder / ".result.json.abcd1234.part").touch()
    lock = RunFolder(folder).lock
    with locks.hold_at_once(lock):
        found = _by_check()
    assert found["at work"].detail == f"results/woof/seed-0: {locks.holder_of(lock)}"
    assert str(os.getpid()) in found["at work"].detail
    assert not {"unfinished", "torn files"} & set(found)
    assert {"unfinished", "torn files"} <= set(_by_check()), "its holder is gone: it is no more at work"


def test_a_run_at_work_hides_no_other():
    save(RESULTS, run(seed=1, status="running"))
    save(RESULTS, run(seed=10, status="running"))
    with locks.hold_at_once(RESULTS / "woof" / ".seed-10.lock"):
        assert "results/woof/seed-1 (" in _by_check()["unfinished"].detail
        assert "seed-10" not in _by_check()["unfinished"].detail


def test_a_run_that_has_no_folder_yet_is_at_work():
    with locks.hold_at_once(RESULTS / "woof" / ".seed-3.lock"):
        assert _by_check()["at work"].detail.startswith("results/woof/seed-3: process ")


@pytest.mark.parametrize("content", ["{", '{"schema_version": 99}', "[]", '"\\ud800'])
def test_a_result_that_cannot_be_read_is_a_problem(content):
    save(RESULTS, run(seed=0))
    (save(RESULTS, run(seed=1)) / "result.json").write_text(content)
    found = _by_check()
    assert found["a run"].status == "problem"
    assert found["a run"].detail.startswith("results/woof/seed-1/result.json")
    assert "--force" in found["a run"].remedy
    assert found["finished runs"].detail == "1"


def test_torn_files_are_named():
    folder = save(RESULTS, run(status="running"))
    for place in (folder, folder.parent, RESULTS):
        (place / ".epochs.jsonl.0123abcd.part").touch()
    finding = _by_check()["torn files"]
    assert (finding.status, finding.remedy) == ("warning", "delete them")
    assert finding.detail.count(".epochs.jsonl.0123abcd.part") == 3


def test_a_clock_before_the_newest_result_is_a_problem():
    later = datetime.now(UTC) + timedelta(days=40)
    save(RESULTS, run(seed=0))
    save(RESULTS, run(seed=1, finished=later.isoformat(timespec="seconds")))
    finding = _by_check()["clock"]
    assert finding.status == "problem"
    assert finding.detail.endswith(f"but the newest result is of {later:%Y-%m-%d %H:%M} UTC")
    assert "clock" in finding.remedy


@pytest.mark.parametrize("when", ["", "yesterday", "2026-01-01T00:00:00"])
def test_a_result_of_no_known_time_says_nothing_of_the_clock(when):
    save(RESULTS, run(finished=when))
    assert _by_check()["clock"].status == "ok"
