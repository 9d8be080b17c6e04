"""`lrelu-bench export`: what a tracker is given, what is there already, what cannot be exported."""

import json
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
from exported_runs import ROOT, ROWS, RUN, STARTED, STOPPED, broken, events, recorded, saved, scalars
from run_telemetry import telemetry

from lrelu_bench.export.place import NOTE
from lrelu_bench.export.series import ExportedRun


def test_steps_and_times_are_the_run_s_own(tmp_path):
    run = ExportedRun.load(saved(tmp_path), RUN)
    assert list(run.moments) == [0, 1, 10, 14, 20, 27, 30, 40]
    times = {step: run.moments[step].time - STARTED for step in run.moments}
    # 100 s of training and 10 s of validation an epoch; an epoch's values are known behind both.
    expected = {0: 0, 1: 10, 10: 110, 14: 150, 20: 220, 27: 290, 30: 330, 40: 440}
    assert times == pytest.approx(expected)
    assert [run.moments[step].epoch for step in (0, 14, 40)] == [0, 1.4, 4]


def test_a_broken_epoch_ends_before_the_run_does(tmp_path):
    result = replace(STOPPED, finished="2026-01-01T00:04:00+00:00")
    run = ExportedRun.load(saved(tmp_path, result, broken()), result)
    assert list(run.moments) == [0, 1, 10, 14, 20, 27]
    assert run.moments[27].time - STARTED == 240


def test_what_does_not_exist_has_no_series(tmp_path):
    seen = telemetry(("leak",), offsets=np.array([[[0, 2]], [[2, 2]], [[2, 2]]], np.int32))
    moment = ExportedRun.load(saved(tmp_path, seen=seen), RUN).moments[14]
    learned = {name for name in moment.scalars if name.startswith("learned_")}
    assert learned == {f"learned_leak_{what}/2" for what in ("min", "mean", "max")}
    assert not [name for name in moment.scalars if "capped" in name]


def tree(folder):
    """Every file and its content."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def to_board(call, tmp_path):
    """The command in this process."""
    pytest.importorskip("tensorboard", reason="needs pip install -e '.[tensorboard]'")

    def to_board_(*arguments):
        return call("export", *arguments, "--tracker", "tensorboard", "--output", "out")

    return to_board_


def test_again_exports_only_what_is_new(tmp_path, to_board):
    saved(tmp_path / "results")
    to_board("results")
    before = tree(tmp_path / "out")
    saved(tmp_path / "results", replace(RUN, seed=7))
    code, out, err = to_board("results")
    assert (code, err) == (0, "")
    assert "exported 1 run to out; 1 there already, --force writes them again\n" in out
    after = tree(tmp_path / "out")
    assert before.items() <= after.items()
    assert {path.parent.name for path in after.keys() - before.keys()} == {"seed-7"}


def test_another_state_of_a_run_is_replaced_by_force_alone(tmp_path, to_board):
    folder = saved(tmp_path / "results")
    to_board("results")
    before = tree(tmp_path / "out")
    saved(tmp_path / "results", replace(RUN, started="2026-02-01T00:00:00+00:00"))
    saved(tmp_path / "results", replace(RUN, seed=1))
    code, out, err = to_board("results")
    assert code == 2
    assert (
        err == "error: out/woof/seed-0: holds an export of another state of this run; --force replaces it\n"
    )
    assert "exported 1 run" in out, "the others go ahead"
    assert before.items() <= tree(tmp_path / "out").items()
    assert to_board(folder, "--force")[::2] == (0, "")
    assert not before.keys() <= tree(tmp_path / "out").keys(), "the old event file is gone"
    assert len(list((tmp_path / "out" / "woof" / "seed-0").iterdir())) == 2
    assert not list((tmp_path / "out").glob(".*"))


def test_what_export_did_not_write_stays(tmp_path, to_board):
    saved(tmp_path / "results")
    to_board("results")
    place = tmp_path / "out" / "woof" / "seed-0"
    (place / "thoughts.txt").write_text("mine")
    before = tree(tmp_path / "out")
    code, _, err = to_board("results", "--force")
    assert code == 2
    assert "out/woof/seed-0/thoughts.txt: not written by export; move it away first" in err
    assert tree(tmp_path / "out") == before
    (place / NOTE).unlink()
    code, _, err = to_board("results", "--force")
    assert code == 2
    assert "out/woof/seed-0: is there and not written by export" in err
    assert (place / "thoughts.txt").read_text() == "mine"


def test_results_are_not_taken_for_exports(tmp_path, call, to_board):
    saved(tmp_path / "out")
    before = tree(tmp_path / "out")
    code, _, err = to_board("out", "--force")
    assert code == 2
    assert "move it away or give another --output" in err
    assert tree(tmp_path / "out") == before


def test_what_wandb_sync_left_goes_with_the_export(tmp_path, to_board):
    saved(tmp_path / "results")
    to_board("results")
    (event_file,) = (tmp_path / "out" / "woof" / "seed-0").glob("events*")
    event_file.with_name(f"{event_file.name}.synced").touch()
    assert to_board("results", "--force")[0] == 0
    assert not list((tmp_path / "out").rglob("*.synced"))


def test_another_tracker_s_exports_are_not_replaced(tmp_path, to_board):
    saved(tmp_path / "results")
    to_board("results")
    note = tmp_path / "out" / "woof" / "seed-0" / NOTE
    note.write_text(note.read_text().replace("tensorboard", "wandb"))
    code, _, err = to_board("results", "--force")
    assert code == 2
    assert "out/woof/seed-0: holds an export for wandb; give another --output for tensorboard" in err


def test_of_two_runs_for_one_place_the_second_is_named(tmp_path, to_board):
    saved(tmp_path / "a")
    saved(tmp_path / "b", replace(RUN, precision="fp32"))
    code, out, err = to_board("a", "b", "--force")
    assert code == 2
    assert "exported 1 run" in out
    assert err.startswith("error: b/woof/seed-0: same experiment and seed as a/woof/seed-0, but not the same")


def test_many_refusals_are_few_lines(tmp_path, to_board):
    for seed in range(9):
        saved(tmp_path / "out", replace(RUN, seed=seed))
    code, _, err = to_board("out")
    assert code == 2
    assert err.count("\n") == 6
    assert err.endswith("and 4 more like these\n")


def test_an_older_run_is_its_epochs_alone(tmp_path, to_board):
    saved(tmp_path / "results", seen=None)
    code, out, _ = to_board("results")
    assert code == 0
    assert "results/woof/seed-0: no telemetry.npz, an older run; exported its epochs alone" in out
    read = events(tmp_path / "out" / "woof" / "seed-0")
    assert [step for step, _ in scalars(read, "valid/loss")] == [10, 20, 30, 40]
    assert not [name for name in read.Tags()["scalars"] if name.startswith("outputs_")]


def rewrite(name, text):
    return lambda folder: (folder / name).write_text(text)


DAMAGE = {
    "unfinished": (
        rewrite("result.json", json.dumps({**asdict(RUN), "status": "running"})),
        "not finished: 4",
    ),
    "no time": (rewrite("result.json", json.dumps({**asdict(RUN), "started": "noon"})), "start or end is no"),
    "no config": (lambda folder: (folder / "config.yaml").unlink(), "config.yaml: no such file"),
    "environment": (rewrite("environment.json", "[]"), "environment.json: damaged, not an object"),
    "not JSON": (rewrite("environment.json", "{"), "environment.json: damaged, not JSON"),
    "telemetry": (rewrite("telemetry.npz", "x"), "telemetry.npz: damaged, not the telemetry of a run"),
    "steps": (
        lambda folder: (folder / "telemetry.npz").write_bytes(
            replace(recorded(), epoch=recorded().epoch * 2).packed()
        ),
        "telemetry.npz: damaged, its steps are not those of config.yaml, 10 an epoch",
    ),
    "epochs": (
        rewrite("epochs.jsonl", json.dumps(asdict(ROWS[0])) + "\n"),
        "epochs.jsonl: damaged, holds 1 epochs where result.json says 4",
    ),
    "text": (
        rewrite("epochs.jsonl", json.dumps({**asdict(ROWS[0]), "lr": "low"}) + "\n"),
        "epochs.jsonl:1: damaged, lr is 'low', not float",
    ),
    "order": (
        rewrite("epochs.jsonl", json.dumps(asdict(ROWS[1])) + "\n"),
        "epochs.jsonl:1: damaged, not the numbers of epoch 1",
    ),
}


@pytest.mark.parametrize(("damage", "sentence"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_run_is_skipped_and_named(tmp_path, to_board, damage, sentence):
    saved(tmp_path / "results", replace(RUN, seed=3))
    damage(saved(tmp_path / "results"))
    code, out, err = to_board("results")
    assert (code, err) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith("skipped: ")]
    assert line.startswith("skipped: results/woof/seed-0")
    assert sentence in line
    assert "exported 1 run to out\n" in out
    assert [path.name for path in (tmp_path / "out" / "woof").iterdir()] == ["seed-3"]


def test_nothing_left_to_export_is_an_error(tmp_path, to_board):
    (saved(tmp_path / "results") / "environment.json").unlink()
    code, out, err = to_board("results")
    assert code == 2
    assert "skipped: results/woof/seed-0/environment.json" in out
    assert err == "error: none of the 1 finished runs could be exported; mend what was skipped\n"


@pytest.mark.parametrize("name", ["../../escaped", "..", "/escaped", "a/b", "", ".hidden", "a\\b", "C:x"])
def test_a_name_in_a_file_never_becomes_a_path(tmp_path, to_board, name):
    saved(tmp_path / "results", replace(RUN, seed=3))
    folder = saved(tmp_path / "results")
    (folder / "result.json").write_text(json.dumps({**asdict(RUN), "experiment": name}))
    before = {path for path in tmp_path.rglob("*") if "results" in path.parts}
    code, out, _ = to_board("results")
    assert code == 0
    assert f"result.json: damaged, experiment is {name!r}, not a folder's name" in out
    written = {path.relative_to(tmp_path).as_posix() for path in set(tmp_path.rglob("*")) - before}
    assert all(path == "out" or path.startswith("out/woof") for path in written), written


def test_names_of_sites_are_only_names(tmp_path, to_board):
    odd = np.array(["../../2", "/etc", "c"])
    saved(tmp_path / "results", seen=telemetry(site=odd))
    assert to_board("results")[0] == 0
    read = events(tmp_path / "out" / "woof" / "seed-0")
    assert len(scalars(read, "outputs_mean/../../2")) == 4
    assert len(tree(tmp_path / "out")) == 2


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb"])
def test_a_missing_extra_is_one_sentence(tmp_path, call, monkeypatch, tracker):
    saved(tmp_path / "results")
    for name in [one for one in sys.modules if one.split(".")[0] == tracker]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, f"lrelu_bench.export.to_{tracker}", raising=False)
    monkeypatch.delattr(f"lrelu_bench.export.to_{tracker}", raising=False)
    monkeypatch.setitem(sys.modules, tracker, None)
    code, out, err = call("export", "results", "--tracker", tracker, "--output", "out")
    assert (code, out) == (2, "")
    wanted = f"--tracker {tracker} needs the {tracker} package; pip install 'lrelu-bench[{tracker}]'"
    assert err.startswith(f"error: {wanted}")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_help_imports_no_tracker():
    heavy = ("torch", "numpy", "tensorboard", "wandb", "lrelu_bench.export")
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({heavy}))\nfrom lrelu_bench.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "export", "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--tracker" in done.stdout
