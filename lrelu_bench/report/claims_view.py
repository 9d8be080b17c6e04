"""Drawing assessed claims: for the terminal, in Markdown and as JSON."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from lrelu_bench.leaderboard import DATASETS, NOT_STATED, OWN_RECIPE, BoardRow
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


def claims_markdown(assessments: Sequence[Assessment], skipped: Sequence[str]) -> str:
    """A table with a line per claim, and what was skipped, ending in a newline."""
    header = ("Claim", "Said", "Compared with", "The cell's row", "Our runs", "Verdict")
    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    for one in assessments:
        cells = (one.claim.id, said(one), compared_with(one) or NOTHING, cells_row(one) or NOTHING)
        beside = [f"not deciding: {row}" for row in one.beside]
        ours = "; ".join([one.reason, *beside])
        lines.append(" | ".join(escaped(cell) for cell in (*cells, ours, one.status)))
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
                "not_deciding": list(one.beside),
                "boards": [
                    {
                        "size_px": row.size,
                        "accuracy_pct": row.accuracy,
                        "entry": row.measured_with,
                        "net": row.net,
                        "protocol": row.protocol,
                        "runs": row.runs_in_words,
                        "reference_for": reference_for(one, row),
                    }
                    for row in one.boards
                ],
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
        f"{claim.dataset} {claim.version}" if claim.dataset in DATASETS else claim.dataset,
        f"{claim.epochs} epoch{'s' * (claim.epochs != 1)}" if claim.epochs else "epochs not stated",
        ", ".join(claim.arch) or "any net",
        " or ".join(claim.activation),
        *([claim.protocol] if claim.protocol else []),
        *([claim.source] if claim.source else []),
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
    """The board's row of the claim's own cell, at each size that it may be about; empty without a board."""
    return ", ".join(
        f"{row.accuracy:g} % at {row.size} px ({_measured(row)}; {row.runs_in_words}; reference for "
        f"{reference_for(one, row)})"
        for row in one.boards
    )


def reference_for(one: Assessment, row: BoardRow) -> str:
    """The nets and protocols that a row is not like for like with: `xresnet18`, `other protocols`."""
    if row.net == NOT_STATED or row.protocol in (NOT_STATED, OWN_RECIPE):
        return "any run"
    nets = [arch for arch in one.claim.arch if arch != row.net] if one.claim.arch else ["other nets"]
    return ", ".join((*nets, "other protocols"))


def _measured(row: BoardRow) -> str:
    protocol = "protocol not stated" if row.protocol == NOT_STATED else row.protocol
    return f"{row.measured_with}, {protocol}"


def _lines(one: Assessment) -> Iterator[tuple[str, str]]:
    yield "claimed", said(one)
    if compared_with(one):
        yield "compared with", compared_with(one)
    if cells_row(one):
        yield "cell's row", cells_row(one)
    if not any(finding.runs for finding in one.findings):
        yield "our runs", one.reason
    else:
        for (arch, runs), findings in groupby(one.findings, key=lambda finding: (finding.arch, finding.runs)):
            some = list(findings)
            yield "our runs", f"{arch}: {runs or some[0].why}"
            for finding in some if runs else ():
                yield f"  {finding.word}", f"{finding.said}: {finding.why}"
    for row in one.beside:
        yield "not deciding", row
