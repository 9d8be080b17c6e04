"""Student's t, Welch's test, the exact permutation test, superiority and Holm's correction against scipy."""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from lrelu_bench.evidence import student_t
from lrelu_bench.evidence.differences import difference, permutation_p, superiority
from lrelu_bench.evidence.verdicts import holm

DEGREES = [0.7, 1, 1.3, 2, 2.87, 4, 7.5, 30, 123.4, 1000, 1e4]


@pytest.mark.parametrize("degrees", DEGREES)
@pytest.mark.parametrize("t", [0, 1e-9, 0.01, 0.7, 1, 1.96, 2.5, 6, 40, 1e3, 1e8, 1e100])
def test_p_is_scipys(t, degrees):
    expected = 2 * stats.t.sf(t, degrees)
    assert student_t.two_sided_p(t, degrees) == pytest.approx(expected, rel=1e-9, abs=1e-250)
    assert student_t.two_sided_p(-t, degrees) == student_t.two_sided_p(t, degrees)


@pytest.mark.parametrize("degrees", DEGREES)
@pytest.mark.parametrize("share", [0.5, 0.51, 0.8, 0.9, 0.975, 1 - 0.025 / 6, 1 - 1e-4, 1 - 1e-10])
def test_the_quantile_is_scipys(share, degrees):
    expected = stats.t.isf(1 - share, degrees)
    assert student_t.quantile(share, degrees) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_infinite_t_has_no_p_and_other_shares_no_quantile():
    assert student_t.two_sided_p(-math.inf, 3) == 0
    for share in (0.3, 1.0):
        with pytest.raises(ValueError, match="share"):
            student_t.quantile(share, 3)


def sides(rng, n, m, spread):
    # Accuracies of 500 images, so that ties come up.
    variant = np.round(5 * rng.normal(55, spread, n)) / 5
    return variant.tolist(), (np.round(5 * rng.normal(54, 1, m)) / 5).tolist()


SIZES = [(2, 2), (2, 9), (3, 3), (3, 5), (5, 3), (5, 5), (10, 4)]


@pytest.mark.parametrize("spread", [0.7, 5])
@pytest.mark.parametrize(("n", "m"), [*SIZES, (40, 60)])
def test_welch_is_scipys(n, m, spread):
    variant, baseline = sides(np.random.default_rng(n + 100 * m), n, m, spread)
    found = difference(variant, baseline)
    expected = stats.ttest_ind(variant, baseline, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.mean == pytest.approx(np.mean(variant) - np.mean(baseline))
    assert found.p_welch == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.mean - found.half_width == pytest.approx(interval.low, rel=1e-9)
    assert found.mean + found.half_width == pytest.approx(interval.high, rel=1e-9)


def test_one_side_without_spread_is_still_welch():
    found = difference([10.0] * 3, [54.0, 55.0, 53.6])
    # What the other side alone says of a difference from 10.
    assert found.p_welch == pytest.approx(stats.ttest_1samp([54.0, 55.0, 53.6], 10).pvalue)


@pytest.mark.parametrize(("variant", "baseline"), [([1.0], [1.0, 2.0]), ([], [1.0, 2.0]), ([1.0, 1.0],) * 2])
def test_what_has_no_spread_has_no_test(variant, baseline):
    with pytest.raises(ValueError, match=r"two runs|spread"):
        difference(variant, baseline)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n", "m"), SIZES)
def test_the_permutation_test_is_scipys_exact_one(n, m, seed):
    variant, baseline = sides(np.random.default_rng(seed), n, m, 1)

    def apart(one, other, axis):
        # Rounded as scipy, too, must take a mean for equal in whatever order it was summed.
        return np.round(abs(np.mean(one, axis=axis) - np.mean(other, axis=axis)), 9)

    expected = stats.permutation_test(
        (variant, baseline), apart, n_resamples=np.inf, alternative="greater", vectorized=True
    )
    assert permutation_p(variant, baseline) == pytest.approx(expected.pvalue, abs=1e-12)


def test_three_against_three_never_get_below_a_tenth():
    assert permutation_p([90, 91, 92], [1, 2, 3]) == pytest.approx(0.1)


def test_equal_runs_permute_to_one_and_too_many_not_at_all():
    assert permutation_p([54.2] * 4, [54.2] * 3) == 1
    assert permutation_p([*range(9)], [*range(9)]) is None


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_superiority_is_mann_whitneys_u_over_the_pairs(n, m):
    variant, baseline = sides(np.random.default_rng(n), n, m, 1)
    u = stats.mannwhitneyu(variant, baseline).statistic
    assert superiority(variant, baseline) == pytest.approx(u / (n * m))
    assert superiority(variant, baseline) + superiority(baseline, variant) == pytest.approx(1)


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([], []),
        ([0.03], [0.03]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.01, 0.01, 0.5], [0.03, 0.03, 0.5]),
        ([0.9, 0.6, 0.4], [1.0, 1.0, 1.0]),
        ([0.02, 0.02, 0.02, 0.02], [0.08] * 4),
        ([0.04, 0.011, 0.012, 0.013], [0.044, 0.044, 0.044, 0.044]),
    ],
)
def test_holm_by_hand(p_values, adjusted):
    assert holm(p_values) == pytest.approx(adjusted)


def test_holm_rejects_what_its_own_procedure_rejects_in_any_order():
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = np.round(rng.uniform(0, 0.06, 6), 2).tolist()
        rejected = set()
        for rank, index in enumerate(sorted(range(6), key=p.__getitem__)):
            if p[index] > 0.05 / (6 - rank):
                break
            rejected.add(index)
        # Those that tie stand or fall together.
        assert {i for i, one in enumerate(holm(p)) if one <= 0.05 + 1e-12} == rejected
        order = rng.permutation(6)
        assert holm([p[i] for i in order]) == [holm(p)[i] for i in order]


@pytest.mark.parametrize(
    "module", ["bootstrap", "differences", "power", "student_t", "summaries", "verdicts"]
)
def test_statistics_know_nothing_of_torch_scipy_pandas_or_reports(module):
    code = f"""
import sys
import lrelu_bench.evidence.{module}
for name in ("torch", "scipy", "pandas", "lrelu_bench.report"):
    assert name not in sys.modules, name
"""
    subprocess.run([sys.executable, "-c", code], check=True)
