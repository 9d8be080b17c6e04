"""Which row is held against which baseline, and the verdicts that come of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lrelu_bench.errors import BenchError
from lrelu_bench.evidence.bootstrap import Correct, images_and_seeds_intervals
from lrelu_bench.evidence.verdicts import FEWEST_RUNS, Sides, Verdict, judge, not_comparable
from lrelu_bench.predictions_file import FILE, Predictions
from lrelu_bench.report.compare import CompareRow
from lrelu_bench.results import RunResult

BASELINE = "relu"
_LEFT_OUT = "so the interval over images is left out"


def judged(rows: Sequence[CompareRow], skipped: list[str], baseline: str = BASELINE) -> list[CompareRow]:
    """The rows with the baseline of each named, and a verdict on each that is no baseline itself.

    A row's baseline has the same cell, net, protocol, files, precision, batch, learning rate and data: it
    differs in the activation alone. All comparisons of the report are one family for Holm's correction. Why
    there is no interval over images, where predictions are missing or damaged, is added to `skipped`. Raises
    `BenchError` where a baseline other than `relu` has no row.
    """
    baselines: dict[tuple[Any, ...], list[CompareRow]] = {}
    for row in rows:
        if row.activation == baseline:
            baselines.setdefault(config_of(row), []).append(row)
    if not baselines and baseline != BASELINE:
        there = ", ".join(dict.fromkeys(row.activation for row in rows))
        raise BenchError(f"--baseline {baseline}: no run of it among these; there are {there}")
    verdicts: list[Verdict | None] = [None] * len(rows)
    pairs: dict[int, CompareRow] = {}
    for index, row in enumerate(rows):
        if row.activation == baseline:
            continue
        candidates = baselines.get(config_of(row), [])
        problem = why_not_comparable(row, candidates, baseline)
        if problem:
            verdicts[index] = not_comparable(problem)
        else:
            (pairs[index],) = candidates
    decided = judge([sides_of(rows[index], other) for index, other in pairs.items()])
    intervals = _image_intervals([(rows[index], other) for index, other in pairs.items()], skipped)
    for index, verdict, interval in zip(pairs, decided, intervals, strict=True):
        verdicts[index] = replace(verdict, images_interval=interval)
    return [
        replace(row, baseline=baseline, verdict=verdict) for row, verdict in zip(rows, verdicts, strict=True)
    ]


def config_of(row: CompareRow) -> tuple[Any, ...]:
    """Everything but the activation, in more detail than a table groups by."""
    run = row.runs[0].result
    return *row.setting, run.batch_size, run.lr, run.train_images, run.valid_images


def why_not_comparable(row: CompareRow, candidates: Sequence[CompareRow], name: str) -> str:
    """Why a row has no baseline among those of its config and this name; empty where it has one."""
    if not candidates:
        return f"no {name} run under the same config"
    if len(candidates) > 1:
        return f"{len(candidates)} baselines go by the name {name}"
    (other,) = candidates
    # An official archive has had other bytes over the years, with the same images.
    if not all(run.result.data_official for run in (*row.runs, *other.runs)):
        copies = [{run.result.data_digest for run in side.runs} for side in (row, other)]
        if copies[0] != copies[1]:
            return "the baseline read another copy of the data"
    return ""


def sides_of(row: CompareRow, other: CompareRow) -> Sides:
    """A row and its baseline, as `judge` reads them."""
    return Sides(row.measured, other.measured, len(row.diverged), len(other.diverged))


@dataclass(frozen=True)
class _Predicted:
    """What the measured runs of a row predicted."""

    correct: Correct
    images: tuple[Any, ...]
    """The images in their order, with their classes."""


def _image_intervals(
    pairs: Sequence[tuple[CompareRow, CompareRow]], skipped: list[str]
) -> list[tuple[float, float] | None]:
    """The bootstrap's intervals, where every measured run of both sides predicted the same images."""
    read: dict[int, _Predicted | None] = {}
    alike: dict[tuple[Any, ...], dict[int, tuple[Correct, Correct]]] = {}
    for index, pair in enumerate(pairs):
        if min(len(row.measured) for row in pair) < FEWEST_RUNS:
            continue
        for row in pair:
            if id(row) not in read:
                read[id(row)] = _predicted(row, skipped)
        own, theirs = (read[id(row)] for row in pair)
        if own is None or theirs is None:
            continue
        if own.images != theirs.images:
            folders = " and ".join(str(row.runs[0].folder) for row in pair)
            skipped.append(f"{folders}: predictions of different images, {_LEFT_OUT}")
            continue
        alike.setdefault(own.images, {})[index] = own.correct, theirs.correct
    intervals: list[tuple[float, float] | None] = [None] * len(pairs)
    for some in alike.values():
        for index, interval in zip(some, images_and_seeds_intervals([*some.values()]), strict=True):
            intervals[index] = interval
    return intervals


def _predicted(row: CompareRow, skipped: list[str]) -> _Predicted | None:
    """The row's predictions; None, and why in `skipped`, where a measured run has none that fit."""
    found: list[_Predicted] = []
    for run in row.runs:
        if run.result.status == "diverged":
            continue
        try:
            predictions = Predictions.load(run.folder)
        except BenchError as error:
            skipped.append(f"{error.in_one_line}; {_LEFT_OUT}")
            return None
        problem = "not there" if predictions is None else _foreign(predictions, run.result)
        if predictions is None or problem:
            skipped.append(f"{run.folder / FILE}: {problem}, {_LEFT_OUT}")
            return None
        one = _Predicted(predictions.correct[np.newaxis], predictions.identity)
        if found and one.images != found[0].images:
            skipped.append(f"{run.folder / FILE}: other images than the row's first run had, {_LEFT_OUT}")
            return None
        found.append(one)
    return _Predicted(np.concatenate([one.correct for one in found]), found[0].images)


def _foreign(predictions: Predictions, result: RunResult) -> str:
    """Why predictions cannot be those that the run's accuracy was counted from; empty where they can."""
    images, right = len(predictions.correct), int(predictions.correct.sum())
    said = result.final_accuracy
    if images == result.valid_images and said is not None and abs(said * images - right) < 0.5:
        return ""
    return f"of another run ({right} of {images} images right, which is not the accuracy in result.json)"
