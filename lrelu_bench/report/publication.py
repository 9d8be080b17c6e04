"""A published reproduction's tables: the answer at a glance, and each row beside what trains it again."""

from collections.abc import Sequence

from lrelu_bench.report.compare import CompareRow
from lrelu_bench.report.judging import comparisons_on_boards
from lrelu_bench.report.markdown import table
from lrelu_bench.report.reproduce import command
from lrelu_bench.report.tables import TextTable
from lrelu_bench.report.wording import (
    NOTHING,
    SETTING,
    Notes,
    accuracy_cell,
    baseline_difference_cell,
    data_cell,
    n_cell,
    pair_n_cell,
    setting_cells,
)


def answer_table(rows: Sequence[CompareRow]) -> str:
    """Each tested comparison on data that has a leaderboard: accuracies, difference and verdict."""
    notes = Notes(rows, ())
    body = [
        (
            *setting_cells(row, notes),
            pair_n_cell(row, other),
            accuracy_cell(other),
            accuracy_cell(row),
            baseline_difference_cell(row),
            row.verdict.word if row.verdict else NOTHING,
        )
        for row, other in comparisons_on_boards(rows)
    ]
    numeric = ("Epochs", "n", "relu, %", "Activation, %", "Difference, points")
    header = (*SETTING, "n", *numeric[2:], "Verdict")
    return table(TextTable(header, frozenset(numeric), tuple(body)))


def cells_table(rows: Sequence[CompareRow]) -> str:
    """Every row with its verdict, and the command that trains it again.

    Raises `BenchError` where `reproduce.command` does.
    """
    notes = Notes(rows, ())
    body = [
        (
            data_cell(row),
            str(row.size),
            str(row.epochs),
            row.arch,
            notes.protocol(row),
            row.precision,
            row.activation,
            n_cell(row),
            accuracy_cell(row),
            baseline_difference_cell(row),
            row.verdict.in_words if row.verdict else NOTHING,
        )
        for row in rows
    ]
    setting = ("Data", "px", "Epochs", "Net", "Protocol", "Precision")
    header = (*setting, "Activation", "n", "Accuracy %", "vs relu", "Verdict")
    numeric = frozenset(("px", "Epochs", "n", "Accuracy %", "vs relu"))
    lines = table(TextTable(header, numeric, tuple(body))).splitlines()
    # A command is code, which Markdown shows without escapes; a pipe in one would end the cell.
    commands = [f"`{command(row)}`".replace("|", r"\|") for row in rows]
    ends = ["Command", "---", *commands]
    return "\n".join(f"{line} {end} |" for line, end in zip(lines, ends, strict=True))
