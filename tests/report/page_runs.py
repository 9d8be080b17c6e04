"""Runs with every file that the page reads, made without training anything."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from run_results import LEARNED, ONE, save
from run_telemetry import telemetry

from lrelu_bench.predictions_file import FILE as PREDICTIONS
from lrelu_bench.predictions_file import Predictions
from lrelu_bench.report.compare import CompareRow, collect, rows
from lrelu_bench.report.html.page import page
from lrelu_bench.report.judging import judged
from lrelu_bench.results import Divergence, RunResult
from lrelu_bench.telemetry_file import FILE

LONG = LEARNED | {
    "granularity": "layer",
    "leak": 0.1,
    "bounds": {"leak": [0.0, 0.5], "sub": [0.0, 1.0]},
    "learn": ["leak", "sub"],
}
STEPS = (-0.012, 0.004, 0.008, -0.006, 0.002)
"""How far the seeds lie from their mean; with 500 images, whole images."""
ACTIVATIONS = {
    "relu": ({"name": "relu", "weight_decay": 0.0}, 0.0, 0),
    "learned": (LEARNED, 0.05, 11904),
    "long": (LONG, 0.002, 57),
    "star": ({"name": "star_relu"}, -0.05, 38),
}
CELLS = ({"size": 128}, {"size": 192, "arch": "xresnet50", "dataset": "imagenette"})


def save_whole(root: Path, result: RunResult) -> Path:
    """Write a run with config, environment, epochs, predictions and, where it learns, telemetry."""
    folder = save(root, result)
    (folder / "config.yaml").write_text(f"dataset: {result.dataset}\nsize: {result.size}\n")
    environment = {"versions": {"torch": "2.15.0"}, "cpu": "a CPU", "gpu": None}
    (folder / "environment.json").write_text(json.dumps(environment))
    lines = [_epoch(result, epoch) for epoch in range(1, result.epochs_done + 1)]
    (folder / "epochs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if result.status == "complete":
        right = np.arange(result.valid_images) < round((result.final_accuracy or 0.0) * result.valid_images)
        names = np.array([f"{i}.png" for i in range(result.valid_images)], np.bytes_)
        predictions = Predictions(right.astype(np.uint8), np.ones(result.valid_images, np.uint8), names)
        (folder / PREDICTIONS).write_bytes(predictions.packed())
    if result.activation_parameters:
        (folder / FILE).write_bytes(telemetry().packed())
    return folder


def _epoch(result: RunResult, epoch: int) -> dict[str, float]:
    share = 1 - math.exp(-3 * epoch / result.epochs)
    return {
        "epoch": epoch,
        "train_loss": 2.3 - 1.2 * share,
        "valid_loss": 2.2 - 0.9 * share,
        "accuracy": (result.final_accuracy or 0.0) * share,
        "correct": 100,
        "lr": 1e-3,
        "train_seconds": 100.0,
        "valid_seconds": 5.0,
        "images_per_second": 100.0,
    }


def save_example(root: Path) -> None:
    """Two cells, four activations, five seeds; two runs of one activation diverged."""
    gone = Divergence(4, 388, "loss", None, None, 3, "stop", None)
    for number, cell in enumerate(CELLS):
        for name, (activation, gain, learned) in ACTIVATIONS.items():
            for seed, step in enumerate(STEPS):
                result = replace(
                    ONE,
                    experiment=f"cell{number}-{name}",
                    activation=activation,
                    seed=seed,
                    final_accuracy=0.55 + gain + step,
                    activation_parameters=learned,
                    finished=f"2026-11-{10 + seed}T10:00:00+00:00",
                    **cell,
                )
                if name == "star" and seed in (1, 3):
                    result = replace(
                        result, status="diverged", final_accuracy=0.1, epochs_done=3, divergences=[gone]
                    )
                save_whole(root, result)


def page_of(root: Path) -> tuple[str, list[CompareRow]]:
    """The page of every run below a folder, and the rows on it."""
    runs, skipped = collect([root])
    found = judged(rows(runs), skipped)
    return page(found, skipped), found
