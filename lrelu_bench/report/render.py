"""Drawing compare rows: the table for the terminal, and which module draws the other formats."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from textwrap import indent, wrap
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lrelu_bench.report import compare
from lrelu_bench.report.compare import CompareRow, PooledRow, pooled_rows
from lrelu_bench.report.latex import latex
from lrelu_bench.report.markdown import markdown
from lrelu_bench.report.records import as_csv, as_json
from lrelu_bench.report.upstream import pull_request
from lrelu_bench.report.wording import (
    Notes,
    accuracy_cell,
    baseline_difference_cell,
    best_epoch_cell,
    board_difference_cell,
    board_line,
    n_cell,
    plain,
    pooled_above_cell,
    pooled_difference_cell,
    pooled_runs_cell,
    pooled_verdict_line,
    range_cell,
    sd_cell,
    section_title,
    verdict_line,
)
from lrelu_bench.results import Run

Format = Literal["table", "md", "latex", "csv", "json", "html"]

_INDENT = 4
_GAP = 2
_NARROWEST_LABEL = 20
_LONGEST_BASELINE = 14


def render(
    rows: Sequence[CompareRow], skipped: Sequence[str], format: Format, width: int | None = None
) -> str:
    """The comparison as text, ending in a newline.

    `width` is the table's, in columns; left out, COLUMNS or 80. To draw on a terminal, with its colours
    and width, print a `CompareTable` on its console instead.
    """
    if format == "md":
        return "\n".join(filter(None, (markdown(rows, skipped), pull_request(rows, Notes(rows, skipped)))))
    if format == "latex":
        return latex(rows, skipped)
    if format == "csv":
        return as_csv(rows)
    if format == "json":
        return as_json(rows, skipped)
    if format == "html":
        # Jinja2 and numpy take longer to load than the table takes to print.
        from lrelu_bench.report.html.page import page

        return page(rows, skipped)
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(CompareTable(rows, skipped))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def render_run_row(*runs: Run) -> RenderableType:
    """The table of runs that have just finished, for the end of `lrelu-bench run`."""
    return CompareTable(compare.rows(runs))


class CompareTable:
    """The comparison as a Rich renderable: one section per cell, fitted to the console's width."""

    def __init__(self, rows: Sequence[CompareRow], skipped: Sequence[str] = ()) -> None:
        self.rows = rows
        self.notes = Notes(rows, skipped)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the sections, then the footnotes."""
        draw = _Drawing(self.rows, self.notes, options)
        for _, section in groupby(self.rows, key=lambda row: row.section):
            yield from draw.section(list(section))
        yield from draw.over_cells(pooled_rows(self.rows))
        yield from draw.footnotes()


class _Drawing:
    """Columns of one width through all sections of a table, so that numbers stand under numbers."""

    def __init__(self, rows: Sequence[CompareRow], notes: "Notes", options: ConsoleOptions) -> None:
        self.notes = notes
        self.ascii, self.width = options.ascii_only, options.max_width
        self.versus = f"vs {rows[0].baseline}" if rows and rows[0].baseline else ""
        if len(self.versus) > _LONGEST_BASELINE:
            self.versus = "vs baseline"
        columns = ["n", "Accuracy %", "SD", "Range", "Best epoch", "vs board"]
        if any(row.verdict and row.verdict.difference for row in rows):
            columns.append(self.versus)
        cells = [self._cells(row) for row in rows]
        self.widths = {name: max([len(name), *(len(cell[name]) for cell in cells)]) for name in columns}
        longest = max([len("Activation"), *(len(row.activation) for row in rows)])
        # A narrow terminal loses whole columns before any number loses a digit.
        for expendable in ("Best epoch", "SD", "Range", "vs board", self.versus):
            if expendable in self.widths and self._left(self.widths.values()) < min(
                longest, _NARROWEST_LABEL
            ):
                del self.widths[expendable]
        self.label_width = max(min(longest, self._left(self.widths.values())), len("Activation"))

    def _left(self, widths: Iterable[int]) -> int:
        return self.width - _INDENT - sum(width + _GAP for width in widths)

    def _cells(self, row: CompareRow) -> dict[str, str]:
        return {
            "n": n_cell(row),
            "Accuracy %": self.plain(accuracy_cell(row)),
            "SD": self.plain(sd_cell(row)),
            "Range": self.plain(range_cell(row)),
            "Best epoch": self.plain(best_epoch_cell(row)),
            "vs board": self.plain(board_difference_cell(row)),
            self.versus: self.plain(baseline_difference_cell(row)),
        }

    def section(self, rows: Sequence[CompareRow]) -> Iterator[RenderableType]:
        """One cell of the leaderboard: title, the board's row, then a group per net and protocol."""
        yield self.text(section_title(rows[0]), "bold")
        yield self._indented(board_line(rows[0]), "cyan", 2)
        yield Text()
        yield from self._header(self.widths, self.label_width)
        for _, group in groupby(rows, key=lambda row: row.setting):
            yield from self._group(list(group))
        yield Text()

    def _group(self, rows: Sequence[CompareRow]) -> Iterator[RenderableType]:
        """Rows that differ in the activation alone, and what the posts claimed of their net."""
        yield self._indented(self.notes.setting(rows[0]), "cyan", 2)
        table = self._table(self.widths.values(), self.label_width)
        for row in rows:
            table.add_row(*self._drawn(row))
        yield table
        yield from self._verdicts(rows)
        claimed = next((row for row in rows if row.claims), None)
        if claimed:
            yield self._indented(f"the posts claimed: {self.notes.claims_cell(claimed)}", "italic", _INDENT)

    def _verdicts(self, rows: Sequence[CompareRow]) -> Iterator[RenderableType]:
        for row in rows:
            if row.verdict is not None:
                yield self._verdict(row.activation, row.verdict.word, verdict_line(row))

    def over_cells(self, pools: Sequence[PooledRow]) -> Iterator[RenderableType]:
        """The verdicts over cells, a group per protocol; nothing where nothing is pooled."""
        if not pools:
            return
        columns = {
            "Cells": [str(one.evidence.cells) for one in pools],
            "Runs": [*map(pooled_runs_cell, pools)],
            self.versus: [self.plain(pooled_difference_cell(one)) for one in pools],
            "Cells above": [*map(pooled_above_cell, pools)],
        }
        widths = {name: max(map(len, (name, *cells))) for name, cells in columns.items()}
        longest = max(len("Activation"), *(len(one.activation) for one in pools))
        for expendable in ("Runs", "Cells", "Cells above"):
            if self._left(widths.values()) < min(longest, _NARROWEST_LABEL):
                del widths[expendable]
        label = max(min(longest, self._left(widths.values())), len("Activation"))
        yield self.text("Over cells", "bold")
        yield Text()
        yield from self._header(widths, label)
        for protocol, group in groupby(range(len(pools)), key=lambda index: pools[index].protocol):
            yield self._indented(protocol, "cyan", 2)
            table, some = self._table(widths.values(), label), list(group)
            for index in some:
                cells = [columns[name][index] for name in widths]
                table.add_row(self._label(pools[index].activation, label), *cells)
            yield table
            for index in some:
                one = pools[index]
                yield self._verdict(one.activation, one.evidence.word, pooled_verdict_line(one))
        yield Text()

    def _verdict(self, activation: str, word: str, sentence: str) -> RenderableType:
        line = self.text(f"{activation}: {sentence}", "")
        begin = len(self.plain(activation)) + 2
        line.stylize("bold", begin, begin + len(word))
        return Padding(line, (0, 0, 0, _INDENT), expand=False)

    def footnotes(self) -> Iterator[RenderableType]:
        """The notes, with what went wrong in red."""
        table = Table.grid(padding=(0, 1, 0, 0))
        for note in self.notes.lines:
            style = "bold red" if note.startswith("!") else "dim"
            table.add_row(self.text("·", style), self.text(note, style))
        yield table

    def _header(self, widths: Mapping[str, int], label: int) -> Iterator[RenderableType]:
        header = self._table(widths.values(), label)
        header.add_row(" " * _INDENT + "Activation", *widths, style="bold")
        yield header
        width = _INDENT + label + sum(width + _GAP for width in widths.values())
        yield self._indented("─" * (width - 2), "dim", 2)

    def _table(self, widths: Iterable[int], label: int) -> Table:
        table = Table(box=None, show_header=False, padding=(0, 0), pad_edge=False)
        table.add_column(width=_INDENT + label, overflow="fold")
        for width in widths:
            table.add_column(width=width + _GAP, justify="right", overflow="fold")
        return table

    def _drawn(self, row: CompareRow) -> list[RenderableType]:
        cells = self._cells(row)
        styles = {"n": "bold red" if row.diverged else "", "Accuracy %": "bold"}
        label = self._label(row.activation, self.label_width)
        return [label, *(Text(cells[name], styles.get(name, "")) for name in self.widths)]

    def _label(self, activation: str, width: int) -> Text:
        # The name is a place to break at, before an option is cut in two.
        spaced = self.plain(activation).replace("(", "( ")
        lines = wrap(spaced, width + 1, subsequent_indent="  ", break_on_hyphens=False)
        return Text(indent("\n".join(line.replace("( ", "(") for line in lines), " " * _INDENT))

    def _indented(self, text: str, style: str, columns: int) -> RenderableType:
        return Padding(self.text(text, style), (0, 0, 0, columns), expand=False)

    def plain(self, text: str) -> str:
        """Text that this terminal can show: no control characters, and ASCII where it knows no more."""
        return plain(text, self.ascii)

    def text(self, text: str, style: str) -> Text:
        """A line that wraps; square brackets in it mean nothing to Rich."""
        return Text(self.plain(text), style, overflow="fold")
