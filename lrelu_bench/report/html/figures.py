"""What stands in each cell's part of the page: accuracies, learning curves, losses, the record's history."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from statistics import fmean

from markupsafe import Markup

from lrelu_bench.leaderboard import load_board
from lrelu_bench.report.compare import CompareRow
from lrelu_bench.report.html.charts import NARROW, SMALL, WIDE, Frame, Line, LinePlot, line_chart
from lrelu_bench.report.html.dots import Dot, DotGroup, DotPlot, DotRow, dot_chart
from lrelu_bench.report.html.files import RunFiles
from lrelu_bench.report.html.record import Own, RecordPlot, Step, record_chart
from lrelu_bench.report.html.scales import bounds, thinned, whole_ticks
from lrelu_bench.report.html.svg import Style
from lrelu_bench.report.wording import (
    NOTHING,
    Notes,
    accuracy_cell,
    board_difference_cell,
    board_line,
    comparison_cell,
    n_cell,
    range_cell,
    section_title,
)
from lrelu_bench.report.wording import (
    files as files_in_words,
)
from lrelu_bench.results import EpochRow

_DASHES = ("7 3", "2 3", "10 3 2 3", "4 2", "12 4")
_MARKERS = ("circle", "triangle", "diamond", "wedge", "cross")
_LINES = 5
"""Most lines of a chart beside the baseline's: as many as there are colours and dashes."""
_TABLED = 21
"""Most epochs in a table of a chart's numbers."""


@dataclass(frozen=True)
class Table:
    """A chart's numbers, for who cannot see it."""

    header: tuple[str, ...]
    body: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """One chart, drawn for a desk and for a phone, with what a reader must know beside it."""

    heading: str
    caption: str
    wide: Markup
    narrow: Markup
    table: Table


@dataclass(frozen=True)
class Panels:
    """Small charts of one kind, each with its name."""

    heading: str
    caption: str
    panels: tuple[tuple[str, Markup], ...]
    table: Table


@dataclass
class Keys:
    """Names for charts, each unique on the page and the same every time."""

    count: int = 0

    def next(self) -> str:
        """The next one."""
        self.count += 1
        return f"chart-{self.count}"


@dataclass(frozen=True)
class Curve:
    """What the measured runs of a row did epoch by epoch, one value per run and epoch."""

    row: CompareRow
    runs: tuple[tuple[EpochRow, ...], ...]

    def line(self, name: str, value: Callable[[EpochRow], float], style: Style) -> Line:
        """The mean over the runs, and the band from the least to the greatest where there are several."""
        at = [[value(epoch) for epoch in epochs] for epochs in zip(*self.runs, strict=True)]
        x = tuple(float(epoch.epoch) for epoch in self.runs[0])
        several = len(self.runs) > 1
        return Line(
            name,
            x,
            tuple(map(fmean, at)),
            style,
            tuple(map(min, at)) if several else None,
            tuple(map(max, at)) if several else None,
        )


@dataclass
class Cells:
    """Makes the figures of one cell after another; what the cells share is here."""

    notes: Notes
    files: RunFiles
    links: dict[tuple[str, int], str]
    """The anchor of each run, by folder and seed."""
    keys: Keys = field(default_factory=Keys)

    def accuracy(self, rows: Sequence[CompareRow]) -> Figure:
        """Every run, with means and intervals, beside the board's row."""
        styles = styles_of(rows)
        groups = []
        for _, some in groupby(rows, key=lambda row: row.setting):
            group = list(some)
            board = group[0].board
            groups.append(
                DotGroup(
                    self.notes.setting(group[0]),
                    tuple(self._dot_row(row, styles[row.activation]) for row in group),
                    board.accuracy if board else None,
                    group[0].comparison == "like for like",
                )
            )
        board = rows[0].board
        title = f"Accuracy, {section_title(rows[0])}"
        found = "; ".join(f"{row.activation}, {row.arch}: {_in_words(row)}" for row in rows)
        name = board_line(rows[0]).partition(" (")[0] if board else ""
        plot = DotPlot(title, found, tuple(groups), name, "accuracy after the last epoch, %")
        header = ("Setting", "Activation", "n", "Accuracy %", "Range %", "vs board")
        body = tuple(
            (
                self.notes.setting(row),
                row.activation,
                n_cell(row),
                accuracy_cell(row),
                range_cell(row),
                board_difference_cell(row),
            )
            for row in rows
        )
        caption = "A dot is a run. Below the dots, the mean and its 95 % t interval over runs"
        caption += "; an interval that ends in an arrow goes on. " if any(map(_wide, rows)) else ". "
        if board:
            caption += f"The line is the board's row, {_line_in_words(rows)}. "
        if any(row.diverged for row in rows):
            caption += "A cross is a run that diverged: it is not in the mean."
        return self._figure("Accuracy", caption, Table(header, body), lambda *of: dot_chart(plot, *of))

    def _dot_row(self, row: CompareRow, style: Style) -> DotRow:
        dots, lost = [], []
        for run, accuracy in zip(row.runs, row.accuracies, strict=True):
            link = self.links.get((str(run.folder), run.result.seed), "")
            if accuracy is None:
                hint = f"seed {run.result.seed} diverged in epoch {run.result.diverged_in}"
                lost.append(Dot(0.0, hint, link))
            else:
                dots.append(Dot(accuracy, f"seed {run.result.seed}: {accuracy:.1f} %", link))
        return DotRow(row.activation, tuple(dots), tuple(lost), row.mean, row.interval, _in_words(row), style)

    def learning(self, rows: Sequence[CompareRow]) -> Iterator[Figure | Panels]:
        """Curves of rows that differ in the activation alone: accuracies together, losses one by one."""
        curves = [curve for curve in map(self._curve, rows) if curve]
        if not curves:
            return
        setting = self._setting(rows[0])
        own = [curve for curve in curves if curve.row.activation == curve.row.baseline]
        others = [curve for curve in curves if curve.row.activation != curve.row.baseline]
        styles = styles_of(rows)
        for begin in range(0, max(len(others), 1), _LINES):
            yield self._accuracies([*own, *others[begin : begin + _LINES]], setting, styles)
        yield self._losses(curves, setting)

    def _setting(self, row: CompareRow) -> str:
        parts = (row.arch, self.notes.protocol(row), files_in_words(row), row.precision)
        return ", ".join(part for part in parts if part)

    def _curve(self, row: CompareRow) -> Curve | None:
        runs = [run for run in row.runs if run.result.status != "diverged"]
        read = [epochs for epochs in map(self.files.epochs, runs) if epochs]
        return Curve(row, tuple(read)) if read else None

    def _accuracies(self, curves: Sequence[Curve], setting: str, styles: dict[str, Style]) -> Figure:
        lines = tuple(
            curve.line(curve.row.activation, lambda epoch: 100 * epoch.accuracy, styles[curve.row.activation])
            for curve in curves
        )
        epochs = curves[0].row.epochs
        y = bounds(_finite(lines), 2.0, (0.0, 100.0))
        plot = LinePlot(
            f"Learning curves, {section_title(curves[0].row)}, {setting}",
            "; ".join(f"{line.name} ends at {line.y[-1]:.1f} %" for line in lines),
            (1, max(epochs, 2)),
            whole_ticks(1, epochs, 8),
            "epoch",
            y,
            "validation accuracy, %",
            lines,
        )
        several = any(len(curve.runs) > 1 for curve in curves)
        what = "Mean over seeds after each epoch" if several else "After each epoch, one run each"
        caption = f"{setting}. {what}{_band_in_words(curves)}."
        table = _by_epoch(lines, curves, ".1f")
        return self._figure("Learning curves", caption, table, lambda *of: line_chart(plot, *of))

    def _losses(self, curves: Sequence[Curve], setting: str) -> Panels:
        pairs = [
            (
                curve.line("valid", lambda epoch: epoch.valid_loss, Style("c1")),
                curve.line("train", lambda epoch: epoch.train_loss, Style("c2", "5 3")),
            )
            for curve in curves
        ]
        finite = sorted(_finite([line for pair in pairs for line in pair]))
        most = 3 * finite[9 * len(finite) // 10]
        y = bounds([min(value, most) for value in finite], 0.1, (0.0, math.inf))
        epochs = curves[0].row.epochs
        panels = []
        for curve, pair in zip(curves, pairs, strict=True):
            name = curve.row.activation
            plot = LinePlot(
                f"Loss of {name}, {section_title(curve.row)}",
                "; ".join(f"{line.name} ends at {line.y[-1]:.3f}" for line in pair),
                (1, max(epochs, 2)),
                whole_ticks(1, epochs, 4),
                "epoch",
                y,
                "loss",
                pair,
            )
            panels.append((name, line_chart(plot, SMALL, self.keys.next())))
        named = [
            (f"{curve.row.activation}, {line.name}", line)
            for curve, pair in zip(curves, pairs, strict=True)
            for line in pair
        ]
        table = _by_epoch([_renamed(line, name) for name, line in named], curves, ".3f")
        caption = f"{setting}. Mean per image against epochs, on one scale{_band_in_words(curves)}."
        if finite[-1] > most:
            caption += f" The axis ends at {y[1]:.2g}; what lies beyond runs along its edge."
        return Panels("Losses", caption, tuple(panels), table)

    def record(self, rows: Sequence[CompareRow]) -> Figure | None:
        """The cell's record as the board changed, and our results; None where no board lists the cell."""
        held = rows[0].board
        if held is None:
            return None
        board = load_board()
        steps = tuple(
            Step(one.day, one.row.accuracy, f"{one.row.measured_with}, {one.row.runs_in_words}")
            for one in board.records(held.cell)
        )
        last = max(row.last_seen for row in board.rows if row.cell == held.cell)
        own = sorted(self._own_results(rows), key=lambda one: one.day)
        unlike = held.accuracy != steps[-1].accuracy
        plot = RecordPlot(
            f"The record of {section_title(rows[0])}",
            "; ".join(f"{step.day.isoformat()}: {step.accuracy:g} %" for step in steps),
            steps,
            last,
            held.accuracy if unlike else None,
            tuple(own),
        )
        caption = f"The highest accuracy that the board listed, until it was last seen on {last.isoformat()}"
        caption += ". At the right, our means with 95 % intervals, by the day that their last run ended"
        caption += (
            f"; the broken line at {held.accuracy:g} % is the row that they are held against."
            if unlike
            else "."
        )
        if held.version == "v1":
            caption += " The board of v1 ended in 2019, when v2 began with other validation images."
        body = [(step.day.isoformat(), f"{step.accuracy:g}", step.hint) for step in steps]
        body += [(one.day.isoformat(), f"{one.mean:.1f}", one.name) for one in own]
        table = Table(("Day", "Accuracy %", "What"), tuple(body))
        return self._figure("The record's history", caption, table, lambda *of: record_chart(plot, *of))

    def _own_results(self, rows: Sequence[CompareRow]) -> Iterator[Own]:
        styles = styles_of(rows)
        several = len({row.setting for row in rows}) > 1
        for row in rows:
            ended = max(run.result.finished or run.result.started for run in row.runs)
            try:
                day = date.fromisoformat(ended[:10])
            except ValueError:
                self.files.skipped.append(
                    f"{row.runs[0].folder}: no day in {ended!r}; it is not in the record's history"
                )
                continue
            if row.mean is not None:
                name = f"{row.activation} · {row.arch}" if several else row.activation
                yield Own(name, day, row.mean, row.interval, styles[row.activation])

    def _figure(
        self, heading: str, caption: str, table: Table, draw: Callable[[Frame, str], Markup]
    ) -> Figure:
        return Figure(heading, caption, draw(WIDE, self.keys.next()), draw(NARROW, self.keys.next()), table)


def styles_of(rows: Sequence[CompareRow]) -> dict[str, Style]:
    """A look for each activation of a cell: the baseline's is its own, the others take turns."""
    names = dict.fromkeys(row.activation for row in rows)
    baseline = rows[0].baseline
    others = [name for name in names if name != baseline]
    looks = {
        name: Style(f"c{i % _LINES + 1}", _DASHES[i % _LINES], _MARKERS[i % _LINES])
        for i, name in enumerate(others)
    }
    return {name: looks.get(name, Style("c0", "", "square")) for name in names}


def _in_words(row: CompareRow) -> str:
    shown = accuracy_cell(row)
    return shown if row.interval is None else f"{shown} (n={len(row.measured)})"


def _wide(row: CompareRow) -> bool:
    return row.interval is not None and row.interval > 5


def _line_in_words(rows: Sequence[CompareRow]) -> str:
    kinds = list(dict.fromkeys(map(comparison_cell, rows)))
    if kinds == ["like for like"]:
        return "like for like"
    whole = " (unbroken where it is like for like)" if "like for like" in kinds else ""
    return f"broken because it is a reference and not like for like{whole}"


def _band_in_words(curves: Sequence[Curve]) -> str:
    return (
        "; the band reaches from the lowest to the highest seed"
        if any(len(c.runs) > 1 for c in curves)
        else ""
    )


def _finite(lines: Sequence[Line]) -> list[float]:
    """Every number to find room for; 0 where there is none."""
    values = [value for line in lines for part in (line.y, line.low or (), line.high or ()) for value in part]
    return [value for value in values if math.isfinite(value)] or [0.0]


def _renamed(line: Line, name: str) -> Line:
    return Line(name, line.x, line.y, line.style, line.low, line.high)


def _by_epoch(lines: Sequence[Line], curves: Sequence[Curve], digits: str) -> Table:
    """The lines' means at evenly spread epochs."""
    chosen = thinned(len(lines[0].x), _TABLED)
    body = tuple((f"{lines[0].x[i]:g}", *(_shown(line.y, i, digits) for line in lines)) for i in chosen)
    seeds = [f"{line.name}" for line in lines]
    return Table(("Epoch", *seeds), body)


def _shown(values: Sequence[float], index: int, digits: str) -> str:
    return f"{values[index]:{digits}}" if index < len(values) and math.isfinite(values[index]) else NOTHING
