"""What a comparison must show for a pipeline to go on: the sentences on what it does not."""

from collections.abc import Iterator, Sequence

from lrelu_bench.report.compare import CompareRow
from lrelu_bench.report.wording import section_title

EXIT_CODE = 4
"""Of `compare` where a requirement is not met."""


def below(rows: Sequence[CompareRow], percent: float) -> Iterator[str]:
    """One sentence for each row whose mean accuracy is below this, or where a run diverged: it has none."""
    for row in rows:
        if row.diverged:
            yield f"--fail-below {percent:g}: {_name(row)} has {len(row.diverged)} of {row.n} runs diverged"
        # As many digits as it takes to see that it is below, but not the noise of the mean.
        elif row.mean is not None and round(row.mean, 6) < percent:
            digits = next(n for n in range(1, 7) if n == 6 or round(row.mean, n) < percent)
            yield f"--fail-below {percent:g}: {_name(row)} is at {row.mean:.{digits}f} (n={row.n})"


def not_better(rows: Sequence[CompareRow]) -> Iterator[str]:
    """One sentence for each verdict that is not `better`; one where there is no verdict at all."""
    judged = [row for row in rows if row.verdict is not None]
    if not judged:
        yield "--require better: these runs are of the baseline alone, so there is nothing to judge"
    for row in judged:
        if row.verdict is not None and row.verdict.word != "better":
            yield f"--require better: {_name(row)}: {row.verdict.in_words}"


def _name(row: CompareRow) -> str:
    return f"{row.activation} ({row.arch}, {row.protocol_label}, {section_title(row)})"
