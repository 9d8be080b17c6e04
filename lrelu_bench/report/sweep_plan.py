"""The plan of a sweep as `--dry-run` shows it: its cells, what is done of each, and the hours to come."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from lrelu_bench.report.labels import activation_label
from lrelu_bench.report.sweep_progress import spell
from lrelu_bench.report.wording import NOTHING, plain
from lrelu_bench.sweep.estimate import Estimate, Estimates
from lrelu_bench.sweep.planner import Cell, SweepPlan, coordinates

States = Mapping[tuple[str, int], str]
"""By results folder and seed: complete, diverged, begun or to do; of one that is not there, to do."""
DONE = ("complete", "diverged")
_COLUMNS = ("runs", "done", "begun", "to do", "each", "in all", "by")
_GAP, _INDENT = 2, 2
_NARROWEST_LABEL = 15
_REMARKS = 5


def render_plan(plan: SweepPlan, states: States, estimates: Estimates) -> RenderableType:
    """The plan with how many runs of each cell are done, and what the rest takes."""
    return _PlanTable(plan, states, estimates)


@dataclass(frozen=True)
class _Row:
    """One cell, counted."""

    cell: Cell
    counts: Counter[str]
    estimate: Estimate

    @property
    def done(self) -> int:
        return sum(self.counts[state] for state in DONE)

    @property
    def left(self) -> int:
        return len(self.cell.seeds) - self.done

    def hours(self, runs: int) -> float | None:
        return None if self.estimate.hours is None else runs * self.estimate.hours


@dataclass(frozen=True)
class _PlanTable:
    plan: SweepPlan
    states: States
    estimates: Estimates

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = [self._row(cell) for cell in self.plan.cells]
        draw = _Drawing(rows, options)
        yield draw.wrapped(self._title(), "bold")
        yield draw.wrapped(_states_in_words(rows))
        yield Text()
        yield from draw.table()
        yield Text()
        yield draw.wrapped(self._total(rows), "bold")
        if self.estimates.why:
            yield draw.wrapped(self.estimates.why)
        for number, basis in enumerate(draw.bases, 1):
            yield draw.note(f"({number})", basis)
        yield draw.note("·", _HOW)
        remarks = self.plan.remarks
        for remark in remarks[:_REMARKS]:
            yield draw.note("·", remark)
        if len(remarks) > _REMARKS:
            yield draw.note("·", f"so it is with {len(remarks) - _REMARKS:,} more cells")

    def _row(self, cell: Cell) -> _Row:
        slug = cell.experiment.slug
        counts = Counter(self.states.get((slug, seed), "to do") for seed in cell.seeds)
        return _Row(cell, counts, self.estimates.by_experiment[slug])

    def _title(self) -> str:
        counts = {"cell": len(self.plan.cells), "run": len(self.plan.units)}
        words = (f"{count:,} {what}{'s' * (count != 1)}" for what, count in counts.items())
        return f"{Path(self.plan.name).name}: {', '.join(words)}"

    def _total(self, rows: Sequence[_Row]) -> str:
        known = [row for row in rows if row.estimate.hours is not None]
        if not known:
            device = self.estimates.device
            on, there = (f" on one {device}", " there") if device else ("", "")
            return f"estimated: unknown{on}, until a first run has finished{there}"
        what = "GPU-hours" if self.estimates.gpu else "hours"
        whole = sum(row.hours(len(row.cell.seeds)) or 0.0 for row in known)
        left = sum(row.hours(row.left) or 0.0 for row in known)
        of = "" if len(known) == len(rows) else f" for {len(known):,} of {len(rows):,} cells"
        rest = "" if left == whole else f", {_number(left)} of them to come" if left else ", all done"
        unknown = "" if len(known) == len(rows) else "; the others are unknown"
        return f"estimated: {_number(whole)} {what}{of} on one {self.estimates.device}{rest}{unknown}"


_HOW = (
    "An estimate is a run's training images, and its validation images at a third, by the speed named; what "
    "its process takes to begin is not in it. Runs that share a device at once take longer each, and all "
    "together no longer than one after another. A run that is begun counts as a whole one to come."
)


def _number(hours: float) -> str:
    if 0 < hours < 0.001:
        return "less than 0.001"
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 1 else f"{hours:.2g}"


def _states_in_words(rows: Sequence[_Row]) -> str:
    counts = sum((row.counts for row in rows), Counter[str]())
    return ", ".join(f"{count:,} {state}" for state in (*DONE, "begun", "to do") if (count := counts[state]))


class _Drawing:
    """The cells by their last axis, under a line for the others; columns of one width throughout.

    Lines of text, not a table of Rich's, which would pad each of them to the full width.
    """

    def __init__(self, rows: Sequence[_Row], options: ConsoleOptions) -> None:
        self.rows, self.ascii, self.width = rows, options.ascii_only, options.max_width
        self.bases = list(dict.fromkeys(row.estimate.basis for row in rows))
        cells = [self._cells(row) for row in rows]
        columns = zip(_COLUMNS, *cells, strict=True)
        self.widths = {column[0]: max(map(len, column)) + _GAP for column in columns}
        # A narrow terminal loses whole columns before a number is cut in two.
        for expendable in ("begun", "done", "each", "by", "in all"):
            if self._left < _NARROWEST_LABEL:
                del self.widths[expendable]
        longest = max(len(_label(row.cell)) for row in rows)
        self.label = max(min(longest, self._left), _NARROWEST_LABEL)

    @property
    def _left(self) -> int:
        """Columns of the terminal that the numbers leave for the label."""
        return self.width - _INDENT - sum(self.widths.values())

    def _cells(self, row: _Row) -> list[str]:
        counts = (len(row.cell.seeds), row.done, row.counts["begun"], row.counts["to do"])
        hours = (row.hours(1), row.hours(len(row.cell.seeds)))
        return [
            *(f"{count:,}" if count else NOTHING for count in counts),
            *(_time(one) for one in hours),
            f"({self.bases.index(row.estimate.basis) + 1})",
        ]

    def table(self) -> Iterator[Text]:
        """A line of column names, then the groups."""
        axis = next(reversed(list(self.rows[0].cell.where)), "")
        yield self._line(axis, _COLUMNS, "bold")
        for heading, group in groupby(self.rows, key=lambda row: _heading(row.cell)):
            if heading:
                yield self.wrapped(heading, "cyan")
            for row in group:
                # The name is a place to break at, before an option is cut in two.
                spaced = _label(row.cell).replace("(", "( ")
                first, *more = wrap(spaced, self.label + 1, subsequent_indent="  ", break_on_hyphens=False)
                yield self._line(first.replace("( ", "("), self._cells(row))
                yield from (self.text(" " * _INDENT + line.replace("( ", "(")) for line in more)

    def _line(self, label: str, cells: Sequence[str], style: str = "") -> Text:
        named = dict(zip(_COLUMNS, cells, strict=True))
        columns = "".join(named[name].rjust(width) for name, width in self.widths.items())
        return self.text(f"{' ' * _INDENT}{label:<{self.label}}{columns}", style)

    def note(self, mark: str, text: str) -> Text:
        """A sentence that wraps beside its mark."""
        return self.wrapped(text, "dim", f"{mark} ")

    def wrapped(self, text: str, style: str = "", head: str = "") -> Text:
        """A sentence in as many lines as it takes, the later ones as far in as `head` is long."""
        width = max(self.width, 2 * _NARROWEST_LABEL)
        indent = " " * len(head)
        lines = wrap(text, width, initial_indent=head, subsequent_indent=indent, break_on_hyphens=False)
        return self.text("\n".join(lines), style)

    def text(self, text: str, style: str = "") -> Text:
        """Text that this terminal can show; square brackets in it mean nothing to Rich."""
        lines = (plain(line, self.ascii) for line in text.splitlines())
        return Text("\n".join(lines), style, overflow="fold")


def _time(hours: float | None) -> str:
    if hours is None:
        return "unknown"
    return spell(3600 * hours) if 3600 * hours >= 1 else "< 1 s"


def cell_labels(plan: SweepPlan) -> dict[str, str]:
    """What each cell is called beside the others, by its results folder's name: its values on axes that vary.

    A cell that would share its name has none.
    """
    names = list(plan.cells[0].where)
    varied = [
        name for name in names if any(cell.where[name] != plan.cells[0].where[name] for cell in plan.cells)
    ]
    found = {
        cell.experiment.slug: _in_words({name: cell.where[name] for name in varied}) or _label(cell)
        for cell in plan.cells
    }
    counts = Counter(found.values())
    return {slug: label for slug, label in found.items() if counts[label] == 1}


def _heading(cell: Cell) -> str:
    """The values on all axes but the last."""
    return _in_words(dict(list(cell.where.items())[:-1]))


def _in_words(where: Mapping[str, Any]) -> str:
    """Values on axes; a number tells nothing without its axis."""
    return ", ".join(
        _value(name, value) if isinstance(value, str | dict) else f"{name} {_value(name, value)}"
        for name, value in where.items()
    )


def _label(cell: Cell) -> str:
    """What the cell is called in its group: its value on the last axis."""
    if cell.where:
        return _value(*list(cell.where.items())[-1])
    return activation_label(cell.experiment.activation.resolved().model_dump(mode="json", exclude_none=True))


def _value(name: str, value: Any) -> str:
    if name == "activation":
        return activation_label(value if isinstance(value, dict) else {"name": value})
    return coordinates({name: value}).removeprefix(f"{name}=")
