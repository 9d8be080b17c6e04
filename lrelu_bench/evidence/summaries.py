"""Statistics of a few runs: mean, spread, and how far the mean may be from the truth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from lrelu_bench.evidence import student_t

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Mean and spread of n accuracies, in the unit they were given in."""

    n: int
    mean: float
    sd: float | None
    """Sample standard deviation (n - 1); None for one run."""
    half_width: float | None
    """Half of the two-sided 95 % t interval of the mean; None for one run, which has no interval."""


def summarize(accuracies: Sequence[float]) -> Summary:
    """Mean, deviation and 95 % t interval of runs that differ in nothing but their seed.

    Raises `ValueError` for no accuracies at all.
    """
    if not accuracies:
        raise ValueError("no accuracies to summarize")
    n, mean = len(accuracies), fmean(accuracies)
    if n == 1:
        return Summary(n, mean, None, None)
    sd = stdev(accuracies)
    return Summary(n, mean, sd, student_t.quantile((1 + CONFIDENCE) / 2, n - 1) * sd / math.sqrt(n))


def binomial_error(share: float, images: int) -> float:
    """Standard error of an accuracy (a share) that the size of the validation set alone leaves."""
    return math.sqrt(share * (1 - share) / images)
