"""Drawing compare rows: a table for the terminal, Markdown, CSV and JSON."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from textwrap import indent, wrap
from typing import Any, Literal

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lrelu_bench.leaderboard import DATASETS, load_board
from lrelu_bench.report import compare
from lrelu_bench.report.compare import CompareRow
from lrelu_bench.report.wording import (
    NOTHING,
    Notes,
    accuracy_cell,
    best_cell,
    board_line,
    comparison_cell,
    data_name,
    difference_cell,
    escaped,
    files,
    n_cell,
    plain,
    section_title,
)
from lrelu_bench.results import RunResult

Format = Literal["table", "md", "csv", "json"]

JSON_SCHEMA_VERSION = 1
_INDENT = 4
_GAP = 2
_NARROWEST_LABEL = 20


def render(
    rows: Sequence[CompareRow], skipped: Sequence[str], format: Format, width: int | None = None
) -> str:
    """The comparison as text, ending in a newline.

    `width` is the table's, in columns; left out, COLUMNS or 80. To draw on a terminal, with its colours
    and width, print a `CompareTable` on its console instead.
    """
    if format == "md":
        return _markdown(rows, skipped)
    if format == "csv":
        return _csv(rows)
    if format == "json":
        return _json(rows, skipped)
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(CompareTable(rows, skipped))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def render_run_row(*results: RunResult) -> RenderableType:
    """The table of runs that have just finished, for the end of `lrelu-bench run`."""
    return CompareTable(compare.rows(results))


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
        yield from draw.footnotes()


class _Drawing:
    """Columns of one width through all sections of a table, so that numbers stand under numbers."""

    def __init__(self, rows: Sequence[CompareRow], notes: "Notes", options: ConsoleOptions) -> None:
        self.notes = notes
        self.ascii = options.ascii_only
        self.columns = ["n", "Accuracy %", "Best run", "vs board"]
        cells = [self._cells(row) for row in rows]
        self.widths = {name: max([len(name), *(len(cell[name]) for cell in cells)]) for name in self.columns}
        longest = max([len("Activation"), *(len(row.activation) for row in rows)])
        # A narrow terminal loses whole columns before any number loses a digit.
        for expendable in ("Best run", "vs board"):
            if self._left(options) < min(longest, _NARROWEST_LABEL):
                self.columns.remove(expendable)
        self.label_width = max(min(longest, self._left(options)), len("Activation"))

    def _left(self, options: ConsoleOptions) -> int:
        return options.max_width - _INDENT - sum(self.widths[name] + _GAP for name in self.columns)

    def _cells(self, row: CompareRow) -> dict[str, str]:
        return {
            "n": n_cell(row),
            "Accuracy %": self.plain(accuracy_cell(row)),
            "Best run": self.plain(best_cell(row)),
            "vs board": self.plain(difference_cell(row)),
        }

    def section(self, rows: Sequence[CompareRow]) -> Iterator[RenderableType]:
        """One cell of the leaderboard: title, the board's row, then a group per net and protocol."""
        yield self.text(section_title(rows[0]), "bold")
        yield self._indented(board_line(rows[0]), "cyan", 2)
        yield Text()
        header = self._table()
        header.add_row(" " * _INDENT + "Activation", *self.columns, style="bold")
        yield header
        width = _INDENT + self.label_width + sum(self.widths[name] + _GAP for name in self.columns)
        yield self._indented("─" * (width - 2), "dim", 2)
        for _, group in groupby(rows, key=lambda row: row.setting):
            yield from self._group(list(group))
        yield Text()

    def _group(self, rows: Sequence[CompareRow]) -> Iterator[RenderableType]:
        """Rows that differ in the activation alone, and what the posts claimed of their net."""
        yield self._indented(self.notes.setting(rows[0]), "cyan", 2)
        table = self._table()
        for row in rows:
            table.add_row(*self._drawn(row))
        yield table
        claimed = next((row for row in rows if row.claims), None)
        if claimed:
            yield self._indented(f"the posts claimed: {self.notes.claims_cell(claimed)}", "italic", _INDENT)

    def footnotes(self) -> Iterator[RenderableType]:
        """The notes, with what went wrong in red."""
        table = Table.grid(padding=(0, 1, 0, 0))
        for note in self.notes.lines:
            style = "bold red" if note.startswith("!") else "dim"
            table.add_row(self.text("·", style), self.text(note, style))
        yield table

    def _table(self) -> Table:
        table = Table(box=None, show_header=False, padding=(0, 0), pad_edge=False)
        table.add_column(width=_INDENT + self.label_width, overflow="fold")
        for name in self.columns:
            table.add_column(width=self.widths[name] + _GAP, justify="right", overflow="fold")
        return table

    def _drawn(self, row: CompareRow) -> list[RenderableType]:
        lines = wrap(
            self.plain(row.activation), self.label_width, subsequent_indent="  ", break_on_hyphens=False
        )
        cells = self._cells(row)
        styles = {"n": "bold red" if row.diverged else "", "Accuracy %": "bold"}
        label = Text(indent("\n".join(lines), " " * _INDENT))
        return [label, *(Text(cells[name], styles.get(name, "")) for name in self.columns)]

    def _indented(self, text: str, style: str, columns: int) -> RenderableType:
        return Padding(self.text(text, style), (0, 0, 0, columns), expand=False)

    def plain(self, text: str) -> str:
        """Text that this terminal can show: no control characters, and ASCII where it knows no more."""
        return plain(text, self.ascii)

    def text(self, text: str, style: str) -> Text:
        """A line that wraps; square brackets in it mean nothing to Rich."""
        return Text(self.plain(text), style, overflow="fold")


_NUMBERS = ("px", "Epochs", "n", "Accuracy %", "Best run %", "Board %", "vs board")
_TEXT = ("Net", "Protocol", "Precision", "Activation")
_MARKDOWN = ("Data", *_NUMBERS[:2], *_TEXT, *_NUMBERS[2:], "Compared", "Posts claimed %")
_OF_BOARDS = 4
"""How many columns at the end say something only where there is a board."""


def _markdown(rows: Sequence[CompareRow], skipped: Sequence[str]) -> str:
    notes = Notes(rows, skipped)
    with_board = [row for row in rows if row.dataset in DATASETS]
    others = [row for row in rows if row.dataset not in DATASETS]
    width = len(_MARKDOWN)
    blocks = [(with_board, width), (others, width - _OF_BOARDS)]
    tables = [_markdown_table(block, notes, columns) for block, columns in blocks if block]
    table = "\n\n".join(tables)
    cells = dict.fromkeys(f"{section_title(row)}: {board_line(row)}" for row in rows if row.board)
    return "\n".join([table, "", *(f"- {escaped(note)}" for note in [*cells, *notes.lines])]) + "\n"


def _markdown_table(rows: Sequence[CompareRow], notes: Notes, columns: int) -> str:
    """One table with the first `columns` of the columns."""
    rule = ["---:" if name in _NUMBERS else "---" for name in _MARKDOWN]
    body = [[escaped(cell) for cell in _markdown_cells(row, notes)] for row in rows]
    return "\n".join(f"| {' | '.join(cells[:columns])} |" for cells in (_MARKDOWN, rule, *body))


def _markdown_cells(row: CompareRow, notes: Notes) -> list[str]:
    subset = "" if row.subset is None else f"{row.subset} images per class"
    return [
        ", ".join(part for part in (data_name(row), files(row), subset) if part),
        str(row.size),
        str(row.epochs),
        row.arch,
        notes.protocol(row),
        row.precision,
        row.activation,
        n_cell(row),
        accuracy_cell(row),
        best_cell(row),
        NOTHING if row.board is None else f"{row.board.accuracy:g}",
        difference_cell(row),
        comparison_cell(row),
        notes.claims_cell(row),
    ]


def _plain(row: CompareRow) -> dict[str, Any]:
    """Every value of a row under a name with its unit; lists stay lists, floats lose binary noise."""
    board = row.board
    values: dict[str, Any] = {
        "dataset": row.dataset,
        "version": row.version,
        "source_px": row.source,
        "subset_per_class": row.subset,
        "size_px": row.size,
        "epochs": row.epochs,
        "arch": row.arch,
        "protocol": row.protocol,
        "protocol_label": row.protocol_label,
        "deviations": list(row.deviations),
        "precision": row.precision,
        "activation": row.activation,
        "n": row.n,
        "n_measured": len(row.measured),
        "n_diverged": len(row.diverged),
        "n_unofficial_data": row.unofficial,
        "mean_pct": row.mean,
        "sd_points": row.sd,
        "interval_half_width_points": row.interval,
        "best_run_pct": row.best_run,
        "seeds": list(row.seeds),
        "accuracies_pct": list(row.accuracies),
        "diverged": [asdict(run) for run in row.diverged],
        "valid_images": row.valid_images,
        "board_pct": board.accuracy if board else None,
        "board_entry": board.measured_with if board else None,
        "board_net": board.net if board else None,
        "board_protocol": board.protocol if board else None,
        "board_runs": board.runs_in_words if board else None,
        "board_url": board.url if board else None,
        "board_first_seen": board.first_seen.isoformat() if board else None,
        "board_last_seen": board.last_seen.isoformat() if board else None,
        "board_history": (load_board().source or "package") if board else None,
        "comparison": row.comparison,
        "comparison_reason": row.reason,
        "difference_points": row.difference,
        "claims": [asdict(claim) for claim in row.claims],
    }
    return {name: _rounded(value) for name, value in values.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value


def _csv(rows: Iterable[CompareRow]) -> str:
    text = io.StringIO()
    lines = [{name: _flat(name, value) for name, value in _plain(row).items()} for row in rows]
    writer = csv.DictWriter(text, fieldnames=lines[0] if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _flat(name: str, value: Any) -> Any:
    """One CSV cell: lists joined by `; `, a claim as its sentence."""
    if name == "diverged":
        return "; ".join(f"seed {run['seed']} after {run['epochs_done']} epochs" for run in value)
    if name == "claims":
        return "; ".join(f"{claim['name']} {claim['accuracy'] or ''}".strip() for claim in value)
    if isinstance(value, list):
        return "; ".join("" if item is None else str(item) for item in value)
    return value


def _json(rows: Sequence[CompareRow], skipped: Sequence[str]) -> str:
    document = {
        "schema_version": JSON_SCHEMA_VERSION,
        "rows": [_plain(row) for row in rows],
        "notes": Notes(rows, skipped).lines,
        "skipped": list(skipped),
    }
    return json.dumps(document, indent=1) + "\n"
