"""A difference between two sets of runs, with the validation images themselves a sample.

The t interval answers for other seeds on these images. Another 500 images of the same breeds would move all
runs together; because both sides saw the same ones, only the images on which they disagree matter.
"""

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lrelu_bench.evidence import student_t
from lrelu_bench.evidence.differences import ALPHA

RESAMPLES = 2000

Correct = NDArray[np.bool_]
"""(runs, images): whether a run's final prediction was right; columns of both sides are the same images."""


def images_and_seeds_interval(variant: Correct, baseline: Correct) -> tuple[float, float]:
    """95 % interval of the variant's accuracy less the baseline's, percentage points.

    A paired bootstrap: each replicate draws the images anew, the same ones for both sides, and the runs of
    each side. With few runs a plain bootstrap is too narrow, by the missing degree of freedom and by taking
    the spread as known; deviations of runs are stretched by both factors, which leaves the images' part as it
    is. The same input gives the same interval.

    Raises `ValueError` where a side has fewer than two runs or the sides saw different numbers of images.
    """
    if min(len(variant), len(baseline)) < 2:
        raise ValueError("two runs of each side are needed")
    if variant.shape[1] != baseline.shape[1]:
        raise ValueError("the sides saw different images")
    drawn = _image_counts(variant.shape[1])
    rng = np.random.default_rng(1)
    replicates = _replicates(variant, drawn, rng) - _replicates(baseline, drawn, rng)
    low, high = np.quantile(replicates, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)


def _replicates(
    correct: Correct, drawn: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float64]:
    """(RESAMPLES,) accuracies of redrawn runs on redrawn images, percent."""
    runs, images = correct.shape
    accuracy = 100 * (drawn @ correct.T.astype(np.float32)).astype(np.float64) / images
    centre = accuracy.mean(1)
    chosen = rng.integers(0, runs, (RESAMPLES, runs))
    deviation = np.take_along_axis(accuracy, chosen, 1).mean(1) - centre
    normal = NormalDist().inv_cdf(1 - ALPHA / 2)
    stretch = math.sqrt(runs / (runs - 1)) * student_t.quantile(1 - ALPHA / 2, runs - 1) / normal
    replicates: NDArray[np.float64] = centre + stretch * deviation
    return replicates


@lru_cache(maxsize=2)
def _image_counts(images: int) -> NDArray[np.float32]:
    """(RESAMPLES, images): how often each replicate drew each image."""
    rng = np.random.default_rng(0)
    counts = np.empty((RESAMPLES, images), np.float32)
    for replicate in counts:
        replicate[:] = np.bincount(rng.integers(0, images, images), minlength=images)
    return counts
