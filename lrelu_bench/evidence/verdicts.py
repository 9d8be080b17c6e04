"""One word on a variant against its baseline, with the reason: what `compare` prints and CI can require."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import variance
from typing import Literal

from lrelu_bench.evidence.differences import ALPHA, Difference, difference, superiority
from lrelu_bench.evidence.power import detectable, runs_needed

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

    @property
    def flat(self) -> bool:
        """Whether the measured runs of each side are all equal."""
        return len({*self.variant}) <= 1 and len({*self.baseline}) <= 1

    @property
    def diverged_in_words(self) -> str:
        """`1 of 3 runs diverged`, of either side that has some; empty where none has."""
        sides = (
            (self.variant_diverged, self.variant, "runs"),
            (self.baseline_diverged, self.baseline, "baseline runs"),
        )
        return " and ".join(
            f"{gone} of {gone + len(measured)} {whose} diverged" for gone, measured, whose in sides if gone
        )


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

    Welch's test decides. Diverged runs have no accuracy to average, which flatters their side: a variant with
    some is never `better`, and against a baseline with some it is never `worse`. They are named in the reason
    of every verdict, and in the probability of superiority they lose to every run that finished.
    """
    untested = [_untested(sides, len(family)) for sides in family]
    tested = [sides for sides, verdict in zip(family, untested, strict=True) if verdict is None]
    found = [_difference(sides) for sides in tested]
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


def _difference(sides: Sides) -> Difference:
    ranked = (
        (*sides.variant, *[-math.inf] * sides.variant_diverged),
        (*sides.baseline, *[-math.inf] * sides.baseline_diverged),
    )
    return replace(difference(sides.variant, sides.baseline), superiority=superiority(*ranked))


def _untested(sides: Sides, comparisons: int) -> Verdict | None:
    if not sides.variant and sides.variant_diverged >= FEWEST_RUNS:
        return not_comparable(f"all {sides.variant_diverged} runs diverged")
    if not sides.baseline and sides.baseline_diverged >= FEWEST_RUNS:
        return not_comparable(f"all {sides.baseline_diverged} baseline runs diverged")
    if min(len(sides.variant), len(sides.baseline)) < FEWEST_RUNS:
        return _too_few(sides, comparisons)
    if sides.flat:
        return not_comparable("no spread: the runs of each side are equal")
    return None


def _too_few(sides: Sides, comparisons: int) -> Verdict:
    sizes = {"of its own": len(sides.variant), "of the baseline": len(sides.baseline)}
    missing = [f"{FEWEST_RUNS - n} more {whose}" for whose, n in sizes.items() if n < FEWEST_RUNS]
    reasons = [f"needs {' and '.join(missing)}{_prospect(sides, comparisons)}", sides.diverged_in_words]
    testable = min(sizes.values()) >= 2 and not sides.flat
    reason = "; ".join(filter(None, reasons))
    return Verdict("too few runs", reason, _difference(sides) if testable else None)


def _prospect(sides: Sides, comparisons: int) -> str:
    """What the missing runs will find, and how many find a point; empty where no spread is known.

    A side of one run is taken to spread as the other does. The level is the one of Holm's first step once
    all comparisons can be tested.
    """
    known = [variance(side) if len(side) > 1 else None for side in (sides.variant, sides.baseline)]
    own, other = (one if one is not None else another for one, another in (known, known[::-1]))
    if own is None or other is None or own + other == 0:
        return ""
    runs = max(FEWEST_RUNS, len(sides.variant)), max(FEWEST_RUNS, len(sides.baseline))
    least = detectable((own, other), runs, ALPHA / comparisons)
    prospect = f", then can detect >= {points(least)} points by the spread so far"
    needed = runs_needed((own, other), POINT, ALPHA / comparisons)
    if needed is None or needed <= FEWEST_RUNS:
        return prospect
    return f"{prospect}, {POINT:g} point with {needed} of each"


def _decided(sides: Sides, found: Difference, p: float, comparisons: int) -> Verdict:
    diverged = sides.diverged_in_words
    word: Word
    if p > ALPHA:
        # Holm's first step tests at this level; what it finds, the later ones find as well.
        variances = variance(sides.variant), variance(sides.baseline)
        runs = len(sides.variant), len(sides.baseline)
        least = detectable(variances, runs, ALPHA / comparisons)
        word, reasons = "no detectable difference", [f"can detect >= {points(least)} points", diverged]
    elif sides.variant_diverged if found.mean > 0 else sides.baseline_diverged:
        ahead = "it is" if found.mean > 0 else "the baseline is"
        word, reasons = "not comparable", [diverged, f"among the others {ahead} ahead, {sure(p)}"]
    else:
        word = "better" if found.mean > 0 else "worse"
        reasons = [sure(p), diverged]
    return Verdict(word, "; ".join(filter(None, reasons)), found, p, comparisons)


def sure(p: float) -> str:
    """`p = 0.004`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def points(difference: float) -> str:
    """What can be detected, rounded up, as more than what is said can be."""
    digits = 1 if difference >= 0.1 else 2
    return f"{math.ceil(round(difference * 10**digits, 2)) / 10**digits:.{digits}f}"
