"""Drawing assessed claims: for the terminal, in Markdown and as JSON."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from lrelu_bench.leaderboard import BoardRow
from lrelu_bench.report.claims import Assessment, Status
from lrelu_bench.report.wording import NOTHING, escaped, plain

Format = Literal["table", "md", "json"]

JSON_SCHEMA_VERSION = 1
_STYLES: dict[Status, str] = {
    "reproduced": "bold green",
    "partly": "bold yellow",
    "not reproduced": "bold red",
    "not yet run": "bold dim",
}
_NAME_WIDTH = 16
_HOLDS = {True: "holds", False: "does not hold", None: "open"}


def claims_markdown(assessments: Sequence[Assessment], skipped: Sequence[str]) -> str:
    """A table with a line per claim, and what was skipped, ending in a newline."""
    header = ("Claim", "Said", "Compared with", "The cell's row", "Our runs", "Verdict")
    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    for one in assessments:
        cells = (one.claim.id, said(one), compared_with(one) or NOTHING, cells_row(one) or NOTHING)
        ours = f"{one.reason}" if one.status != "not yet run" else NOTHING
        verdict = one.status if one.status != "not yet run" else f"{one.status} ({one.reason})"
        lines.append(" | ".join(escaped(cell) for cell in (*cells, ours, verdict)))
    notes = [f"- {escaped(summary(assessments))}", *(f"- Skipped: {escaped(one)}" for one in skipped)]
    return "\n".join([*(f"| {line} |" for line in lines), "", *notes]) + "\n"


def claims_json(assessments: Sequence[Assessment], skipped: Sequence[str]) -> str:
    """Every claim with its findings, the rows of the board and the runs that may be of it."""
    document = {
        "schema_version": JSON_SCHEMA_VERSION,
        "claims": [
            {
                "claim": asdict(one.claim),
                "status": one.status,
                "reason": one.reason,
                "findings": [asdict(finding) for finding in one.findings],
                "board_pct": {str(size): row.accuracy for size, row in one.boards},
                "folders": [str(run.folder) for row in one.rows for run in row.runs],
            }
            for one in assessments
        ],
        "skipped": list(skipped),
    }
    return json.dumps(document, indent=1) + "\n"


class ClaimsView:
    """The claims as a Rich renderable, each with what was said, held against, measured and found."""

    def __init__(self, assessments: Sequence[Assessment], skipped: Sequence[str] = ()) -> None:
        self.assessments = assessments
        self.skipped = skipped

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A block per claim, then the count of each verdict."""
        for one in self.assessments:
            head = Text(plain(one.claim.id, options.ascii_only), "bold").append("  ")
            yield head.append(one.status, _STYLES[one.status])
            table = Table.grid(padding=(0, 1, 0, 0))
            table.add_column(width=_NAME_WIDTH)
            for name, text in _lines(one):
                shown = Text(plain(text, options.ascii_only), overflow="fold")
                table.add_row(Text(f"  {name}", "cyan"), shown)
            yield table
            yield Text()
        yield Text(plain(summary(self.assessments), options.ascii_only), "bold")
        for sentence in self.skipped:
            yield Text(plain(f"Skipped: {sentence}", options.ascii_only), "dim", overflow="fold")


def summary(assessments: Sequence[Assessment]) -> str:
    """How many claims came to what: `13 claims: 0 reproduced, 1 partly, ...`."""
    counts = Counter(one.status for one in assessments)
    number = f"{len(assessments)} claim{'s' * (len(assessments) != 1)}"
    return f"{number}: {', '.join(f'{counts[status]} {status}' for status in _STYLES)}"


def said(one: Assessment) -> str:
    """What was claimed, of what, with everything that qualifies it."""
    claim = one.claim
    of = [
        f"{claim.dataset} {claim.version}",
        *([f"{claim.epochs} epochs"] if claim.epochs else []),
        ", ".join(claim.arch) or "any net",
        " or ".join(claim.activation),
    ]
    return f"{claim.in_words} ({'; '.join(of)})"


def compared_with(one: Assessment) -> str:
    """The number that its author held it against; empty where none was given."""
    claim = one.claim
    if claim.compared_with is None:
        return ""
    size = f" (the {claim.compared_size} px row)" if claim.compared_size else ""
    return f"{claim.compared_with:g} %{size}"


def cells_row(one: Assessment) -> str:
    """The board's row of the claim's own cell, at each size that it may be about; empty without a board.

    A row of another net than the claim's is said to be a reference.
    """
    return ", ".join(
        f"{row.accuracy:g} % at {size} px ({row.measured_with}{_reference(one, row)}; {row.runs_in_words})"
        for size, row in one.boards
    )


def _reference(one: Assessment, row: BoardRow) -> str:
    """That the row belongs to another net than the claim's, where it does."""
    return "" if one.claim.arch == (row.measured_with,) else ", so a reference only"


def _lines(one: Assessment) -> Iterator[tuple[str, str]]:
    yield "claimed", said(one)
    if compared_with(one):
        yield "compared with", compared_with(one)
    if cells_row(one):
        yield "cell's row", cells_row(one)
    if one.status == "not yet run":
        yield "our runs", one.reason
        return
    for finding in one.findings:
        yield _HOLDS[finding.holds], f"{finding.arch} {finding.said}: {finding.why}"
