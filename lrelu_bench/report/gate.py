"""What a comparison must show for a pipeline to go on: the sentences on what it does not."""

from collections.abc import Iterator, Sequence

from lrelu_bench.report.compare import CompareRow
from lrelu_bench.report.wording import accuracy_cell, section_title

EXIT_CODE = 4
"""Of `compare` where a requirement is not met."""


def below(rows: Sequence[CompareRow], percent: float) -> Iterator[str]:
    """One sentence for each row whose mean accuracy is below this, or where all runs diverged."""
    for row in rows:
        if row.mean is None or row.mean < percent:
            yield f"--fail-below {percent:g}: {_name(row)} is at {accuracy_cell(row)}"


def not_better(rows: Sequence[CompareRow]) -> Iterator[str]:
    """One sentence for each verdict that is not `better`; one where there is no verdict at all."""
    judged = [row for row in rows if row.verdict is not None]
    if not judged:
        yield "--require better: these runs are of the baseline alone, so there is nothing to judge"
    for row in judged:
        if row.verdict is not None and row.verdict.word != "better":
            yield f"--require better: {_name(row)} is {row.verdict.in_words}"


def _name(row: CompareRow) -> str:
    return f"{row.activation} ({row.arch}, {section_title(row)})"
