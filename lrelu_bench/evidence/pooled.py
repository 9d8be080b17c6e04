"""A variant against its baseline over several cells at once: the mean of the cells' differences.

Five runs a side leave a single cell little to detect. The mean over cells, each weighing the same, is a sum
of independent means with variances of their own, and its test is Welch's with as many terms (Satterthwaite
1946, Welch 1947). It is of that average alone and says nothing of any one cell.

Accuracies are percent, differences percentage points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from lrelu_bench.evidence import student_t
from lrelu_bench.evidence.differences import ALPHA, welch
from lrelu_bench.evidence.power import detectable_over_cells
from lrelu_bench.evidence.verdicts import FEWEST_RUNS, Sides, Word, holm, points, sure

FEWEST_CELLS = 2


@dataclass(frozen=True)
class Estimate:
    """The mean over cells of the variant's mean less the baseline's."""

    mean: float
    half_width: float
    """Half of the two-sided 95 % t interval."""
    degrees: float
    p: float
    """Two-sided."""


@dataclass(frozen=True)
class Pooled:
    """The word on a variant over its cells, and the numbers behind it."""

    word: Word
    reason: str
    estimate: Estimate
    p_adjusted: float
    """After Holm's correction over all pools of the report, apart from the cells' own tests."""
    comparisons: int
    """How many pools the correction was over."""
    cells: int
    above: int
    """In how many cells the variant's mean is above the baseline's."""
    variant_runs: int
    baseline_runs: int
    """Each counted in every cell that it serves."""
    images_interval: tuple[float, float] | None = None
    """95 % interval over images and seeds: `evidence.bootstrap`; None without every run's predictions."""


def fits(sides: Sides) -> bool:
    """Whether a cell may be pooled: enough runs of each side, some spread, and none that diverged.

    Diverged runs have no accuracy to average, and leaving them out alone would flatter their side.
    """
    few = min(len(sides.variant), len(sides.baseline)) < FEWEST_RUNS
    return not (few or sides.flat or sides.variant_diverged or sides.baseline_diverged)


def estimate(cells: Sequence[Sides]) -> Estimate:
    """The mean difference over cells, each of at least two measured runs a side.

    Raises `ValueError` for no cells, for a side of fewer than two runs, and where no side has any spread.
    """
    arms = [arm for sides in cells for arm in (sides.variant, sides.baseline)]
    if not arms or min(map(len, arms)) < 2:
        raise ValueError("two runs of each side are needed")
    error, degrees = welch([variance(arm) for arm in arms], [len(arm) for arm in arms])
    if error == 0:
        raise ValueError("neither side has any spread")
    error /= len(cells)
    mean = fmean(fmean(sides.variant) - fmean(sides.baseline) for sides in cells)
    return Estimate(
        mean=mean,
        half_width=student_t.quantile(1 - ALPHA / 2, degrees) * error,
        degrees=degrees,
        p=student_t.two_sided_p(mean / error, degrees),
    )


def pool(family: Sequence[Sequence[Sides]]) -> list[Pooled]:
    """A verdict on each pool of cells, all of which `fits`; the p values are corrected over the pools.

    Raises `ValueError` as `estimate` does.
    """
    found = [estimate(cells) for cells in family]
    adjusted = holm([one.p for one in found])
    return [
        _decided(cells, one, p, len(family)) for cells, one, p in zip(family, found, adjusted, strict=True)
    ]


def _decided(cells: Sequence[Sides], found: Estimate, p: float, comparisons: int) -> Pooled:
    word: Word = "better" if found.mean > 0 else "worse"
    reason = sure(p)
    if p > ALPHA:
        # Holm's first step tests at this level; what it finds, the later ones find as well.
        arms = [arm for sides in cells for arm in (sides.variant, sides.baseline)]
        variances, runs = [variance(arm) for arm in arms], [len(arm) for arm in arms]
        least = detectable_over_cells(variances, runs, ALPHA / comparisons)
        word, reason = "no detectable difference", f"can detect >= {points(least)} points"
    return Pooled(
        word=word,
        reason=reason,
        estimate=found,
        p_adjusted=p,
        comparisons=comparisons,
        cells=len(cells),
        above=sum(fmean(sides.variant) > fmean(sides.baseline) for sides in cells),
        variant_runs=sum(len(sides.variant) for sides in cells),
        baseline_runs=sum(len(sides.baseline) for sides in cells),
    )
