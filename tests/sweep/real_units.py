"""Units that really train, in seconds, as tasks of a sweep; and what two results folders have in common."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

from torturing.runs import SPEEDS, TIMES

from lrelu_bench.config_file import dump_experiment, load_experiment
from lrelu_bench.shipped import config_path
from lrelu_bench.stopping import Stop
from lrelu_bench.sweep.driver import drive
from lrelu_bench.sweep.engines.local import LocalEngine
from lrelu_bench.sweep.task import Task
from lrelu_bench.sweep.work import MARK, OWN

TOKEN = "0123456789abcdef"
UNITS = (("learned_relu", 0), ("relu", 0))
OPTIONS = ("--device", "cpu", "--checkpoint-minutes", "0.01")
"""Saved after every step or two, so that one that is killed has something to go on from."""
PATIENCE = 600.0
"""Seconds within which something that takes one must happen on any machine."""


def tasks(output, units=UNITS, epochs=4):
    """A task for each activation and seed."""
    found = []
    for activation, seed in units:
        changes = ["size=32", "batch_size=4", "subset=1", f"epochs={epochs}", f"activation.name={activation}"]
        experiment = load_experiment(config_path("quickstart"), changes)
        text, config = dump_experiment(experiment), output / OWN / "configs" / f"{experiment.slug}.yaml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(text)
        found.append(Task(experiment.slug, seed, text, str(config), str(output), TOKEN, OPTIONS, str(output)))
    (output / OWN / MARK).write_text(TOKEN)
    return found


class Watching:
    """A view that calls a function at every tick and notes what ended."""

    def __init__(self, on_tick=lambda: None):
        self.tick, self.seen = on_tick, []

    def started(self, task):
        pass

    def ended(self, task, outcome, again):
        self.seen.append((outcome.status, outcome.reason, again))


def in_turn(output):
    """The sequential sweep that every other must equal."""
    engine = LocalEngine(1, "cpu")
    swept = drive(tasks(output), engine, Watching(), Stop())
    assert len(swept.complete) == len(UNITS), swept


def contents(output):
    """All that the runs of a results folder say, the times apart."""
    found = {}
    for path in sorted(output.glob("*/seed-*/*")):
        name = str(path.relative_to(output))
        if path.name == "result.json":
            found[name] = {
                k: v for k, v in json.loads(path.read_text()).items() if k not in (*TIMES, "commit")
            }
        elif path.name == "environment.json":
            # The checkout may move on while a sweep runs, as in a developer's hands.
            now = json.loads(path.read_text())
            found[name] = {k: v for k, v in now.items() if k not in ("commit", "earlier")}
        elif path.name == "epochs.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{k: v for k, v in row.items() if k not in SPEEDS} for row in rows]
        else:
            found[name] = path.read_bytes()
    return found


def compared(call, output):
    """What `compare` says of them, the times apart."""
    code, out, err = call("compare", output, "--format", "json")
    assert (code, err) == (0, "")
    return without_times(json.loads(out), str(output))


def without_times(value, output):
    if isinstance(value, dict):
        timed = ("second", "images_per", "started", "finished", "memory")
        return {
            key: without_times(one, output)
            for key, one in value.items()
            if not any(word in key for word in timed)
        }
    if isinstance(value, list):
        return [without_times(one, output) for one in value]
    return value.replace(output, "") if isinstance(value, str) else value


def at_work(output):
    """The process of each unit that trains into this folder, and that of its worker."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (place / "cmdline").read_bytes().split(b"\0")
            if b"lrelu_bench.sweep.child" in words and str(output).encode() in words:
                found.append((int(place.name), parent(int(place.name))))
    return found


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def ancestors(pid):
    found = []
    with contextlib.suppress(OSError):
        while pid > 1:
            pid = parent(pid)
            found.append(pid)
    return found


def kill_with_descendants(pid):
    """What a power cut does to a node."""
    family = [int(place.name) for place in Path("/proc").glob("[0-9]*")]
    family = [one for one in family if one == pid or pid in ancestors(one)]
    for one in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def epochs_done(output):
    """Epochs that unfinished runs have done and saved."""
    return sum(
        len(path.read_text().splitlines())
        for path in output.glob("*/seed-*/epochs.jsonl")
        if list(path.parent.glob("*.ckpt"))
    )


def until(happened, what):
    """Wait for it."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, f"{what} never happened"
        time.sleep(0.05)
