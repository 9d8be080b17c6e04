"""Which row is held against which baseline, and the verdicts that come of it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lrelu_bench.errors import BenchError
from lrelu_bench.evidence.bootstrap import Correct, images_and_seeds_interval
from lrelu_bench.evidence.verdicts import FEWEST_RUNS, Sides, Verdict, judge, not_comparable
from lrelu_bench.predictions_file import Predictions
from lrelu_bench.report.compare import CompareRow

BASELINE = "relu"


def judged(rows: Sequence[CompareRow], skipped: list[str], baseline: str = BASELINE) -> list[CompareRow]:
    """The rows with the baseline of each named, and a verdict on each that is no baseline itself.

    A row's baseline has the same cell, net, protocol, files and precision: it differs in the activation
    alone. All comparisons of the report are one family for Holm's correction. A sentence on each damaged file
    of predictions is added to `skipped`. Raises `BenchError` where a baseline other than `relu` has no row.
    """
    baselines = {config_of(row): row for row in rows if row.activation == baseline}
    if not baselines and baseline != BASELINE:
        there = ", ".join(dict.fromkeys(row.activation for row in rows))
        raise BenchError(f"--baseline {baseline}: no run of it among these; there are {there}")
    verdicts = _verdicts(rows, baselines, baseline, skipped)
    return [
        replace(row, baseline=baseline, verdict=verdict) for row, verdict in zip(rows, verdicts, strict=True)
    ]


def _verdicts(
    rows: Sequence[CompareRow], baselines: dict[tuple[Any, ...], CompareRow], name: str, skipped: list[str]
) -> list[Verdict | None]:
    """One per row, None for a baseline."""
    verdicts: list[Verdict | None] = [None] * len(rows)
    pairs: dict[int, CompareRow] = {}
    for index, row in enumerate(rows):
        other = baselines.get(config_of(row))
        if other is row:
            continue
        problem = f"no {name} run under the same config" if other is None else _unlike(row, other)
        if other is None or problem:
            verdicts[index] = not_comparable(problem)
        else:
            pairs[index] = other
    decided = judge([_sides(rows[index], other) for index, other in pairs.items()])
    correct = _CorrectImages(skipped)
    for (index, other), verdict in zip(pairs.items(), decided, strict=True):
        verdicts[index] = replace(verdict, images_interval=correct.interval(rows[index], other))
    return verdicts


def config_of(row: CompareRow) -> tuple[Any, ...]:
    """Everything but the activation, in more detail than a table groups by."""
    run = row.runs[0].result
    return *row.setting, run.batch_size, run.lr, run.train_images, run.valid_images


def _unlike(row: CompareRow, other: CompareRow) -> str:
    """Why two rows of one config may not be compared all the same; empty where they may."""
    if row.source is not None and not (row.unofficial == other.unofficial == 0):
        copies = [{run.result.data_digest for run in side.runs} for side in (row, other)]
        if copies[0] != copies[1]:
            return "the baseline read another copy of the data"
    return ""


def _sides(row: CompareRow, other: CompareRow) -> Sides:
    return Sides(row.measured, other.measured, len(row.diverged), len(other.diverged))


class _CorrectImages:
    """Which images each row's runs got right; every file is read once."""

    def __init__(self, skipped: list[str]) -> None:
        self.skipped = skipped
        self.found: dict[int, tuple[Correct, bytes] | None] = {}

    def interval(self, row: CompareRow, other: CompareRow) -> tuple[float, float] | None:
        """The bootstrap's interval, where every measured run has predictions of the same images."""
        if min(len(row.measured), len(other.measured)) < FEWEST_RUNS:
            return None
        own, theirs = self._of(row), self._of(other)
        if own is None or theirs is None or own[1] != theirs[1]:
            return None
        return images_and_seeds_interval(own[0], theirs[0])

    def _of(self, row: CompareRow) -> tuple[Correct, bytes] | None:
        key = id(row)
        if key not in self.found:
            self.found[key] = self._read(row)
        return self.found[key]

    def _read(self, row: CompareRow) -> tuple[Correct, bytes] | None:
        """(runs, images) and what identifies the images and their order."""
        files = []
        for run in row.runs:
            if run.result.status == "diverged":
                continue
            try:
                files.append(Predictions.load(run.folder))
            except BenchError as error:
                self.skipped.append(f"{error}; not in the interval over images")
                return None
        there = [file for file in files if file is not None]
        images = {file.image.tobytes() + file.label.tobytes() for file in there}
        if len(there) < len(files) or len(images) != 1:
            return None
        return np.array([file.correct for file in there]), images.pop()
