"""The comparison as tables of text, for the formats that draw them: what stands in which column."""

from collections.abc import Sequence
from dataclasses import dataclass

from lrelu_bench.leaderboard import DATASETS
from lrelu_bench.report.compare import CompareRow, pooled_rows
from lrelu_bench.report.wording import (
    NOTHING,
    Notes,
    accuracy_cell,
    baseline_difference_cell,
    best_epoch_cell,
    board_difference_cell,
    comparison_cell,
    data_cell,
    evidence_cell,
    n_cell,
    pooled_above_cell,
    pooled_difference_cell,
    pooled_images_cell,
    pooled_runs_cell,
    pooled_verdict_cell,
    range_cell,
    sd_cell,
)

_NUMBERS = ("px", "Epochs", "n", "Accuracy %", "SD", "Range %", "Best epoch %", "Board %", "vs board")
_TEXT = ("Net", "Protocol", "Precision", "Activation")
_COLUMNS = ("Data", *_NUMBERS[:2], *_TEXT, *_NUMBERS[2:], "Compared", "Posts claimed %")
_OF_BOARDS = 4
"""How many columns at the end say something only where there is a board."""


@dataclass(frozen=True)
class TextTable:
    """Cells as they are read, not escaped for any format."""

    header: tuple[str, ...]
    numeric: frozenset[str]
    """The columns to align to the right."""
    body: tuple[tuple[str, ...], ...]


def result_tables(rows: Sequence[CompareRow], notes: Notes) -> list[TextTable]:
    """Every row's statistics: what a leaderboard lists in one table, the rest in one with fewer columns."""
    with_board = [row for row in rows if row.dataset in DATASETS]
    others = [row for row in rows if row.dataset not in DATASETS]
    blocks = ((with_board, len(_COLUMNS)), (others, len(_COLUMNS) - _OF_BOARDS))
    return [
        TextTable(
            _COLUMNS[:columns],
            frozenset(_NUMBERS),
            tuple(_result_cells(row, notes)[:columns] for row in block),
        )
        for block, columns in blocks
        if block
    ]


def verdict_table(rows: Sequence[CompareRow], notes: Notes) -> TextTable | None:
    """The verdicts, each with the difference it is on; None where nothing was judged."""
    judged = [row for row in rows if row.verdict is not None]
    if not judged:
        return None
    versus = f"vs {judged[0].baseline}"
    header = ("Data", "px", "Epochs", "Net", "Protocol", "Activation", versus, "Verdict", "Beside it")
    return TextTable(
        header,
        frozenset(("px", "Epochs", versus)),
        tuple(
            (
                data_cell(row),
                str(row.size),
                str(row.epochs),
                row.arch,
                notes.protocol(row),
                row.activation,
                baseline_difference_cell(row),
                row.verdict.in_words if row.verdict else NOTHING,
                evidence_cell(row),
            )
            for row in judged
        ),
    )


def pooled_table(rows: Sequence[CompareRow]) -> TextTable | None:
    """The verdicts over cells; None where nothing is pooled."""
    pools = pooled_rows(rows)
    if not pools:
        return None
    versus = f"vs {pools[0].baseline}"
    numeric = ("Cells", "Runs", versus, "Cells above")
    return TextTable(
        ("Protocol", "Activation", *numeric, "Verdict over cells", "Over images and seeds"),
        frozenset(numeric),
        tuple(
            (
                one.protocol,
                one.activation,
                str(one.evidence.cells),
                pooled_runs_cell(one),
                pooled_difference_cell(one),
                pooled_above_cell(one),
                pooled_verdict_cell(one),
                pooled_images_cell(one),
            )
            for one in pools
        ),
    )


def _result_cells(row: CompareRow, notes: Notes) -> tuple[str, ...]:
    return (
        data_cell(row),
        str(row.size),
        str(row.epochs),
        row.arch,
        notes.protocol(row),
        row.precision,
        row.activation,
        n_cell(row),
        accuracy_cell(row),
        sd_cell(row),
        range_cell(row),
        best_epoch_cell(row),
        NOTHING if row.board is None else f"{row.board.accuracy:g}",
        board_difference_cell(row),
        comparison_cell(row),
        notes.claims_cell(row),
    )
