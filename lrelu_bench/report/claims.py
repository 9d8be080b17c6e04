"""What our runs say of each claim: plain values, nothing drawn."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lrelu_bench.claims import Claim
from lrelu_bench.errors import BenchError
from lrelu_bench.evidence import student_t
from lrelu_bench.evidence.differences import ALPHA, difference
from lrelu_bench.evidence.verdicts import FEWEST_RUNS, judge
from lrelu_bench.leaderboard import DATASETS, BoardRow, load_board
from lrelu_bench.report.compare import BOARD_SHARE, CompareRow
from lrelu_bench.report.judging import config_of, sides_of, why_not_comparable
from lrelu_bench.report.wording import comparison_cell, n_cell, p_value, signed
from lrelu_bench.results import Run, load_epochs
from lrelu_bench.telemetry_file import FILE, Telemetry

Status = Literal["reproduced", "partly", "not reproduced", "not yet run"]

PROTOCOLS = {
    "v1": ("leaderboard-2019", "course-2019", "leaderboard-2020"),
    "v2": ("leaderboard-2020", "leaderboard-2019", "course-2019"),
}
"""By the data's version, whose runs decide where a claim that names no protocol was run under several."""

WIDEST_REACH = 5.0
"""Points: where a run may fall further than this from the mean, or the mean itself be further off, a number
above the mean is neither reached nor missed."""


@dataclass(frozen=True)
class Finding:
    """One thing that a claim says, held against the runs of one net in one cell."""

    arch: str
    runs: str
    """The runs in words; empty where there are too few."""
    said: str
    """What must hold: `reaches 56.4 %`."""
    holds: bool | None
    """None where there are too few runs, or nothing to hold them against, or the runs do not tell."""
    why: str

    @property
    def word(self) -> str:
        """`holds`, `not shown` or `open`."""
        return {True: "holds", False: "not shown", None: "open"}[self.holds]


@dataclass(frozen=True)
class Assessment:
    """A claim with what it comes to."""

    claim: Claim
    status: Status
    reason: str
    findings: tuple[Finding, ...]
    rows: tuple[CompareRow, ...]
    """All runs that may be of the claim, deciding or not."""
    beside: tuple[str, ...]
    """Those that the reason does not name, in words: others decide."""
    boards: tuple[BoardRow, ...]
    """The rows of the claim's cell, one for each image size that it may be about."""


def assess(claim: Claim, rows: Sequence[CompareRow]) -> Assessment:
    """Hold a claim against the rows of a comparison.

    Everything that the claim says is judged for each net that it names, and where it does not state size or
    epochs, for each cell that was run; on one row of `CompareRow`, with at least three runs, diverged ones
    included. Which row it is does not depend on what it measured: the first of the claim's activations, its
    plain form before others, the first of `PROTOCOLS` (never `custom`, unless the claim names it), most runs.

    `reproduced`: everything holds. `not reproduced`: nothing of what could be judged does. `partly`: some
    holds, and the rest does not or is open. `not yet run`: nothing could be judged.
    """
    about = tuple(row for row in rows if _may_be_of(claim, row))
    archs = claim.arch or tuple(dict.fromkeys(row.arch for row in about)) or ("any net",)
    findings: list[Finding] = []
    for arch in archs:
        of_net = [row for row in about if row.arch == arch]
        chosen = _deciding(claim, of_net)
        findings += [
            Finding(arch, described(row), said, *check(claim, row, rows))
            for row in chosen
            for said, check in _checks(claim)
        ]
        if not chosen:
            why = _too_few(claim, of_net)
            findings += [Finding(arch, "", said, None, why) for said, _ in _checks(claim)]
    status, reason = _status(findings)
    words = ((row.arch, described(row)) for row in about)
    beside = tuple(f"{arch}: {runs}" for arch, runs in words if runs not in reason)
    return Assessment(claim, status, reason, tuple(findings), about, beside, _boards(claim))


def _status(findings: Sequence[Finding]) -> tuple[Status, str]:
    holding = {finding.holds for finding in findings}
    status: Status
    if holding == {None}:
        status = "not yet run"
    elif holding == {True}:
        status = "reproduced"
    else:
        status = "partly" if True in holding else "not reproduced"
    return status, "; ".join(_reasons(findings))


def _reasons(findings: Sequence[Finding]) -> Iterator[str]:
    """Every finding in words; what several share is said once."""
    without: dict[str, list[str]] = {}
    judged: dict[tuple[str, str], list[str]] = {}
    for one in findings:
        if one.runs:
            judged.setdefault((one.arch, one.runs), []).append(f"{one.said} {one.word} ({one.why})")
        else:
            without.setdefault(one.why, []).append(one.arch)
    for (arch, runs), phrases in judged.items():
        yield f"{arch}: {runs}: {', '.join(phrases)}"
    for why, archs in without.items():
        yield f"{', '.join(dict.fromkeys(archs))}: {why}"


def _may_be_of(claim: Claim, row: CompareRow) -> bool:
    return (
        claim.fits(row.dataset, row.version, row.size, row.epochs, row.arch)
        and claim.protocol in (None, row.protocol_label)
        and row.subset is None
        and _place(claim.activation, row) is not None
    )


def _place(activations: Sequence[str], row: CompareRow) -> int | None:
    """Where the row's activation stands in a list of names and labels."""
    for index, wanted in enumerate(activations):
        if wanted in (row.activation, _name(row)):
            return index
    return None


def _name(row: CompareRow) -> str:
    return row.activation.partition("(")[0]


def _deciding(claim: Claim, rows: Sequence[CompareRow]) -> list[CompareRow]:
    """The row that decides in each cell, of those of one net."""
    cells: dict[tuple[int, int], list[CompareRow]] = {}
    for row in rows:
        if row.n >= FEWEST_RUNS and _may_decide(claim, row):
            cells.setdefault((row.size, row.epochs), []).append(row)
    return [min(some, key=lambda row: _preference(claim, row)) for some in cells.values()]


def _may_decide(claim: Claim, row: CompareRow) -> bool:
    return claim.protocol is not None or row.protocol_label != "custom"


def _preference(claim: Claim, row: CompareRow) -> tuple[int, bool, int, int]:
    protocols = PROTOCOLS[claim.version]
    protocol = protocols.index(row.protocol_label) if row.protocol_label in protocols else len(protocols)
    return _place(claim.activation, row) or 0, row.activation != _name(row), protocol, -row.n


def _too_few(claim: Claim, rows: Sequence[CompareRow]) -> str:
    """Why none of a net's rows decides."""
    candidates = [row for row in rows if _may_decide(claim, row)]
    most = max(candidates or rows, key=lambda row: row.n, default=None)
    if most is None:
        return "no run"
    if candidates:
        return f"{most.n} of {FEWEST_RUNS} runs, {described(most)}"
    return f"no run under a named protocol, only {described(most)}; for a claim with `protocol: custom`"


Answer = tuple[bool | None, str]
Check = Callable[[Claim, CompareRow, Sequence[CompareRow]], Answer]


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
        yield "not above the board's row", _below_board
    if claim.smoother_than is not None:
        yield f"smoother than {claim.smoother_than}", _smoother
    if claim.sooner_than is not None:
        yield f"sooner than {claim.sooner_than}", _sooner


def _reaches(claim: Claim, row: CompareRow, rows: Sequence[CompareRow]) -> Answer:
    """Whether the mean is that high, or a run was and as many new ones as the claim's may be again.

    Where they may be, by a 95 % prediction interval, but none of ours was, more runs would tell.
    """
    assert claim.reaches is not None
    if not row.measured:
        return False, f"all {row.n} runs diverged"
    if row.mean is None or row.sd is None or len(row.measured) < FEWEST_RUNS:
        return None, f"only {len(row.measured)} of {row.n} runs finished"
    claimed = claim.runs or 1
    quantile = student_t.quantile(1 - ALPHA / 2, len(row.measured) - 1)
    reach = quantile * row.sd * math.sqrt(1 / claimed + 1 / len(row.measured))
    runs = "a run" if claimed == 1 else f"the mean of {claimed} runs"
    low, high = max(0.0, row.mean - reach), min(100.0, row.mean + reach)
    why = f"our best run {max(row.measured):.1f} %, {runs} falls between {low:.1f} and {high:.1f} %"
    if row.mean + reach < claim.reaches:
        return False, why
    if row.mean < claim.reaches and reach > WIDEST_REACH:
        return None, f"{why}: a spread too wide to tell"
    if max(row.measured) < claim.reaches:
        return None, f"{why}: it may, but no run of ours was"
    return _unless_flattered(row, True, why)


def _beats_board(claim: Claim, row: CompareRow, rows: Sequence[CompareRow]) -> Answer:
    if row.board is None or row.above_board is None:
        return None, row.reason
    above = f"{row.above_board} of {row.n} runs above {_board_in_words(row, row.board)}"
    if row.above_board / row.n <= BOARD_SHARE:
        return False, above
    if not claim.by:
        return True, above
    if row.difference is None or row.interval is None:
        return None, above
    holds = _by_margin(claim.by, row.difference, row.interval)
    return _unless_flattered(row, holds, f"{above}, {_points(row.difference, row.interval)}")


def _below_board(claim: Claim, row: CompareRow, rows: Sequence[CompareRow]) -> Answer:
    if row.board is None or row.above_board is None:
        return None, row.reason
    below = row.n - row.above_board
    why = f"{below} of {row.n} runs not above {_board_in_words(row, row.board)}"
    return below / row.n > BOARD_SHARE, why


def _board_in_words(row: CompareRow, board: BoardRow) -> str:
    return f"{board.accuracy:g} %, {comparison_cell(row)}"


def _by_margin(by: float, difference: float, half_width: float) -> bool | None:
    """Whether a difference is at least so large; None where only its interval is, or is very wide."""
    # Differences of percentages carry noise in the last digits.
    if round(difference - by, 9) >= 0:
        return True if half_width <= WIDEST_REACH else None
    return None if difference + half_width >= by else False


def _points(difference: float, half_width: float) -> str:
    return f"{signed(difference)} ± {half_width:.1f} points"


def _unless_flattered(row: CompareRow, holds: bool | None, why: str) -> Answer:
    """What holds of the runs that finished is open where others diverged."""
    if row.diverged:
        return None if holds else holds, f"{why}; {len(row.diverged)} of {row.n} diverged"
    return holds, why


def _beats_activation(claim: Claim, row: CompareRow, rows: Sequence[CompareRow]) -> Answer:
    assert claim.beats is not None
    if not row.measured:
        return False, f"all {row.n} runs diverged"
    other, problem = _other(claim.beats, row, rows)
    if other is None:
        return None, problem
    # A claim is stated beforehand, and once: no correction for the report's other comparisons.
    (verdict,) = judge([sides_of(row, other)])
    if verdict.word in ("too few runs", "not comparable") or verdict.difference is None:
        return None, f"{other.activation}: {verdict.in_words}"
    found = verdict.difference
    why = f"{verdict.in_words}, {_points(found.mean, found.half_width)} against {other.activation}"
    if verdict.word != "better" or not claim.by:
        return verdict.word == "better", why
    return _by_margin(claim.by, found.mean, found.half_width), why


def _sooner(claim: Claim, row: CompareRow, rows: Sequence[CompareRow]) -> Answer:
    assert claim.sooner_than is not None
    return _measured_against(claim.sooner_than, row, rows, "accuracy after epoch 1", _first_epoch, 1)


def _smoother(claim: Claim, row: CompareRow, rows: Sequence[CompareRow]) -> Answer:
    assert claim.smoother_than is not None
    return _measured_against(claim.smoother_than, row, rows, "roughness of the statistics", _roughness, -1)


def _measured_against(
    name: str,
    row: CompareRow,
    rows: Sequence[CompareRow],
    what: str,
    measure: Callable[[Run], float],
    sign: int,
) -> Answer:
    """Whether a measure of the runs differs from the other activation's in the direction of `sign`."""
    other, problem = _other(name, row, rows)
    if other is None:
        return None, problem
    fewest = min((row, other), key=lambda side: len(side.measured))
    if len(fewest.measured) < FEWEST_RUNS:
        return None, f"{len(fewest.measured)} of {FEWEST_RUNS} finished runs of {fewest.activation}"
    try:
        own, theirs = (
            [measure(run) for run in side.runs if run.result.status != "diverged"] for side in (row, other)
        )
        found = difference(own, theirs)
    except (BenchError, ValueError) as error:
        return None, f"{what} cannot be told ({error})"
    span = f"{found.mean - found.half_width:+.3g} to {found.mean + found.half_width:+.3g}"
    p = p_value(found.p_welch)
    why = f"{what} less {other.activation}'s: {span}, p {p if p.startswith('<') else f'= {p}'}"
    return _unless_flattered(row, found.p_welch <= ALPHA and sign * found.mean > 0, why)


def _first_epoch(run: Run) -> float:
    """Accuracy after the first epoch, percent."""
    epochs = load_epochs(run.folder)
    if not epochs or not math.isfinite(epochs[0].accuracy):
        raise BenchError(f"{run.folder / 'epochs.jsonl'}: no accuracy of epoch 1")
    return 100 * epochs[0].accuracy


def _roughness(run: Run) -> float:
    seen = Telemetry.load(run.folder)
    # A dead layer has no deviation to divide by.
    with np.errstate(all="ignore"):
        roughness = seen.roughness if len(seen.step) > 1 else math.nan
    if not math.isfinite(roughness):
        raise BenchError(f"{run.folder / FILE}: too few finite samples")
    return roughness


def _other(name: str, row: CompareRow, rows: Sequence[CompareRow]) -> tuple[CompareRow | None, str]:
    """The row of another activation under the same config: of this label, else the only one of this name.

    None, and why, where there is none, or several, or none on the same data.
    """
    alike = [one for one in rows if config_of(one) == config_of(row) and _place([name], one) is not None]
    exact = [one for one in alike if one.activation == name]
    problem = why_not_comparable(row, exact or alike, name)
    if len(exact or alike) > 1:
        problem += f" ({', '.join(one.activation for one in exact or alike)}); a claims file may name one"
    return (None, problem) if problem else ((exact or alike)[0], "")


def described(row: CompareRow) -> str:
    """A row in words: `learned_relu_v3 57.0 ± 2.5 % (128 px, 5 epochs, leaderboard-2019, n = 3)`."""
    around = "" if row.interval is None else f" ± {row.interval:.1f}"
    accuracy = "diverged" if row.mean is None else f"{row.mean:.1f}{around} %"
    setting = [
        f"{row.size} px",
        f"{row.epochs} epoch{'s' * (row.epochs != 1)}",
        row.protocol_label,
        f"n = {n_cell(row)}",
        *(["not the official data"] if row.unofficial else []),
    ]
    return f"{row.activation} {accuracy} ({', '.join(setting)})"


def _boards(claim: Claim) -> tuple[BoardRow, ...]:
    if claim.dataset not in DATASETS or claim.epochs is None:
        return ()
    cells = ((claim.dataset, claim.version, size, claim.epochs) for size in claim.sizes)
    return tuple(row for row in (load_board().row_of(*cell) for cell in cells) if row is not None)
