"""A difference between two sets of runs, with the validation images themselves a sample.

The t interval answers for other seeds on these images. Another 500 images of the same breeds would move all
runs together; because both sides saw the same ones, only the images on which they disagree matter.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lrelu_bench.evidence import student_t
from lrelu_bench.evidence.differences import ALPHA, welch

RESAMPLES = 2000
"""Of so many, an end of the interval has a Monte Carlo error of 0.06 standard errors of the difference."""
_AT_ONCE = 250
_AS_GOOD_AS_NORMAL = 1000.0
_NORMAL = NormalDist().inv_cdf(1 - ALPHA / 2)

Correct = NDArray[np.bool_]
"""(runs, images): whether a run's final prediction was right; columns of both sides are the same images."""


@dataclass(frozen=True)
class PairOnImages:
    """A variant's and its baseline's predictions, and which images they are of."""

    variant: Correct
    baseline: Correct
    images: Hashable
    """Equal where the images are the same ones, in the same order."""


def images_and_seeds_intervals(pools: Sequence[Sequence[PairOnImages]]) -> list[tuple[float, float]]:
    """95 % intervals of variants' accuracies less their baselines', percentage points, one for each pool.

    A pool is one pair, or several whose differences are averaged, each weighing the same.

    A paired bootstrap: each replicate draws the images anew, the same ones for both sides, and the runs of
    each side. Done naively on a table of runs and images, that counts three times what is neither the
    image's nor the run's but of both together (Owen 2007), which is most of it here: the interval would be
    far too wide. So runs are redrawn on the images as they are, where their spread has that part in it,
    and the images' deviations are shrunk by as much. With few runs the redrawn ones vary too little, by the
    missing degree of freedom and by taking their spread as known: their deviations are stretched by both
    factors, the second of Welch's t. If images made no difference, this would be Welch's interval.

    Pairs of a pool that saw the same images share each draw of them, so that what they have in common
    through these does not average out; runs are redrawn within each side of each pair.

    The same input gives the same intervals. Raises `ValueError` where a side has fewer than two runs, where
    sides of the same images saw different numbers of them, and for a pool of no pairs.
    """
    pairs = [pair for pool in pools for pair in pool]
    if any(min(len(pair.variant), len(pair.baseline)) < 2 for pair in pairs):
        raise ValueError("two runs of each side are needed")
    shapes = {(pair.images, side.shape[1]) for pair in pairs for side in (pair.variant, pair.baseline)}
    if len(shapes) > len({pair.images for pair in pairs}):
        raise ValueError("the sides saw different images")
    if not all(pools):
        raise ValueError("a pool of no pairs")
    sums = [_sums(pool) for pool in pools]
    redrawn = [dict[Hashable, NDArray[np.float64]]() for _ in pools]
    # The sets of a pool must not draw alike, as equally many images would, nor as the runs do. By a set's
    # place in its own pool, no interval depends on which others are asked for.
    places: dict[tuple[Hashable, int], list[int]] = {}
    for index, sets in enumerate(sums):
        for place, images in enumerate(sets):
            places.setdefault((images, place), []).append(index)
    for (images, place), having in places.items():
        by_image = np.stack([sums[index][images].by_image for index in having])
        for index, means in zip(having, _on_redrawn_images(by_image, 2 * place), strict=True):
            redrawn[index][images] = means
    return [_interval(sets, means) for sets, means in zip(sums, redrawn, strict=True)]


@dataclass(frozen=True)
class _Side:
    """Runs in percent and percentage points."""

    by_run: NDArray[np.float64]
    """(runs,) accuracies."""
    by_image: NDArray[np.float64]
    """(images,) the share of runs that were right."""
    variance: float
    """Of the runs."""
    interaction: float
    """The part of the variance of the mean that is neither the images' nor the runs' alone."""

    @classmethod
    def of(cls, correct: Correct) -> "_Side":
        runs, images = correct.shape
        by_run, by_image = 100 * correct.mean(1), 100 * correct.mean(0)
        variance = float(by_run.var(ddof=1))
        residual = runs * float((by_image * (100 - by_image)).sum()) - images * (runs - 1) * variance
        interaction = max(0.0, residual) / ((runs - 1) * (images - 1 or 1)) / (runs * images)
        return cls(by_run, by_image, variance, interaction)

    def redrawn(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """(RESAMPLES,) deviations of the mean of redrawn runs, with the variance of the mean."""
        runs = len(self.by_run)
        chosen = self.by_run[rng.integers(0, runs, (RESAMPLES, runs))].mean(1)
        deviations: NDArray[np.float64] = (chosen - self.by_run.mean()) * math.sqrt(runs / (runs - 1))
        return deviations


@dataclass(frozen=True)
class _OnOneSet:
    """A pool's pairs that saw the same images."""

    pairs: list[tuple[_Side, _Side]]
    by_image: NDArray[np.float64]
    """(images,) the sum of the pairs' differences."""

    @property
    def interaction(self) -> float:
        return sum(side.interaction for pair in self.pairs for side in pair)


def _sums(pool: Sequence[PairOnImages]) -> dict[Hashable, _OnOneSet]:
    sets: dict[Hashable, list[tuple[_Side, _Side]]] = {}
    for pair in pool:
        sets.setdefault(pair.images, []).append((_Side.of(pair.variant), _Side.of(pair.baseline)))
    return {
        images: _OnOneSet(pairs, np.sum([own.by_image - other.by_image for own, other in pairs], axis=0))
        for images, pairs in sets.items()
    }


def _interval(
    sets: dict[Hashable, _OnOneSet], redrawn: dict[Hashable, NDArray[np.float64]]
) -> tuple[float, float]:
    rng = np.random.default_rng(1)
    mean, own, replicates = 0.0, 0.0, np.zeros(RESAMPLES)
    for key, one in sets.items():
        images = float(one.by_image.var()) / len(one.by_image)
        beside = max(0.0, images - one.interaction)
        shrink = math.sqrt(beside / images) if beside else 0.0
        replicates += shrink * (redrawn[key] - one.by_image.mean())
        mean += float(one.by_image.mean())
        own += beside
    pairs = [pair for one in sets.values() for pair in one.pairs]
    for variant, baseline in pairs:
        replicates += variant.redrawn(rng) - baseline.redrawn(rng)
    stretch = 1.0
    sides = [side for pair in pairs for side in pair]
    error, degrees = welch([side.variance for side in sides], [len(side.by_run) for side in sides])
    if error > 0:
        # Only the runs' part of the variance is from a few (Satterthwaite 1946).
        degrees = min(degrees * (1 + own / error**2) ** 2, _AS_GOOD_AS_NORMAL)
        stretch = student_t.quantile(1 - ALPHA / 2, degrees) / _NORMAL
    low, high = np.quantile(mean + stretch * replicates, [ALPHA / 2, 1 - ALPHA / 2]) / len(pairs)
    return float(low), float(high)


def _on_redrawn_images(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """(rows, RESAMPLES): means of (rows, images) over images drawn anew, the same ones for all rows."""
    images = values.shape[1]
    rng = np.random.default_rng(seed)
    means = np.empty((len(values), RESAMPLES))
    counts = np.empty((images, _AT_ONCE), np.float32)
    rows = values.astype(np.float32)
    for start in range(0, RESAMPLES, _AT_ONCE):
        for replicate in range(_AT_ONCE):
            counts[:, replicate] = np.bincount(rng.integers(0, images, images), minlength=images)
        means[:, start : start + _AT_ONCE] = rows @ counts / images
    return means
