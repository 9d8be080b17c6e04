"""Drawing the leaderboard of a day: a table for the terminal, Markdown, CSV and JSON.

One line per cell, or with the history one per record.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lrelu_bench.csv_cells import printable
from lrelu_bench.leaderboard import BoardRow, Record
from lrelu_bench.report.board import (
    BoardView,
    HeldCell,
    board_title,
    cell_title,
    compared,
    gain_cell,
    measured,
    moves,
    runs_cell,
)
from lrelu_bench.report.render import Format
from lrelu_bench.report.wording import escaped, plain

JSON_SCHEMA_VERSION = 1
_GAP = 2
_INDENT = 2
_EXPENDABLE = ("Commit", "Runs")
"""Columns that a narrow terminal loses, first one first."""
_WORDS = ("Since", "Date", "Runs", "Commit")
_NUMBERS = ("px", "Epochs", "Accuracy %", "Gain")
_COMMIT = 7
"""How many digits of a commit are shown."""


def render_board(view: BoardView, history: bool, format: Format, width: int | None = None) -> str:
    """The board as text, ending in a newline; `width` is the table's, in columns, else COLUMNS or 80.

    To draw on a terminal, with its colours and width, print a `BoardTable` on its console instead.
    """
    if format == "md":
        return _markdown(view, history)
    if format == "csv":
        return _csv(view, history)
    if format == "json":
        return _json(view)
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(BoardTable(view, history))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


@dataclass(frozen=True)
class _Line:
    """One line of a table, what its row was measured with, and what stands below it."""

    row: BoardRow
    cells: dict[str, str]
    below: Sequence[str] = ()
    fell: bool = False


class BoardTable:
    """The board as a Rich renderable: a section per board or cell, fitted to the console's width."""

    def __init__(self, view: BoardView, history: bool = False) -> None:
        self.view = view
        lines = [line for held in view.held for line in _lines(held, history)]
        title = cell_title if history else board_title
        self.sections = [(name, list(group)) for name, group in groupby(lines, lambda line: title(line.row))]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the sections, then the footnotes."""
        ascii_only = options.ascii_only
        lines = [line for _, section in self.sections for line in section]
        widths = {name: max(len(name), *(len(line.cells[name]) for line in lines)) for name in lines[0].cells}
        for name in _EXPENDABLE:
            if _INDENT + sum(widths.values()) + _GAP * (len(widths) - 1) > options.max_width:
                widths.pop(name)
        yield _text(self.view.title, "bold", ascii_only)
        yield Text()
        for title, section in self.sections:
            yield from _section(title, section, widths, options)
            yield Text()
        yield notes_table(self.view.notes(), ascii_only)


def _section(
    title: str, lines: Sequence[_Line], widths: dict[str, int], options: ConsoleOptions
) -> Iterator[RenderableType]:
    """Title, column heads, and a group for what each run of lines was measured with."""
    ascii_only = options.ascii_only
    yield _text(title, "bold", ascii_only)
    heads = _aligned({name: name for name in widths}, widths)
    yield _text(heads, "bold", ascii_only)
    yield _indented("─" * (sum(widths.values()) + _GAP * (len(widths) - 1)), "dim", ascii_only)
    for label, group in groupby(lines, lambda line: f"{measured(line.row)}: {compared(line.row)}"):
        yield _indented(label, "cyan", ascii_only)
        for line in group:
            yield _text(_aligned(line.cells, widths), "red" if line.fell else "", ascii_only)
            for below in _wrapped(line.below, options.max_width - 2 * _INDENT):
                yield _indented(below, "dim", ascii_only, 2 * _INDENT)


def _wrapped(steps: Sequence[str], width: int) -> list[str]:
    """Steps joined to lines of at most that many columns, none of them broken in two."""
    lines: list[str] = []
    for step in steps:
        if lines and len(lines[-1]) + 1 + len(step) <= width:
            lines[-1] += f" {step}"
        else:
            lines.append(step)
    return lines


def _aligned(cells: dict[str, str], widths: dict[str, int]) -> str:
    padded = [
        cells[name].ljust(width) if name in _WORDS else cells[name].rjust(width)
        for name, width in widths.items()
    ]
    return (" " * _INDENT + (" " * _GAP).join(padded)).rstrip()


def notes_table(notes: Iterator[str], ascii_only: bool) -> RenderableType:
    """Footnotes, one point each."""
    table = Table.grid(padding=(0, 1, 0, 0))
    for note in notes:
        table.add_row(_text("·", "dim", ascii_only), _text(note, "dim", ascii_only))
    return table


def _indented(text: str, style: str, ascii_only: bool, columns: int = _INDENT) -> RenderableType:
    return Padding(_text(text, style, ascii_only), (0, 0, 0, columns), expand=False)


def _text(text: str, style: str, ascii_only: bool) -> Text:
    """A line that wraps; square brackets in it mean nothing to Rich."""
    return Text(plain(text, ascii_only), style, overflow="fold")


def _lines(held: HeldCell, history: bool) -> list[_Line]:
    return [_record(record) for record in held.records] if history else [_cell(held)]


def _cell(held: HeldCell) -> _Line:
    row = held.row
    cells = {
        "px": str(row.size),
        "Epochs": str(row.epochs),
        "Accuracy %": str(row.accuracy),
        "Since": str(held.since),
        "Runs": runs_cell(row),
        "Commit": row.commits[0][:_COMMIT],
    }
    return _Line(row, cells, moves(held.records))


def _record(record: Record) -> _Line:
    row = record.row
    cells = {
        "Date": str(record.day),
        "Accuracy %": str(row.accuracy),
        "Gain": gain_cell(record.gain),
        "Runs": runs_cell(row),
        "Commit": row.commits[0][:_COMMIT],
    }
    return _Line(row, cells, fell=record.gain is not None and record.gain < 0)


def _markdown(view: BoardView, history: bool) -> str:
    lines = []
    for held in view.held:
        for line in _lines(held, history):
            row = line.row
            where = {"Data": board_title(row), "px": str(row.size), "Epochs": str(row.epochs)}
            what = {"Measured with": measured(row), "Compared": compared(row)}
            more = {} if history else {"Records": " ".join(moves(held.records))}
            lines.append(where | line.cells | what | more)
    columns = list(lines[0])
    rule = ["---:" if name in _NUMBERS else "---" for name in columns]
    body = [[escaped(cell) for cell in line.values()] for line in lines]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rule, *body))
    notes = "\n".join(f"- {escaped(note)}" for note in view.notes())
    return f"{escaped(view.title)}:\n\n{table}\n\n{notes}\n"


def _plain(view: BoardView, held: HeldCell, record: Record | None = None) -> dict[str, Any]:
    """Every value of a cell's row, or of one of its records, under a name with its unit."""
    row = held.row if record is None else record.row
    last = held.records[-1] if record is None else record
    return {
        "dataset": row.dataset,
        "version": row.version,
        "size_px": row.size,
        "epochs": row.epochs,
        "accuracy_pct": row.accuracy,
        "since": last.day.isoformat(),
        "gain_points": last.gain,
        "entry": row.name,
        "net": row.net,
        "protocol": row.protocol,
        "comparison": compared(row),
        "runs": row.runs_count,
        "runs_in_words": row.runs_in_words,
        "params": row.params,
        "gpus": row.gpus,
        "url": row.url,
        "first_seen": row.first_seen.isoformat(),
        "first_commit": row.commits[0],
        "last_seen": row.last_seen.isoformat(),
        "last_commit": row.commits[1],
        "board_history": view.board.source or "package",
    }


def _csv(view: BoardView, history: bool) -> str:
    lines = [
        _plain(view, held, record) for held in view.held for record in (held.records if history else [None])
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=lines[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: printable(value) for name, value in line.items()} for line in lines)
    return text.getvalue()


def _json(view: BoardView) -> str:
    cells = [
        _plain(view, held) | {"records": [_plain(view, held, record) for record in held.records]}
        for held in view.held
    ]
    document = {
        "schema_version": JSON_SCHEMA_VERSION,
        "date": view.day.isoformat(),
        "last_seen": view.seen.isoformat(),
        "cells": cells,
        "notes": list(view.notes()),
    }
    return json.dumps(document, indent=1) + "\n"
