"""A published reproduction's tables: the answer at a glance, and each row beside what trains it again."""

from collections.abc import Sequence

from lrelu_bench.leaderboard import DATASETS
from lrelu_bench.report.compare import CompareRow
from lrelu_bench.report.judging import config_of
from lrelu_bench.report.markdown import table
from lrelu_bench.report.reproduce import command
from lrelu_bench.report.tables import TextTable
from lrelu_bench.report.wording import (
    NOTHING,
    Notes,
    accuracy_cell,
    baseline_difference_cell,
    data_cell,
    data_name,
    n_cell,
)


def answer_table(rows: Sequence[CompareRow]) -> str:
    """Each tested comparison on data that has a leaderboard: accuracies, difference and verdict."""
    of_config = {config_of(row): row for row in rows if row.activation == row.baseline}
    tested = [
        (row, of_config[config_of(row)])
        for row in rows
        if row.verdict and row.verdict.p_adjusted is not None and row.dataset in DATASETS
    ]
    numeric = ("Epochs", "n", "relu, %", "Learned, %", "Difference, points")
    body = [
        (
            data_name(row),
            str(row.epochs),
            row.arch,
            row.activation,
            str(min(row.n, other.n)),
            accuracy_cell(other),
            accuracy_cell(row),
            baseline_difference_cell(row),
            row.verdict.word if row.verdict else NOTHING,
        )
        for row, other in tested
    ]
    header = ("Data", "Epochs", "Net", "Activation", "n", *numeric[2:], "Verdict")
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
