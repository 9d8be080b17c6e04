"""A variant's runs against a baseline's: how far apart, and how sure.

Accuracies are percent, differences percentage points. Run noise is independent between variants, equal seeds
included: a seed draws other numbers as soon as one parameter more is initialised. So runs are never paired.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, variance

from lrelu_bench.evidence import student_t
from lrelu_bench.evidence.summaries import CONFIDENCE

ALPHA = 1 - CONFIDENCE
EXACT_SPLITS = 20_000
"""Above so many ways to deal the runs (9 against 9) no exact permutation test is made."""


@dataclass(frozen=True)
class Difference:
    """A variant's mean less its baseline's, with what a reader needs to weigh it."""

    mean: float
    half_width: float
    """Half of Welch's two-sided 95 % interval."""
    p_welch: float
    """Two-sided, of Welch's test (Welch 1947)."""
    p_permutation: float | None
    """Two-sided, of the exact permutation test of the difference of means; None above `EXACT_SPLITS`."""
    superiority: float
    """The probability that a random run of the variant beats a random run of the baseline, a tie counted
    half (Vargha & Delaney 2000)."""


def difference(variant: Sequence[float], baseline: Sequence[float]) -> Difference:
    """Compare two sets of at least two runs each.

    Raises `ValueError` where a side has fewer than two runs, or where neither side has any spread.
    """
    if min(len(variant), len(baseline)) < 2:
        raise ValueError("two runs of each side are needed")
    mean = fmean(variant) - fmean(baseline)
    variances, runs = (variance(variant), variance(baseline)), (len(variant), len(baseline))
    error, degrees = welch(variances, runs)
    if error == 0:
        raise ValueError("neither side has any spread")
    return Difference(
        mean=mean,
        half_width=student_t.quantile(1 - ALPHA / 2, degrees) * error,
        p_welch=student_t.two_sided_p(mean / error, degrees),
        p_permutation=permutation_p(variant, baseline),
        superiority=superiority(variant, baseline),
    )


def permutation_p(variant: Sequence[float], baseline: Sequence[float]) -> float | None:
    """The share of all ways to deal the runs to the two sides that set their means as far apart."""
    pooled, n = [*variant, *baseline], len(variant)
    splits = math.comb(len(pooled), n)
    if splits > EXACT_SPLITS:
        return None
    expected = n * fmean(pooled)
    # Means of equal numbers in another order may differ in the last digit.
    far = abs(sum(variant) - expected) - 1e-9
    return sum(abs(sum(dealt) - expected) >= far for dealt in combinations(pooled, n)) / splits


def superiority(variant: Sequence[float], baseline: Sequence[float]) -> float:
    """The share of pairs of runs, one of each side, in which the variant's is higher; a tie counts half."""
    pairs = [(one > other) + (one == other) / 2 for one in variant for other in baseline]
    return fmean(pairs)


def welch(variances: Sequence[float], runs: Sequence[int]) -> tuple[float, float]:
    """Standard error of a difference of means, and its degrees of freedom (Welch 1947).

    Of any sum of independent means, each added or taken away once (Satterthwaite 1946). Where none has any
    variance the error is 0 and the degrees are those of one common variance.
    """
    parts = [variance / n for variance, n in zip(variances, runs, strict=True)]
    total = sum(parts)
    if total == 0:
        return 0.0, float(sum(runs) - len(runs))
    degrees = total**2 / sum(part**2 / (n - 1) for part, n in zip(parts, runs, strict=True))
    return math.sqrt(total), degrees
