"""`lrelu-bench sweep` as a user meets it: in turn, several at once, printed; failures, and Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lrelu_bench.results import load_epochs

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")
ROOT = Path(__file__).parents[2]
SWEEP = """
set: {dataset: procedural, subset: 1, size: 32, arch: xresnet18, protocol: leaderboard-2019, epochs: 1,
      batch_size: 4, precision: fp32}
axes:
  activation: [relu, learned_relu]
seeds: 1
"""
CPU = ("--device", "cpu")
# Tests in the background inherit that SIGINT is ignored.
HEARS_CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from lrelu_bench.cli import main
main()
"""


@pytest.fixture
def sweep(tmp_path):
    """Run the command in a process of its own: (exit code, output)."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", "PYTHONPATH": str(ROOT)}
    environment["LRELU_BENCH_DATA"] = str(tmp_path / "data")
    (tmp_path / "s.yaml").write_text(SWEEP)

    def run(*arguments, file="s.yaml"):
        done = subprocess.run(
            [sys.executable, "-m", "lrelu_bench", "sweep", file, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr

    run.environment = environment
    return run


def judged(folder, sweep):
    """What `compare` says of the runs, and their losses and predictions, the times apart."""
    done = subprocess.run(
        [sys.executable, "-m", "lrelu_bench", "compare", str(folder), "--format", "json"],
        capture_output=True,
        text=True,
        check=True,
        env=sweep.environment,
    )
    runs = {}
    for place in sorted(folder.glob("*/seed-*")):
        rows = [(row.train_loss, row.valid_loss, row.correct) for row in load_epochs(place)]
        kept = [(place / name).read_bytes() for name in ("predictions.npz", "telemetry.npz")]
        runs[str(place.relative_to(folder))] = rows, kept
    return json.loads(done.stdout.replace(str(folder), "results"))["rows"], runs


def test_in_turn_at_once_and_printed_give_the_same_results(sweep, tmp_path):
    assert sweep("--dry-run")[0] == 0
    assert not (tmp_path / "results").exists()
    code, out = sweep(*CPU, "--output", "turn")
    assert code == 0, out
    assert "2  complete" in out
    one = judged(tmp_path / "turn", sweep)
    assert len(one[1]) == 2

    code, out = sweep(*CPU, "--output", "once", "--jobs", "2")
    assert code == 0, out
    assert judged(tmp_path / "once", sweep) == one

    code, out = sweep(*CPU, "--output", "once")
    assert code == 0
    assert "2 of 2 units are done already, and skipped" in out
    assert "2  skipped, as complete before" in out
    assert "0  complete" in out

    code, script = sweep(*CPU, "--output", "printed", "--engine", "print")
    assert code == 0
    (tmp_path / "units.sh").write_text(script.replace("lrelu-bench", f"{sys.executable} -m lrelu_bench"))
    subprocess.run(["sh", "units.sh"], cwd=tmp_path, env=sweep.environment, check=True, capture_output=True)
    assert judged(tmp_path / "printed", sweep) == one
    lines = sweep(*CPU, "--output", "lines", "--engine", "print", "--print-as", "jsonl")[1].splitlines()
    assert [(json.loads(line)["seed"]) for line in lines].count(1) == 2


def test_a_failure_leaves_the_others_alone_and_says_how_to_repeat_it(sweep, tmp_path):
    # A finished run of another config lies where one unit belongs: its own error says what to do.
    code, out = sweep(*CPU, "--dry-run")
    code, out = sweep(*CPU, "--engine", "print", "--print-as", "jsonl")
    units = [json.loads(line) for line in out.splitlines()]
    place = tmp_path / "results" / units[0]["experiment"] / "seed-1"
    place.mkdir(parents=True)
    (place / "result.json").write_text("{}")
    code, out = sweep(*CPU)
    assert code == 3
    assert "1  complete" in out
    assert "1  failed" in out
    assert f"{units[0]['experiment']} seed 1: seed 1 not trained: " in out
    assert "not a result of lrelu-bench" in out
    repeat = f"lrelu-bench run {tmp_path}/results/.sweep/configs/{units[0]['experiment']}.yaml --seed 1"
    assert any(line.startswith(f"  {repeat} ") for line in out.splitlines()), "in one line"
    assert (place / "result.json").read_text() == "{}"
    code, out = sweep(*CPU, "--fail-fast", "--output", "results")
    assert code == 3
    assert "1  skipped" in out


def test_ctrl_c_saves_what_runs_and_the_same_command_goes_on(sweep, tmp_path):
    (tmp_path / "s.yaml").write_text(SWEEP.replace("epochs: 1", "epochs: 40"))
    with subprocess.Popen(
        [sys.executable, "-c", HEARS_CTRL_C, "sweep", "s.yaml", *CPU, "--checkpoint-minutes", "0"],
        cwd=tmp_path,
        env=sweep.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as driver:
        until = time.monotonic() + 120
        while not list(tmp_path.glob("results/*/seed-1/*.ckpt")) and time.monotonic() < until:
            time.sleep(0.05)
        driver.send_signal(signal.SIGINT)
        out = driver.stdout.read()
        assert driver.wait(60) == 130, out
    assert "1  stopped, what they had is saved" in out
    assert "1  not begun" in out
    assert "the same command goes on with what is left" in out
    (checkpoint, *_) = tmp_path.glob("results/*/seed-1/*.ckpt")
    assert "1 begun, 1 to do" in sweep("--dry-run")[1]
    assert checkpoint.exists()


def test_a_printed_script_has_the_paths_as_they_are_and_runs_from_anywhere(sweep, tmp_path, monkeypatch):
    sweep.environment["PYTHONIOENCODING"] = "ascii"
    code, script = sweep("--engine", "print", "--output", "ärger 'n\nso")
    assert code == 0
    (tmp_path / "units.sh").write_text(script)
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    # In place of the command: where it runs, and whether its config is there.
    (bin_ / "lrelu-bench").write_text('#!/bin/sh\npwd -P; [ -f "$2" ] && echo found\n')
    (bin_ / "lrelu-bench").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}{os.pathsep}{os.environ['PATH']}")
    done = subprocess.run(
        ["sh", str(tmp_path / "units.sh")], cwd="/", capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == [str(tmp_path.resolve()), "found"] * 2, done
    assert done.returncode == 0


WRONG = {
    "no such sweep": (("no-such",), "no-such"),
    "another engine's": (
        ("s.yaml", "--address", "head:6379"),
        "--address: means nothing to --engine local; remove it, or give --engine ray",
    ),
    "no KEY=VALUE": (("s.yaml", "--engine", "slurm", "--slurm", "gpu"), "--slurm gpu: is no KEY=VALUE"),
}


@pytest.mark.parametrize(("arguments", "said"), WRONG.values(), ids=WRONG)
def test_what_a_user_can_cause_is_a_sentence(sweep, arguments, said):
    code, out = sweep(*arguments[1:], file=arguments[0])
    assert code == 2
    assert said in out
