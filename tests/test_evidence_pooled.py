"""The verdict over cells: against SciPy and a formula written out, and its rates on simulated runs."""

import math
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from lrelu_bench.evidence.bootstrap import PairOnImages, images_and_seeds_intervals
from lrelu_bench.evidence.differences import ALPHA, difference
from lrelu_bench.evidence.pooled import Estimate, estimate, fits, pool
from lrelu_bench.evidence.power import POWER, detectable, detectable_over_cells
from lrelu_bench.evidence.verdicts import Sides

CELLS = [
    Sides((55.0, 57.5, 56.1, 58.0), (53.0, 54.2, 55.9)),
    Sides((80.1, 81.5, 82.0), (80.0, 79.1, 80.6, 79.9, 81.2)),
    Sides((61.0, 61.4, 60.2, 61.9, 60.8), (60.9, 62.0, 61.5, 60.0, 61.1)),
]


@pytest.mark.parametrize("sides", CELLS, ids=["first", "second", "third"])
def test_of_one_cell_it_is_welchs_test(sides):
    found, own = estimate([sides]), difference(sides.variant, sides.baseline)
    assert (found.mean, found.half_width, found.p) == (own.mean, own.half_width, own.p_welch)
    theirs = stats.ttest_ind(sides.variant, sides.baseline, equal_var=False)
    assert (found.p, found.degrees) == pytest.approx((theirs.pvalue, theirs.df), rel=1e-9)


def test_of_three_cells_it_is_the_formula_written_out():
    parts, squares, differences = [], [], []
    for sides in CELLS:
        differences.append(np.mean(sides.variant) - np.mean(sides.baseline))
        for arm in (sides.variant, sides.baseline):
            parts.append(np.var(arm, ddof=1) / len(arm))
            squares.append(parts[-1] ** 2 / (len(arm) - 1))
    error, degrees = math.sqrt(sum(parts)) / 3, sum(parts) ** 2 / sum(squares)
    mean = np.mean(differences)
    half_width = stats.t.ppf(0.975, degrees) * error
    p = 2 * stats.t.sf(abs(mean) / error, degrees)
    found = estimate(CELLS)
    assert found == Estimate(*(pytest.approx(value, rel=1e-9) for value in (mean, half_width, degrees, p)))


def test_each_cell_weighs_the_same_whatever_its_runs():
    many = Sides((52.0, 54.0) * 20, (50.0, 52.0) * 20)
    few = Sides((64.0, 66.0, 68.0), (60.0, 62.0, 64.0))
    assert estimate([many, few]).mean == pytest.approx((2 + 4) / 2)


def simulated(rng, runs, means, deviations):
    return [
        Sides(tuple(rng.normal(50 + gain, own, n)), tuple(rng.normal(50, other, m)))
        for (n, m), gain, (own, other) in zip(runs, means, deviations, strict=True)
    ]


@pytest.mark.parametrize(
    ("runs", "deviations"),
    [
        ([(5, 5)] * 7, [(1.0, 1.0)] * 7),
        ([(5, 5)] * 4, [(0.5, 2.0), (1.0, 1.0), (2.0, 0.5), (0.3, 3.0)]),
        ([(3, 3), (5, 3), (3, 10)], [(1.0, 1.5), (2.0, 1.0), (1.0, 1.0)]),
    ],
    ids=["alike", "unequal spread", "few runs"],
)
def test_without_a_difference_on_average_one_in_twenty_is_found(runs, deviations):
    repeats, rng = 4000, np.random.default_rng(5)
    # Cells may differ: what is tested is that they do not on average.
    means = np.linspace(-1, 1, len(runs))
    found = sum(estimate(simulated(rng, runs, means, deviations)).p <= ALPHA for _ in range(repeats))
    low, high = stats.binom.ppf([1e-3, 1 - 1e-3], repeats, [0.04, 0.055])
    assert low <= found <= high


def test_what_it_says_it_can_detect_it_detects_in_four_of_five():
    runs, deviations = [(5, 5), (3, 5), (4, 3)], [(1.0, 2.0), (1.5, 1.0), (2.0, 0.5)]
    variances = [deviation**2 for pair in deviations for deviation in pair]
    least = detectable_over_cells(variances, [n for pair in runs for n in pair], 0.02)
    repeats, rng = 3000, np.random.default_rng(6)
    found = sum(estimate(simulated(rng, runs, [least] * 3, deviations)).p <= 0.02 for _ in range(repeats))
    low, high = stats.binom.ppf([1e-3, 1 - 1e-3], repeats, POWER)
    assert low <= found <= high


@pytest.mark.parametrize(
    ("variances", "runs"), [((1.0, 4.0), (5, 5)), ((1.0, 1.0), (3, 3)), ((9.0, 1.0), (3, 10))]
)
def test_what_one_cell_can_detect_is_what_its_own_test_can(variances, runs):
    assert detectable_over_cells(variances, runs, 0.05) == pytest.approx(
        detectable(variances, runs, 0.05), rel=0.02
    )


@pytest.mark.parametrize(
    ("runs", "variances", "message"), [((1, 3), (0.0, 1.0), "two runs"), ((3, 3), (0.0, 0.0), "neither")]
)
def test_no_power_without_runs_or_spread(runs, variances, message):
    with pytest.raises(ValueError, match=message):
        detectable_over_cells(variances, runs, 0.05)


def test_words_reasons_and_counts():
    better = [
        Sides((56.0, 57.0, 58.0), (50.0, 51.0, 52.0)),
        Sides((61.0, 62.0, 63.0, 64.0), (60.0, 61.0, 62.0)),
    ]
    worse = [Sides(sides.baseline, sides.variant) for sides in better]
    even = [better[0], worse[0]]
    found = pool([better, worse, even])
    assert [one.word for one in found] == ["better", "worse", "no detectable difference"]
    assert [(one.above, one.cells) for one in found] == [(2, 2), (0, 2), (1, 2)]
    assert [(one.variant_runs, one.baseline_runs) for one in found] == [(7, 6), (6, 7), (6, 6)]
    assert [one.comparisons for one in found] == [3, 3, 3]
    p = estimate(better).p
    assert [one.p_adjusted for one in found] == [pytest.approx(3 * p), pytest.approx(3 * p), 1.0]
    assert found[0].reason == "p < 0.001"
    assert found[2].reason.startswith("can detect >= ")
    assert pool([]) == []


@pytest.mark.parametrize(
    ("sides", "kept"),
    [
        (Sides((1.0, 2.0, 3.0), (1.0, 2.0, 3.0)), True),
        (Sides((1.0, 2.0), (1.0, 2.0, 3.0)), False),
        (Sides((1.0, 2.0, 3.0), (1.0, 2.0)), False),
        (Sides((1.0, 2.0, 3.0), (1.0, 2.0, 3.0), variant_diverged=1), False),
        (Sides((1.0, 2.0, 3.0), (1.0, 2.0, 3.0), baseline_diverged=1), False),
        (Sides((1.0, 1.0, 1.0), (2.0, 2.0, 2.0)), False),
    ],
)
def test_which_cells_may_be_pooled(sides, kept):
    assert fits(sides) is kept


@pytest.mark.parametrize(
    "cells", [[], [Sides((1.0,), (1.0, 2.0))], [Sides((1.0, 1.0), (2.0, 2.0))]], ids=["none", "few", "flat"]
)
def test_what_cannot_be_estimated_is_refused(cells):
    with pytest.raises(ValueError, match=r"two runs|neither side"):
        estimate(cells)


# Over images and seeds


def predictions(rng, taste, runs=5, images=500, gain=0.0):
    """Of one side, right where a sum of what the images are to it and of noise is above 0."""
    return taste + gain + rng.normal(0, 1, (runs, images)) > 0


def test_the_same_pair_in_two_pools_of_its_own_has_one_interval():
    rng = np.random.default_rng(1)
    pair = PairOnImages(predictions(rng, 0.2), predictions(rng, 0.0), "a")
    own, other, pooled = images_and_seeds_intervals([[pair], [pair], [pair, pair]])
    assert own == other
    assert pooled[1] - pooled[0] < own[1] - own[0]


def test_cells_on_the_same_images_share_what_these_do():
    """With tastes in common, four cells on one set are hardly surer than one; on four sets they are."""
    rng = np.random.default_rng(2)
    liked, disliked = rng.normal(0, 2, 500), rng.normal(0, 2, 500)
    pairs = [(predictions(rng, liked, runs=20), predictions(rng, disliked, runs=20)) for _ in range(4)]
    one, same, apart = (
        high - low
        for low, high in images_and_seeds_intervals(
            [
                [PairOnImages(*pairs[0], "a")],
                [PairOnImages(*pair, "a") for pair in pairs],
                [PairOnImages(*pair, name) for pair, name in zip(pairs, "abcd", strict=True)],
            ]
        )
    )
    assert same == pytest.approx(one, rel=0.15)
    assert apart == pytest.approx(one / 2, rel=0.15)


@pytest.mark.parametrize("shared", [True, False], ids=["one set", "two sets"])
def test_it_covers_the_expected_mean_difference(shared):
    repeats, rng, pools = 400, np.random.default_rng(3), []
    for repeat in range(repeats):
        pool_of = []
        for cell in range(3):
            if cell in ((0,) if shared else (0, 1)):
                tastes = rng.normal(0, 1, (2, 200))
            runs = rng.normal(0, 0.1, (2, 4, 1))
            sides = [tastes[side] + runs[side] + rng.normal(0, 1, (4, 200)) > 0 for side in (0, 1)]
            name = f"{repeat % 5}"
            pool_of.append(PairOnImages(*sides, name if shared or cell == 0 else f"other {name}"))
        pools.append(pool_of)
    covered = sum(low <= 0 <= high for low, high in images_and_seeds_intervals(pools))
    least, most = stats.binom.ppf([1e-3, 1 - 1e-3], repeats, [0.93, 0.975])
    assert least <= covered <= most


def test_its_middle_is_the_estimate():
    rng = np.random.default_rng(4)
    pairs = [(predictions(rng, 0.3), predictions(rng, 0.0)) for _ in range(3)]
    ((low, high),) = images_and_seeds_intervals([[PairOnImages(*pair, i) for i, pair in enumerate(pairs)]])
    mean = fmean(100 * (own.mean() - other.mean()) for own, other in pairs)
    assert (low + high) / 2 == pytest.approx(mean, abs=0.1 * (high - low))


def test_pools_without_pairs_and_images_that_do_not_fit_are_refused():
    three, four = np.ones((3, 9), bool), np.ones((3, 8), bool)
    with pytest.raises(ValueError, match="no pairs"):
        images_and_seeds_intervals([[]])
    with pytest.raises(ValueError, match="different images"):
        images_and_seeds_intervals([[PairOnImages(three, three, "a"), PairOnImages(four, four, "a")]])
