"""What the runs of a row predicted, image by image, where every one of them kept it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrelu_bench.errors import BenchError
from lrelu_bench.evidence.bootstrap import Correct, PairOnImages
from lrelu_bench.evidence.verdicts import FEWEST_RUNS
from lrelu_bench.predictions_file import FILE, Predictions
from lrelu_bench.report.compare import CompareRow
from lrelu_bench.results import RunResult

_LEFT_OUT = "so the interval over images is left out"


@dataclass(frozen=True)
class _Predicted:
    """What the measured runs of a row predicted."""

    correct: Correct
    images: tuple[Any, ...]
    """The images in their order, with their classes."""


def pairs_on_images(
    pairs: Sequence[tuple[CompareRow, CompareRow]], skipped: list[str]
) -> list[PairOnImages | None]:
    """What each row and its baseline predicted of the same images; None below the runs that a verdict needs.

    None, too, and why in `skipped`, where predictions are missing or damaged or of different images.
    """
    read: dict[int, _Predicted | None] = {}
    found: list[PairOnImages | None] = [None] * len(pairs)
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
        found[index] = PairOnImages(own.correct, theirs.correct, own.images)
    return found


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
