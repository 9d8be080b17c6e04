"""Whole runs for the tests of `export`, the command in its own process, and reading back event files."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from run_results import LEARNED, ONE, save
from run_telemetry import EPOCHS, STEPS_PER_EPOCH, telemetry

from lrelu_bench.results import Divergence, EpochRow

ROOT = Path(__file__).parents[1]
CONFIG = """\
dataset: imagewoof
version: v1
size: 128
arch: xresnet18
activation: learned_relu
protocol: leaderboard-2019
epochs: 4
batch_size: 128
lr: 0.0015
"""
ENVIRONMENT = {"versions": {"torch": "2.15.0"}, "cores": 2}
STARTED = 1767225600.0
"""ONE.started."""
RUN = replace(
    ONE,
    activation=LEARNED,
    epochs=EPOCHS,
    epochs_done=EPOCHS,
    best_epoch=3,
    train_images=128 * STEPS_PER_EPOCH + 5,
)
ROWS = [EpochRow(e, 2 / e, 3 / e, 0.1 * e, 50 * e, 1e-3 / e, 100.0, 10.0, 50.0 + e) for e in range(1, 5)]
STOPPED = replace(
    RUN,
    seed=1,
    status="diverged",
    epochs_done=2,
    divergences=[Divergence(3, 27, "leak", "2", 0, 2, "stop", None)],
)


def recorded():
    """Telemetry with a number in every array, and one gradient that was not there."""
    half = np.full((4, 3, 2), 0.5, np.float32)
    grad_norm = half.copy()
    grad_norm[1, 0, 0] = np.nan
    return telemetry(grad_norm=grad_norm, update_ratio=half / 2, at_bound=half / 4, capped=half[..., 0] / 8)


def saved(root, result=RUN, seen="recorded"):
    folder = save(root, result)
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "environment.json").write_text(json.dumps(ENVIRONMENT))
    rows = [json.dumps(asdict(row)) + "\n" for row in ROWS[: result.epochs_done]]
    (folder / "epochs.jsonl").write_text("".join(rows))
    if seen is not None:
        (folder / "telemetry.npz").write_bytes((recorded() if seen == "recorded" else seen).packed())
    return folder


def broken():
    """What is there of a run that broke in its third epoch, at step 27."""
    seen = recorded()
    kept = {name: getattr(seen, name)[:3] for name in seen.__dataclass_fields__ if name in PER_STEP}
    kept["mean"] = kept["mean"].copy()
    kept["mean"][2, 0] = np.nan
    return replace(seen, **kept, values=seen.values[:3], curves=seen.curves[:3])


PER_STEP = (
    *("step", "epoch", "lr", "mean", "std", "near_zero", "capped", "histogram"),
    *("param_min", "param_mean", "param_max", "grad_norm", "update_ratio", "at_bound"),
)


def export(*arguments, cwd=None, env=None, prelude="", tracker="tensorboard", output="out"):
    """The command in a process of its own, where a warning is an error."""
    program = f"{prelude}\nimport sys\nfrom lrelu_bench.cli import main; main()"
    words = ["export", *map(str, arguments), "--tracker", tracker, "--output", str(output)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "100", **(env or {})},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    read.Reload()
    return read


def scalars(read, name):
    return [(one.step, one.value) for one in read.Scalars(name)]


def tensors(read, name):
    from tensorboard.util.tensor_util import make_ndarray

    return {one.step: make_ndarray(one.tensor_proto) for one in read.Tensors(name)}
