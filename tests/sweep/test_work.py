"""A unit at work in a process of its own, here and where the driver's folder is not seen."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lrelu_bench.config_file import load_experiment
from lrelu_bench.results import load_result
from lrelu_bench.shipped import config_path
from lrelu_bench.sweep import work
from lrelu_bench.sweep.session import prepare, state_of
from lrelu_bench.sweep.task import Outcome
from lrelu_bench.sweep.work import Working, execute, received

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")
TINY = ["size=32", "batch_size=4", "subset=1", "epochs=1"]
OPTIONS = ("--device", "cpu")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("LRELU_BENCH_DATA", str(tmp_path / "data"))


def tasks(folder, changes=TINY, seeds=(0,)):
    experiment = load_experiment(config_path("quickstart"), changes)
    return prepare([(experiment, seed) for seed in seeds], folder, OPTIONS)[1]


def test_a_unit_is_trained_then_found(tmp_path):
    (task,) = tasks(tmp_path / "out")
    outcome = execute(task)
    assert (outcome.status, outcome.files) == ("complete", None)
    assert received(task, outcome).status == "complete"
    assert tasks(tmp_path / "out") == []
    assert set(outcome.digests) >= {"result.json", "epochs.jsonl", "config.yaml", "weights.safetensors"}


def test_where_all_is_done_nothing_is_written(tmp_path, monkeypatch):
    experiment = load_experiment(config_path("quickstart"), TINY)
    states = {0: "complete", 1: "diverged", 2: "to do"}
    monkeypatch.setattr("lrelu_bench.sweep.session.state_of", lambda _, seed, output: states[seed])
    done, left = prepare([(experiment, 0), (experiment, 1)], tmp_path / "out", OPTIONS)
    assert ([task.seed for task in done], left) == ([0, 1], [])
    assert not (tmp_path / "out").exists()
    done, (task,) = prepare([(experiment, seed) for seed in states], tmp_path / "out", OPTIONS)
    assert Path(task.config_path).read_text() == task.config


def test_a_mark_is_kept_so_that_a_node_goes_on_where_it_was(tmp_path):
    first, again = (tasks(tmp_path / "out")[0] for _ in range(2))
    assert first.token == again.token
    (tmp_path / "out" / work.OWN / work.MARK).write_text("../../etc")
    assert tasks(tmp_path / "out")[0].token.isalnum()


def test_a_worker_that_does_not_see_the_folder_sends_the_run_back(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "node"))
    (task,) = tasks(tmp_path / "out")
    away = replace(task, output=str(tmp_path / "not" / "here"), config_path="/not/here.yaml")
    outcome = execute(away)
    assert outcome.status == "complete"
    assert not (tmp_path / "not").exists()
    assert not list((tmp_path / "node").rglob("result.json")), "nothing piles up on the node"
    found = received(task, outcome)
    assert (found.status, found.files) == ("complete", None)
    (folder,) = (tmp_path / "out").glob("*/seed-0")
    assert load_result(folder).status == "complete"
    assert {path.name for path in folder.iterdir()} == set(outcome.digests)
    assert not [path for path in folder.parent.iterdir() if path.name.endswith((".new", ".old"))]


def test_what_was_harmed_on_the_way_or_does_not_belong_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "node"))
    (task,) = tasks(tmp_path / "out")
    outcome = execute(replace(task, output="/not/here"))
    harmed = {**outcome.files, "epochs.jsonl": outcome.files["epochs.jsonl"] + b" "}
    found = received(task, replace(outcome, files=harmed))
    assert found.status == "failed"
    assert found.may_help
    assert "epochs.jsonl: is not what" in found.reason
    assert state_of(load_experiment(config_path("quickstart"), TINY), 0, tmp_path / "out") != "complete"
    assert received(task, replace(outcome, files={**outcome.files, "../../evil": b"x"})).status == "complete"
    assert not list(tmp_path.rglob("evil"))


def test_a_failure_says_why_and_whether_to_try_again(tmp_path):
    (task,) = tasks(tmp_path / "out")
    Path(task.config_path).write_text("dataset: procedural\nsiez: 32\n")
    outcome = execute(task)
    assert outcome.status == "failed"
    assert not outcome.may_help
    assert "siez" in outcome.reason
    assert "\n" not in outcome.reason
    crashed = execute(replace(task, options=("--no-such-option",)))
    assert crashed.status == "failed"
    assert "siez" not in crashed.reason
    (log,) = (tmp_path / "out" / work.OWN / "logs").iterdir()
    assert [word in log.read_text() for word in ("siez", "--no-such-option")] == [True, True], "both tries"


def test_a_file_of_the_users_is_not_taken_for_a_module_of_pythons(tmp_path):
    (task,) = tasks(tmp_path / "out")
    (tmp_path / "shutil.py").write_text("raise RuntimeError('a tool of mine')")
    found = execute(replace(task, folder=str(tmp_path), options=("--no-such-option",)))
    assert "No such option: --no-such-option" in found.reason


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"config.yaml": b"x"}, "sent no result.json"),
        ({"config.yaml": b"x", "result.json": b"{}"}, "sent result.json without its digest"),
    ],
)
def test_what_is_not_whole_or_has_no_digest_is_not_taken(tmp_path, files, said):
    (task,) = tasks(tmp_path / "out")
    digests = {"config.yaml": hashlib.sha256(b"x").hexdigest()}
    found = received(task, Outcome("complete", 1.0, "node7", digests=digests, files=files))
    assert (found.status, found.reason) == ("failed", f"did not arrive whole: node7 {said}")
    assert not list(tmp_path.glob("out/*/seed-0"))


def step_taken(working):
    """Wait until it trains."""
    until = time.monotonic() + 120
    while time.monotonic() < until and working.process.poll() is None:
        if list(working.folder.path.glob("*.ckpt")):
            return
        time.sleep(0.02)
    raise AssertionError(working.log.read_text())


LONG = ["size=32", "batch_size=4", "epochs=30", "subset=4"]


def test_a_unit_that_is_stopped_saves_and_goes_on(tmp_path):
    (task,) = tasks(tmp_path / "out", LONG)
    working = Working(replace(task, options=(*OPTIONS, "--checkpoint-minutes", "0")))
    step_taken(working)
    working.stop()
    assert working.process.wait(60) == 143
    assert working.outcome().status == "stopped"
    assert "to go on: lrelu-bench run" in working.log.read_text()
    assert state_of(load_experiment(config_path("quickstart"), LONG), 0, tmp_path / "out") == "begun"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone tells a child")
def test_a_unit_whose_worker_is_killed_saves_and_another_waits_for_it(tmp_path):
    (task,) = tasks(tmp_path / "out", LONG)
    task = replace(task, options=(*OPTIONS, "--checkpoint-minutes", "0"))
    program = (
        "import sys, pickle; from lrelu_bench.sweep.work import execute\n"
        "execute(pickle.loads(sys.stdin.buffer.read()))"
    )
    import pickle

    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as worker:
        worker.stdin.write(pickle.dumps(task))
        worker.stdin.close()
        folder = tmp_path / "out" / task.experiment / "seed-0"
        until = time.monotonic() + 120
        while not list(folder.glob("*.ckpt")) and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(worker.pid, signal.SIGKILL)
    # The orphan may still be saving: the next one waits for its lock instead of failing.
    working = Working(task)
    until = time.monotonic() + 120
    while "going on from what was saved" not in working.log.read_text() and time.monotonic() < until:
        assert working.process.poll() is None, working.log.read_text()
        time.sleep(0.05)
    working.kill()
    assert working.outcome().status == "failed"
    assert "going on from what was saved" in working.log.read_text()
