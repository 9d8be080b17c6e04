"""What our runs say of each claim: plain values, nothing drawn."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lrelu_bench.claims import Claim
from lrelu_bench.errors import BenchError
from lrelu_bench.evidence import student_t
from lrelu_bench.evidence.differences import ALPHA, difference
from lrelu_bench.evidence.verdicts import FEWEST_RUNS, Sides, judge
from lrelu_bench.leaderboard import DATASETS, BoardRow, load_board
from lrelu_bench.report.compare import BOARD_SHARE, CompareRow
from lrelu_bench.report.judging import config_of
from lrelu_bench.report.wording import p_value, signed
from lrelu_bench.results import Run, load_epochs
from lrelu_bench.telemetry_file import Telemetry

Status = Literal["reproduced", "partly", "not reproduced", "not yet run"]


PROTOCOLS = ("leaderboard-2019", "course-2019", "leaderboard-2020", "course-mnist")
"""Whose runs decide where a claim was run under several."""


WIDEST_REACH = 5.0
"""Points: where runs spread further than this, a number above their mean is neither reached nor missed."""


@dataclass(frozen=True)
class Finding:
    """One thing that a claim says, held against the runs of one net."""

    arch: str
    said: str
    """What must hold: `reaches 56.4 %`."""
    holds: bool | None
    """None where there are too few runs, or nothing to hold them against."""
    why: str


@dataclass(frozen=True)
class Assessment:
    """A claim with what it comes to."""

    claim: Claim
    status: Status
    reason: str
    findings: tuple[Finding, ...]
    rows: tuple[CompareRow, ...]
    """All runs that may be of the claim, deciding or not."""
    boards: tuple[tuple[int, BoardRow], ...]
    """By image size, the row of the claim's cell: like for like in the cell, whatever the claim used."""


def assess(claim: Claim, rows: Sequence[CompareRow]) -> Assessment:
    """Hold a claim against the rows of a comparison.

    For each net the runs of the first of the claim's activations decide, at the likeliest size, under a named
    protocol (never `custom`), if there are at least three; everything the claim says is judged on them.
    """
    about = tuple(row for row in rows if _may_be_of(claim, row))
    archs = claim.arch or tuple(dict.fromkeys(row.arch for row in about)) or ("any net",)
    findings = tuple(finding for arch in archs for finding in _of_net(claim, arch, about, rows))
    status, reason = _status(findings)
    return Assessment(claim, status, reason, findings, about, _boards(claim))


def _status(findings: Sequence[Finding]) -> tuple[Status, str]:
    judged = [finding for finding in findings if finding.holds is not None]
    open_ = [finding for finding in findings if finding.holds is None]
    if not judged:
        return "not yet run", _joined(open_)
    failed = [finding for finding in judged if not finding.holds]
    if not failed and not open_:
        return "reproduced", _joined(judged)
    status: Status = "not reproduced" if len(failed) == len(judged) else "partly"
    return status, _joined([*failed, *(one for one in judged if one.holds), *open_])


def _joined(findings: Sequence[Finding]) -> str:
    """Every finding in words; what several share is said once."""
    words: dict[str, list[str]] = {}
    for finding in findings:
        words.setdefault(finding.why, []).append(finding.arch)
    return "; ".join(f"{', '.join(dict.fromkeys(archs))}: {why}" for why, archs in words.items())


def _may_be_of(claim: Claim, row: CompareRow) -> bool:
    return (
        claim.fits(row.dataset, row.version, row.size, row.epochs, row.arch)
        and row.subset is None
        and _place(claim.activation, row) is not None
    )


def _place(activations: Sequence[str], row: CompareRow) -> int | None:
    """Where the row's activation stands in a list of names and labels."""
    for index, wanted in enumerate(activations):
        if wanted == row.activation or ("(" not in wanted and wanted == row.activation.partition("(")[0]):
            return index
    return None


def _of_net(
    claim: Claim, arch: str, about: Sequence[CompareRow], rows: Sequence[CompareRow]
) -> Iterator[Finding]:
    runs = [row for row in about if row.arch == arch and row.protocol_label != "custom"]
    enough = [row for row in runs if len(row.measured) >= FEWEST_RUNS]
    checks = list(_checks(claim))
    if not enough:
        most = max(runs, key=lambda one: one.n, default=None)
        why = f"{most.n} of {FEWEST_RUNS} runs, {_mean(most)}" if most else "no run"
        yield from (Finding(arch, said, None, why) for said, _ in checks)
        return
    row = min(enough, key=lambda one: _preference(claim, one))
    yield from (Finding(arch, said, *check(claim, row, rows)) for said, check in checks)


def _preference(claim: Claim, row: CompareRow) -> tuple[int, int, int, int]:
    place = _place(claim.activation, row)
    protocol = PROTOCOLS.index(row.protocol_label) if row.protocol_label in PROTOCOLS else len(PROTOCOLS)
    # A label with options of its own comes after the plain name.
    return place or 0, claim.sizes.index(row.size), protocol, -row.n


Check = Callable[[Claim, CompareRow, Sequence[CompareRow]], tuple[bool | None, str]]


def _checks(claim: Claim) -> Iterator[tuple[str, Check]]:
    """What the claim says, each with how it is judged."""
    margin = f" by {claim.by:g} points" if claim.by else ""
    if claim.reaches is not None:
        yield f"reaches {claim.reaches:g} %", _reaches
    if claim.beats == "board":
        yield f"above the board's row{margin}", _beats_board
    elif claim.beats is not None:
        yield f"better than {claim.beats}{margin}", _beats_activation
    if claim.below is not None:
        yield "below the board's row", _below_board
    if claim.smoother_than is not None:
        yield f"smoother than {claim.smoother_than}", _smoother
    if claim.sooner_than is not None:
        yield f"sooner than {claim.sooner_than}", _sooner


def _reaches(claim: Claim, row: CompareRow, rows: Sequence[CompareRow]) -> tuple[bool | None, str]:
    """Whether the mean of as many new runs as the claim's may be that high: a 95 % prediction interval."""
    assert claim.reaches is not None
    assert row.mean is not None
    assert row.sd is not None
    claimed = claim.runs or 1
    quantile = student_t.quantile(1 - ALPHA / 2, len(row.measured) - 1)
    reach = quantile * row.sd * math.sqrt(1 / claimed + 1 / len(row.measured))
    runs = "a run" if claimed == 1 else f"the mean of {claimed} runs"
    why = f"{_mean(row)}; {runs} falls between {row.mean - reach:.1f} and {row.mean + reach:.1f} %"
    if row.mean < claim.reaches <= row.mean + reach and reach > WIDEST_REACH:
        return None, f"{why}: the spread is too wide to tell"
    return row.mean + reach >= claim.reaches, why


def _beats_board(claim: Claim, row: CompareRow, rows: Sequence[CompareRow]) -> tuple[bool | None, str]:
    if row.board is None or row.mean is None or row.interval is None or row.above_board is None:
        return None, f"{_mean(row)}; {row.reason}"
    above = f"{row.above_board} of {row.n} runs above {row.board.accuracy:g} %"
    holds = row.above_board / row.n > BOARD_SHARE
    if not claim.by:
        return holds, f"{_mean(row)}; {above}"
    gained = row.mean - row.board.accuracy
    return (
        holds and gained + row.interval >= claim.by,
        f"{_mean(row)}; {above}, {signed(gained)} ± {row.interval:.1f} points",
    )


def _below_board(claim: Claim, row: CompareRow, rows: Sequence[CompareRow]) -> tuple[bool | None, str]:
    if row.board is None or row.above_board is None:
        return None, f"{_mean(row)}; {row.reason}"
    below = row.n - row.above_board
    return (
        below / row.n > BOARD_SHARE,
        f"{_mean(row)}; {below} of {row.n} runs not above {row.board.accuracy:g} %",
    )


def _beats_activation(claim: Claim, row: CompareRow, rows: Sequence[CompareRow]) -> tuple[bool | None, str]:
    assert claim.beats is not None
    other = _other(claim.beats, row, rows)
    if other is None:
        return None, f"no {claim.beats} run under the same config"
    # A claim is stated beforehand, and once: no correction for the report's other comparisons.
    (verdict,) = judge([Sides(row.measured, other.measured, len(row.diverged), len(other.diverged))])
    if verdict.word in ("too few runs", "not comparable") or verdict.difference is None:
        return None, f"{other.activation}: {verdict.in_words}"
    found = verdict.difference
    holds = verdict.word == "better" and found.mean + found.half_width >= claim.by
    return holds, (
        f"{verdict.in_words}, {signed(found.mean)} ± {found.half_width:.1f} points against {other.activation}"
    )


def _sooner(claim: Claim, row: CompareRow, rows: Sequence[CompareRow]) -> tuple[bool | None, str]:
    assert claim.sooner_than is not None
    return _measured_against(claim.sooner_than, row, rows, "accuracy after epoch 1", _first_epoch, 1)


def _smoother(claim: Claim, row: CompareRow, rows: Sequence[CompareRow]) -> tuple[bool | None, str]:
    assert claim.smoother_than is not None
    return _measured_against(claim.smoother_than, row, rows, "roughness of the statistics", _roughness, -1)


def _measured_against(
    name: str,
    row: CompareRow,
    rows: Sequence[CompareRow],
    what: str,
    measure: Callable[[Run], float],
    sign: int,
) -> tuple[bool | None, str]:
    """Whether a measure of the runs differs from the other activation's in the direction of `sign`."""
    other = _other(name, row, rows)
    if other is None or len(other.measured) < FEWEST_RUNS:
        found = 0 if other is None else len(other.measured)
        return None, f"{found} of {FEWEST_RUNS} runs of {name} under the same config"
    try:
        own, theirs = (
            [measure(run) for run in side.runs if run.result.status != "diverged"] for side in (row, other)
        )
        found_ = difference(own, theirs)
    except (BenchError, ValueError) as error:
        return None, f"{what} cannot be told ({error})"
    holds = found_.p_welch <= ALPHA and sign * found_.mean > 0
    span = f"{found_.mean - found_.half_width:+.3g} to {found_.mean + found_.half_width:+.3g}"
    return holds, f"{what} less {other.activation}'s: {span} (p = {p_value(found_.p_welch)})"


def _first_epoch(run: Run) -> float:
    """Accuracy after the first epoch, percent."""
    epochs = load_epochs(run.folder)
    if not epochs:
        raise BenchError(f"{run.folder}: no epoch recorded")
    return 100 * epochs[0].accuracy


def _roughness(run: Run) -> float:
    return Telemetry.load(run.folder).roughness


def _other(name: str, row: CompareRow, rows: Sequence[CompareRow]) -> CompareRow | None:
    """The row of another activation under the same config: of this label, else the first of this name."""
    alike = [one for one in rows if config_of(one) == config_of(row) and _place([name], one) is not None]
    return min(alike, key=lambda one: one.activation != name, default=None)


def _mean(row: CompareRow) -> str:
    around = "" if row.interval is None else f" ± {row.interval:.1f}"
    diverged = f", {len(row.diverged)} diverged besides" if row.diverged else ""
    size = f"{row.size} px, " if row.dataset in DATASETS else ""
    accuracy = "diverged" if row.mean is None else f"{row.mean:.1f}{around} %"
    return f"{row.activation} {accuracy} ({size}{row.protocol_label}, n = {len(row.measured)}{diverged})"


def _boards(claim: Claim) -> tuple[tuple[int, BoardRow], ...]:
    if claim.dataset not in DATASETS or claim.epochs is None:
        return ()
    board = load_board()
    rows = ((size, board.row_of(claim.dataset, claim.version, size, claim.epochs)) for size in claim.sizes)
    return tuple((size, row) for size, row in rows if row is not None)
