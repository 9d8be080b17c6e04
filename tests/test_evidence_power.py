"""What can be detected, against Welch's test on simulated runs and against the noncentral t distribution."""

import numpy as np
import pytest
from scipy import stats

from lrelu_bench.evidence.power import detectable, power, runs_needed

DESIGNS = [
    ((1.0, 1.0), (3, 3)),
    ((4.0, 1.0), (3, 3)),
    ((1.0, 0.0), (3, 3)),
    ((1.0, 1.0), (3, 5)),
    ((4.0, 1.0), (3, 10)),
    ((1.0, 4.0), (3, 10)),
    ((1.0, 1.0), (5, 5)),
    ((9.0, 1.0), (10, 5)),
    ((1.0, 1.0), (30, 30)),
]
LEVELS = [0.05, 0.05 / 6]


@pytest.mark.parametrize("alpha", LEVELS)
@pytest.mark.parametrize(("variances", "runs"), DESIGNS)
def test_what_is_called_detectable_is_found_in_80_percent(variances, runs, alpha):
    points = detectable(variances, runs, alpha)
    rng, repeats = np.random.default_rng(0), 20_000
    variant, baseline = (
        rng.normal(mean, variance**0.5, (repeats, n))
        for mean, variance, n in zip((points, 0), variances, runs, strict=True)
    )
    test = stats.ttest_ind(variant, baseline, axis=1, equal_var=False)
    found = ((test.pvalue <= alpha) & (test.statistic > 0)).sum()
    low, high = stats.binom.ppf([1e-4, 1 - 1e-4], repeats, 0.8)
    # Quadrature is good to half a percent of power.
    assert low - 0.005 * repeats <= found <= high + 0.005 * repeats


@pytest.mark.parametrize("points", [0.5, 1, 2, 5])
@pytest.mark.parametrize("runs", [(3, 3), (5, 5), (4, 12)])
def test_with_spread_on_one_side_alone_it_is_the_noncentral_t(points, runs):
    # Then Welch's degrees are known, and textbooks have the answer.
    degrees = runs[0] - 1
    needed = stats.t.ppf(0.975, degrees)
    expected = stats.nct.sf(needed, degrees, points / (1 / runs[0]) ** 0.5)
    assert power(points, (1.0, 0.0), runs, 0.05) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("alpha", LEVELS)
@pytest.mark.parametrize("n", range(3, 31, 3))
def test_degrees_taken_as_known_promise_too_much(n, alpha):
    degrees = 2 * n - 2
    needed = stats.t.ppf(1 - alpha / 2, degrees)
    points = detectable((1.0, 1.0), (n, n), alpha)
    known = stats.nct.sf(needed, degrees, points / (2 / n) ** 0.5)
    assert known > 0.8
    if n == 3 and alpha == 0.05:
        assert power(3.035, (1.0, 1.0), (3, 3), alpha) == pytest.approx(0.69, abs=0.005)
    if n >= 15:
        assert known == pytest.approx(0.8, abs=0.02)


def test_scale_and_sides_do_not_matter():
    points = detectable((9.0, 4.0), (3, 7), 0.05)
    assert detectable((4.0, 9.0), (7, 3), 0.05) == pytest.approx(points, rel=1e-3)
    assert detectable((36.0, 16.0), (3, 7), 0.05) == pytest.approx(2 * points, rel=1e-3)


@pytest.mark.parametrize("variances", [(1.0, 1.0), (0.2, 3.0), (0.0, 2.0)])
@pytest.mark.parametrize("points", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("alpha", LEVELS)
def test_the_runs_needed_are_the_fewest(variances, points, alpha):
    n = runs_needed(variances, points, alpha)
    assert power(points, variances, (n, n), alpha) >= 0.8
    assert n == 2 or power(points, variances, (n - 1, n - 1), alpha) < 0.8


def test_the_textbooks_seventeen_runs_for_a_difference_of_one_deviation():
    assert runs_needed((1.0, 1.0), 1, 0.05) == 17


def test_more_runs_than_anybody_trains_are_not_counted():
    assert runs_needed((1.0, 1.0), 0.01, 0.05) is None


def test_nothing_is_promised_without_spread_or_runs():
    with pytest.raises(ValueError, match="spread"):
        detectable((0.0, 0.0), (3, 3), 0.05)
    with pytest.raises(ValueError, match="two runs"):
        power(1, (1.0, 1.0), (1, 3), 0.05)
