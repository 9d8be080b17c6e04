"""One word on a variant against its baseline, with the reason: what `compare` prints and CI can require."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lrelu_bench.evidence.differences import ALPHA, Difference, detectable, difference, runs_needed

Word = Literal["better", "worse", "no detectable difference", "too few runs", "not comparable"]

FEWEST_RUNS = 3
"""Of each side, for a verdict."""
POINT = 1.0
"""The difference, percentage points, that a reader is told the number of runs for."""


@dataclass(frozen=True)
class Sides:
    """What is compared: final accuracies in percent, and how many runs of each side diverged besides."""

    variant: tuple[float, ...]
    baseline: tuple[float, ...]
    variant_diverged: int = 0
    baseline_diverged: int = 0


@dataclass(frozen=True)
class Verdict:
    """The word, why, and the numbers behind it."""

    word: Word
    reason: str
    difference: Difference | None = None
    """None below two measured runs of a side."""
    p_adjusted: float | None = None
    """Welch's p after Holm's correction over all comparisons of the report; None where it was not tested."""
    comparisons: int = 0
    """How many comparisons the correction was over."""
    images_interval: tuple[float, float] | None = None
    """95 % interval over images and seeds, percentage points: `evidence.bootstrap`; None without predictions
    of the same images by every run."""

    @property
    def in_words(self) -> str:
        """`better (p = 0.004)`."""
        return f"{self.word} ({self.reason})"


def not_comparable(why: str) -> Verdict:
    """The verdict where there is nothing to hold a variant against."""
    return Verdict("not comparable", why)


def judge(family: Sequence[Sides]) -> list[Verdict]:
    """A verdict for each comparison of a report; the p values are corrected over those that are tested.

    Diverged runs are not in the accuracies, which flatters their side: a variant with some is never `better`,
    and against a baseline with some it is never `worse`.
    """
    untested = [_untested(sides) for sides in family]
    tested = [sides for sides, verdict in zip(family, untested, strict=True) if verdict is None]
    found = [difference(sides.variant, sides.baseline) for sides in tested]
    adjusted = holm([one.p_welch for one in found])
    judged = iter(
        _decided(sides, one, p, len(tested)) for sides, one, p in zip(tested, found, adjusted, strict=True)
    )
    return [verdict or next(judged) for verdict in untested]


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected so that the chance of any false finding stays at the level tested (Holm 1979)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _untested(sides: Sides) -> Verdict | None:
    n, m = len(sides.variant), len(sides.baseline)
    if min(n, m) < FEWEST_RUNS:
        return _too_few(sides)
    if len({*sides.variant}) == len({*sides.baseline}) == 1:
        return not_comparable("all runs of a side are equal to the last digit: no spread to judge by")
    return None


def _too_few(sides: Sides) -> Verdict:
    sizes = {"of its own": len(sides.variant), "of the baseline": len(sides.baseline)}
    missing = [f"{FEWEST_RUNS - n} more {whose}" for whose, n in sizes.items() if n < FEWEST_RUNS]
    reason = f"needs {' and '.join(missing)}"
    if min(sizes.values()) < 2 or len({*sides.variant}) == len({*sides.baseline}) == 1:
        return Verdict("too few runs", reason)
    needed = runs_needed(sides.variant, sides.baseline, POINT)
    if needed is not None and needed > FEWEST_RUNS:
        reason += f"; to detect {POINT:g} point, about {needed} of each by the spread so far"
    return Verdict("too few runs", reason, difference(sides.variant, sides.baseline))


def _decided(sides: Sides, found: Difference, p: float, comparisons: int) -> Verdict:
    verdict = Verdict("no detectable difference", "", found, p, comparisons)
    if p > ALPHA:
        # Holm's first step tests at this level; what it finds, the later ones find as well.
        least = detectable(sides.variant, sides.baseline, ALPHA / comparisons)
        return replace(verdict, reason=f"can detect >= {least:.1f} points")
    if found.mean > 0 and sides.variant_diverged:
        n = len(sides.variant) + sides.variant_diverged
        return replace(
            verdict,
            word="not comparable",
            reason=f"{sides.variant_diverged} of {n} runs diverged; the others' mean is higher",
        )
    if found.mean < 0 and sides.baseline_diverged:
        m = len(sides.baseline) + sides.baseline_diverged
        return replace(
            verdict,
            word="not comparable",
            reason=f"{sides.baseline_diverged} of {m} baseline runs diverged; the others' mean is higher",
        )
    sure = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return replace(verdict, word="better" if found.mean > 0 else "worse", reason=sure)
