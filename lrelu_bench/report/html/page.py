"""One self-contained page: plain values are computed first, then a template draws them.

Nothing on it comes from the network, nothing of it depends on the clock: the same runs give the same bytes.
"""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from lrelu_bench import __version__
from lrelu_bench.printable import visible
from lrelu_bench.report.compare import CompareRow, pooled_rows
from lrelu_bench.report.html.figures import Cells, Figure, Panels
from lrelu_bench.report.html.files import RunFiles
from lrelu_bench.report.html.inside import trajectories
from lrelu_bench.report.html.looks import LOOKS
from lrelu_bench.report.html.over_cells import pool_views
from lrelu_bench.report.html.runs import RowRuns, anchors, row_runs
from lrelu_bench.report.wording import (
    NOTHING,
    Notes,
    accuracy_cell,
    baseline_difference_cell,
    board_line,
    data_name,
    evidence_cell,
    files,
    section_title,
    signed,
)

GENERATOR = '<meta name="generator" content="lrelu-bench '
"""In the head of every page that this package wrote: how it knows its own."""


@dataclass(frozen=True)
class VerdictRow:
    """One line of the table of verdicts; a value of None is sorted last."""

    anchor: str
    activation: str
    data: str
    cell: str
    """Size, epochs and subset."""
    net: str
    protocol: str
    setting: str
    n: int
    diverged: int
    mean: float | None
    accuracy: str
    points: float | None
    versus: str
    word: str
    look: str
    sign: str
    rank: int
    reason: str
    beside: str
    board_points: float | None
    board: str
    above: str
    comparison: str
    why: str


@dataclass(frozen=True)
class CellView:
    """A cell's part of the page."""

    anchor: str
    title: str
    board: str
    url: str
    parts: tuple[Figure | Panels, ...]
    inside: tuple[Panels, ...]


def page(rows: Sequence[CompareRow], skipped: Sequence[str]) -> str:
    """The page of these judged rows, ending in a newline.

    Reads each run's config, environment, epochs and telemetry from its folder; what cannot be read is left
    out, and a sentence on it is added to those in `skipped` at the end of the page. Raises `ValueError` for
    no rows.
    """
    if not rows:
        raise ValueError("no rows to make a page of")
    left_out = list(skipped)
    read = RunFiles(left_out)
    links = anchors(rows)
    notes = Notes(rows, ())
    cells = _cells(rows, Cells(notes, read, links))
    runs = [row_runs(row, f"row-{i}", links, read) for i, row in enumerate(rows, 1)]
    return _drawn(rows, notes, cells, runs, left_out)


def _cells(rows: Sequence[CompareRow], make: Cells) -> list[CellView]:
    views = []
    for i, (_, some) in enumerate(groupby(rows, key=lambda row: row.section), 1):
        cell = list(some)
        parts: list[Figure | Panels] = [make.accuracy(cell)]
        for _, group in groupby(cell, key=lambda row: row.setting):
            parts += make.learning(list(group))
        record = make.record(cell)
        found = [trajectories(row, make.files, make.keys) for row in cell]
        board = cell[0].board
        views.append(
            CellView(
                f"cell-{i}",
                section_title(cell[0]),
                board_line(cell[0]),
                # A link is followed, so only what is a web page becomes one.
                board.url if board and board.url.startswith("https://") else "",
                (*parts, *([record] if record else [])),
                tuple(one for one in found if one is not None),
            )
        )
    return views


def verdict_row(row: CompareRow, anchor: str, notes: Notes) -> VerdictRow:
    """A row of the comparison in the words and values of the table."""
    verdict = row.verdict
    word = verdict.word if verdict else "baseline"
    look, sign = LOOKS[word]
    beside = evidence_cell(row)
    return VerdictRow(
        anchor=anchor,
        activation=row.activation,
        data=data_name(row),
        cell=section_title(row).removeprefix(f"{data_name(row)} · "),
        net=row.arch,
        protocol=notes.protocol(row),
        setting=", ".join(part for part in (files(row), row.precision) if part),
        n=row.n,
        diverged=len(row.diverged),
        mean=row.mean,
        accuracy=accuracy_cell(row),
        points=verdict.difference.mean if verdict and verdict.difference else None,
        versus=baseline_difference_cell(row),
        word=word,
        look=look,
        sign=sign,
        rank=list(LOOKS).index(word),
        reason=verdict.reason if verdict else "",
        beside="" if beside == NOTHING else beside,
        board_points=row.difference,
        board=NOTHING if row.difference is None else signed(row.difference),
        above="" if row.difference is None else f"{row.above_board} of {row.n} above",
        comparison=row.comparison,
        why=row.reason,
    )


def headline(rows: Sequence[CompareRow]) -> str:
    """The answer in a sentence: over the cells where that has a verdict, else cell by cell.

    With it are told the activations that a single cell finds better or worse, and the cells together do not.
    """
    baseline = rows[0].baseline or "the baseline"
    words = Counter[str](row.verdict.word for row in rows if row.verdict)
    pooled = {word: names for word in ("better", "worse") if (names := _pooled_as(word, rows))}
    if pooled:
        over = "; ".join(f"{word} than {baseline}: {names}" for word, names in pooled.items())
        single = (
            f"; in single cells {word}: {names}"
            for word in ("better", "worse")
            if (names := _in_single_cells(word, rows))
        )
        return f"Over cells {over}{''.join(single)}"
    judged = words["better"] + words["worse"] + words["no detectable difference"]
    of = f"{judged} comparison{'s' * (judged != 1)}"
    if words["better"] and words["worse"]:
        return f"Better than {baseline} in {words['better']} of {of}, worse in {words['worse']}"
    for word in ("better", "worse"):
        if words[word]:
            return f"{word.capitalize()} than {baseline} in {words[word]} of {of}"
    if judged:
        return f"No difference from {baseline} is shown in {of}"
    return f"Nothing can be said against {baseline} yet"


def _pooled_as(word: str, rows: Sequence[CompareRow]) -> str:
    """The activations of which this is the verdict over cells, with the protocol where there are several."""
    pools = pooled_rows(rows)
    several = len({one.protocol for one in pools}) > 1
    names = (
        f"{one.activation} ({one.protocol})" if several else one.activation
        for one in pools
        if one.evidence.word == word
    )
    return ", ".join(dict.fromkeys(names))


def _in_single_cells(word: str, rows: Sequence[CompareRow]) -> str:
    """The activations of which this is the verdict in a cell, but not over the cells that it belongs to."""
    names = (
        row.activation
        for row in rows
        if row.verdict and row.verdict.word == word and (not row.pooled or row.pooled.evidence.word != word)
    )
    return ", ".join(dict.fromkeys(names))


def tally(rows: Sequence[CompareRow]) -> str:
    """How many verdicts of each word."""
    words = Counter[str](row.verdict.word for row in rows if row.verdict)
    total = sum(words.values())
    if not total:
        return f"Every row is of {rows[0].baseline} itself, so there is nothing to compare."
    counts = ", ".join(f"{words[word]} {word}" for word in LOOKS if word != "baseline" and words[word])
    return f"{total} row{'s' * (total != 1)} held against {rows[0].baseline}: {counts}."


def _drawn(
    rows: Sequence[CompareRow],
    notes: Notes,
    cells: Sequence[CellView],
    runs: Sequence[RowRuns],
    left_out: Sequence[str],
) -> str:
    table = [verdict_row(row, f"row-{i}", notes) for i, row in enumerate(rows, 1)]
    script = _asset("page.js")
    total = sum(row.n for row in rows)
    words = Counter(line.word for line in table)
    context: dict[str, Any] = {
        "version": __version__,
        "style": Markup(_asset("page.css") + _asset("narrow.css")),
        "script": Markup(script),
        "script_digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "headline": headline(rows),
        "tally": tally(rows),
        "size": f"{total:,} run{'s' * (total != 1)} in {len(rows):,} row{'s' * (len(rows) != 1)}.",
        "baseline": rows[0].baseline or "baseline",
        "table": table,
        "pools": pool_views(rows),
        "data_names": list(dict.fromkeys(line.data for line in table)),
        "words": [(word, *LOOKS[word], words[word]) for word in LOOKS if words[word]],
        "cells": cells,
        "runs": runs,
        "notes": notes.lines,
        "left_out": left_out,
    }
    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters["breakable"] = _breakable
    return environment.get_template("page.html").render(context) + "\n"


def _breakable(name: str) -> Markup:
    """A name that a narrow column breaks between its options before it breaks inside one."""
    return Markup("<wbr>").join(re.split(r"(?=\()|(?<=,)", visible(name)))


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _shown(value: Any) -> Any:
    """Text without what would drive a terminal or break a file, its lines kept; markup as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return "\n".join(map(visible, value.split("\n")))
    return value
