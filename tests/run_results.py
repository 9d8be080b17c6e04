"""Synthetic runs for the tests: every field of a `RunResult` filled in, any of them changed."""

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lrelu_bench.report.compare import CompareRow, rows
from lrelu_bench.report.judging import judged
from lrelu_bench.results import Run, RunResult

LEARNED = {
    "name": "learned_relu",
    "granularity": "channel",
    "leak": 0.05,
    "sub": 0.25,
    "maxv": 10.0,
    "weight_decay": 0.0,
}
V2 = {
    "version": "v2",
    "source": "320",
    "train_images": 9025,
    "valid_images": 3929,
    "protocol": "leaderboard-2020",
    "protocol_label": "leaderboard-2020",
}

ONE = RunResult(
    status="complete",
    experiment="woof",
    config_digest="0123456789ab",
    seed=0,
    dataset="imagewoof",
    version="v1",
    source="160",
    subset=None,
    size=128,
    epochs=5,
    arch="xresnet18",
    activation={"name": "relu", "weight_decay": 0.0},
    protocol="leaderboard-2019",
    protocol_label="leaderboard-2019",
    deviations=[],
    batch_size=128,
    lr=1.5e-3,
    precision="bf16",
    device="a CPU",
    parameters=11_000_000,
    activation_parameters=0,
    train_images=12454,
    valid_images=500,
    data_digest="d" * 64,
    data_official=True,
    epochs_done=5,
    final_accuracy=0.54,
    best_accuracy=0.56,
    best_epoch=4,
    wall_seconds=600.0,
    images_per_second=100.0,
    peak_memory_bytes=None,
    commit=None,
    started="2026-01-01T00:00:00+00:00",
    finished="2026-01-01T00:10:00+00:00",
)


def run(accuracy: float = 0.54, **changes: Any) -> RunResult:
    """One finished run with this accuracy (a share)."""
    return replace(ONE, final_accuracy=accuracy, **changes)


def seeds(*accuracies: float, **changes: Any) -> list[RunResult]:
    """Runs that differ in the seed alone."""
    return [run(accuracy, seed=seed, **changes) for seed, accuracy in enumerate(accuracies)]


def save(root: Path, result: RunResult, **raw: Any) -> Path:
    """Write a run where its runner would; `raw` overrides what the file says. Returns the run's folder."""
    folder = root / result.experiment / f"seed-{result.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps({**asdict(result), **raw}))
    return folder


def as_rows(results: Iterable[RunResult], baseline: str = "relu") -> list[CompareRow]:
    """The rows of `compare` for these results, verdicts included; none of them has predictions."""
    runs = [Run(result, Path("results", result.experiment, f"seed-{result.seed}")) for result in results]
    return judged(rows(runs), [], baseline)
