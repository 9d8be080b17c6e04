"""Which row is held against which baseline, and the verdicts that come of it: its own, and over its cells."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lrelu_bench.errors import BenchError
from lrelu_bench.evidence.bootstrap import images_and_seeds_intervals
from lrelu_bench.evidence.verdicts import Sides, Verdict, judge, not_comparable
from lrelu_bench.leaderboard import DATASETS
from lrelu_bench.report.compare import CompareRow
from lrelu_bench.report.pooling import Cell, over_cells
from lrelu_bench.report.predicted import pairs_on_images

BASELINE = "relu"


def judged(rows: Sequence[CompareRow], skipped: list[str], baseline: str = BASELINE) -> list[CompareRow]:
    """The rows with the baseline of each named, and a verdict on each that is no baseline itself.

    A row's baseline has the same cell, net, protocol, files, precision, batch, learning rate and data: it
    differs in the activation alone. All comparisons of the report are one family for Holm's correction. Rows
    of cells that can be pooled are given what they come to together. Why there is no interval over images,
    where predictions are missing or damaged, is added to `skipped`. Raises `BenchError` where a baseline
    other than `relu` has no row.
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
    sides = [sides_of(rows[index], other) for index, other in pairs.items()]
    predicted = pairs_on_images([(rows[index], other) for index, other in pairs.items()], skipped)
    intervals = iter(images_and_seeds_intervals([[one] for one in predicted if one is not None]))
    for index, verdict, one in zip(pairs, judge(sides), predicted, strict=True):
        verdicts[index] = replace(verdict, images_interval=None if one is None else next(intervals))
    cells = [Cell(rows[index], of, one) for index, of, one in zip(pairs, sides, predicted, strict=True)]
    pooled = dict(zip(pairs, over_cells(cells, baseline), strict=True))
    return [
        replace(row, baseline=baseline, verdict=verdict, pooled=pooled.get(index))
        for index, (row, verdict) in enumerate(zip(rows, verdicts, strict=True))
    ]


def config_of(row: CompareRow) -> tuple[Any, ...]:
    """Everything but the activation, in more detail than a table groups by."""
    run = row.runs[0].result
    return *row.setting, run.batch_size, run.lr, run.train_images, run.valid_images


def comparisons_on_boards(rows: Sequence[CompareRow]) -> list[tuple[CompareRow, CompareRow]]:
    """Of judged rows each that was tested, on data that has a leaderboard, and its baseline's."""
    baselines = {config_of(row): row for row in rows if row.activation == row.baseline}
    return [
        (row, baselines[config_of(row)])
        for row in rows
        if row.dataset in DATASETS and row.verdict and row.verdict.p_adjusted is not None
    ]


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
