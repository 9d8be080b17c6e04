"""The word on every kind of comparison, and by simulation how often it errs and how often it finds."""

import numpy as np
import pytest
from scipy import stats

from lrelu_bench.evidence.differences import ALPHA, difference
from lrelu_bench.evidence.power import detectable
from lrelu_bench.evidence.verdicts import Sides, judge, not_comparable

BASE = (54.0, 54.6, 53.8, 54.4, 54.2)
HIGH = tuple(one + 3 for one in BASE)
LOW = tuple(one - 3 for one in BASE)
NEAR = (54.8, 55.2, 54.4, 54.9, 54.6)
TINY = tuple(one / 100 for one in BASE)


def verdict(*sides, **diverged):
    (found,) = judge([Sides(*sides, **diverged)])
    return found


# Words and reasons


@pytest.mark.parametrize(
    ("variant", "baseline", "words"),
    [
        (HIGH, BASE, "better (p < 0.001)"),
        (LOW, BASE, "worse (p < 0.001)"),
        (NEAR, BASE, "better (p = 0.018)"),
        (BASE, BASE, "no detectable difference (can detect >= 0.7 points)"),
        (TINY, TINY, "no detectable difference (can detect >= 0.01 points)"),
        ((10.0,) * 3, BASE, "worse (p < 0.001)"),
        (BASE, (10.0,) * 3, "better (p < 0.001)"),
        (
            (55.0,) * 3,
            (54.0,) * 3,
            "not comparable (no spread: the runs of each side are equal)",
        ),
    ],
)
def test_the_word_and_its_reason(variant, baseline, words):
    assert verdict(variant, baseline).in_words == words


@pytest.mark.parametrize(
    ("variant", "baseline", "missing"),
    [
        ((), (), "3 more of its own and 3 more of the baseline"),
        ((55.0,), (54.0,), "2 more of its own and 2 more of the baseline"),
        ((55.0, 55.0), (54.0, 54.0), "1 more of its own and 1 more of the baseline"),
        (
            (55.0,),
            BASE,
            "2 more of its own, then can detect >= 1.0 points by the spread so far, 1 point with 4 of each",
        ),
        (
            BASE,
            (55.0, 57.0),
            "1 more of the baseline, then can detect >= 4.6 points by the spread so far, "
            "1 point with 19 of each",
        ),
        ((), TINY, "3 more of its own, then can detect >= 0.01 points by the spread so far"),
    ],
)
def test_too_few_runs_say_how_many_more_and_what_they_will_find(variant, baseline, missing):
    assert verdict(variant, baseline).in_words == f"too few runs (needs {missing})"


@pytest.mark.parametrize(
    ("variant", "baseline", "gone", "words"),
    [
        (
            HIGH,
            BASE,
            (1, 0),
            "not comparable (1 of 6 runs diverged; among the others it is ahead, p < 0.001)",
        ),
        (HIGH, BASE, (0, 2), "better (p < 0.001; 2 of 7 baseline runs diverged)"),
        (LOW, BASE, (2, 0), "worse (p < 0.001; 2 of 7 runs diverged)"),
        (
            LOW,
            BASE,
            (0, 1),
            "not comparable (1 of 6 baseline runs diverged; "
            "among the others the baseline is ahead, p < 0.001)",
        ),
        (
            HIGH,
            BASE,
            (1, 1),
            "not comparable (1 of 6 runs diverged and 1 of 6 baseline runs diverged; "
            "among the others it is ahead, p < 0.001)",
        ),
        (
            BASE,
            BASE,
            (1, 0),
            "no detectable difference (can detect >= 0.7 points; 1 of 6 runs diverged)",
        ),
        ((), BASE, (3, 0), "not comparable (all 3 runs diverged)"),
        (BASE, (), (0, 5), "not comparable (all 5 baseline runs diverged)"),
        (
            (),
            TINY,
            (2, 0),
            "too few runs (needs 3 more of its own, then can detect >= 0.01 points by the spread so far; "
            "2 of 2 runs diverged)",
        ),
    ],
)
def test_a_side_with_diverged_runs_never_wins_and_they_are_always_named(variant, baseline, gone, words):
    found = verdict(variant, baseline, variant_diverged=gone[0], baseline_diverged=gone[1])
    assert found.in_words == words


@pytest.mark.parametrize("gone", [(0, 0), (1, 0), (0, 1), (2, 1)])
@pytest.mark.parametrize("variant", [HIGH, LOW, BASE, (54.9, 55.3, 54.5)])
def test_worse_is_better_seen_from_the_other_side(variant, gone):
    one = verdict(variant, BASE, variant_diverged=gone[0], baseline_diverged=gone[1])
    other = verdict(BASE, variant, variant_diverged=gone[1], baseline_diverged=gone[0])
    mirrored = {"better": "worse", "worse": "better"}
    assert other.word == mirrored.get(one.word, one.word)
    assert other.p_adjusted == pytest.approx(one.p_adjusted)
    assert other.difference.mean == pytest.approx(-one.difference.mean)
    assert other.difference.superiority == pytest.approx(1 - one.difference.superiority)


def test_two_runs_of_each_side_have_a_difference_but_no_verdict():
    found = verdict((55.0, 56.0), (54.0, 54.6))
    assert (found.word, found.p_adjusted, found.comparisons) == ("too few runs", None, 0)
    assert found.difference == difference((55.0, 56.0), (54.0, 54.6))


def test_what_was_not_tested_counts_for_no_correction():
    family = [Sides((55.0,), BASE), Sides(HIGH, BASE), Sides((55.0,) * 3, (54.0,) * 3), Sides(LOW, BASE)]
    found = judge(family)
    assert [one.word for one in found] == ["too few runs", "better", "not comparable", "worse"]
    assert [one.comparisons for one in found] == [0, 2, 0, 2]
    assert judge([]) == []
    assert not_comparable("why").comparisons == 0


def test_more_comparisons_ask_for_more():
    assert verdict(NEAR, BASE).word == "better"
    found = judge([Sides(NEAR, BASE), *[Sides(BASE, BASE)] * 3])
    assert found[0].in_words == "no detectable difference (can detect >= 0.9 points)"
    assert found[0].p_adjusted == pytest.approx(4 * found[0].difference.p_welch)


def test_the_order_of_comparisons_does_not_matter():
    family = [
        Sides(HIGH, BASE),
        Sides(BASE, BASE),
        Sides(LOW, BASE, 1),
        Sides((55.0,), BASE),
        Sides(BASE, BASE),
    ]
    assert judge(family[::-1]) == judge(family)[::-1]


def test_a_diverged_run_loses_to_every_run_that_finished():
    assert verdict(BASE, LOW, variant_diverged=5).difference.superiority == pytest.approx(0.5)
    assert verdict(BASE, LOW, 5, 5).difference.superiority == pytest.approx((25 + 25 + 12.5) / 100)


def test_a_thousand_runs_are_judged_without_permutations():
    rng = np.random.default_rng(0)
    found = verdict(tuple(rng.normal(54.1, 1, 1000).tolist()), tuple(rng.normal(54, 1, 1000).tolist()))
    assert found.difference.p_permutation is None
    assert found.word == "no detectable difference"
    assert found.reason == "can detect >= 0.2 points"


# How often it errs


def normal(rng, n):
    return tuple(rng.normal(54, 1, n).tolist())


def counted(rng, n):
    """Shares of 500 images, of runs that differ in how good they are."""
    chance = 1 / (1 + np.exp(-rng.normal(0.2, 0.05, n)))
    return tuple((rng.binomial(500, chance) / 5).tolist())


REPEATS = {1: 1500, 3: 600, 6: 300}


@pytest.mark.parametrize("draw", [normal, counted])
@pytest.mark.parametrize("n", [3, 5])
@pytest.mark.parametrize("comparisons", [1, 3, 6])
def test_under_the_null_any_false_verdict_comes_in_5_percent_of_reports_at_most(comparisons, n, draw):
    rng, repeats, false = np.random.default_rng([comparisons, n]), REPEATS[comparisons], 0
    for _ in range(repeats):
        baseline = draw(rng, n)
        found = judge([Sides(draw(rng, n), baseline) for _ in range(comparisons)])
        false += any(one.word in ("better", "worse") for one in found)
    assert false <= stats.binom.ppf(1 - 1e-3, repeats, ALPHA)
    if comparisons == 1 and n == 5:
        # Welch's test is a little careful with few runs, but must use most of its 5 %.
        assert false >= stats.binom.ppf(1e-3, repeats, 0.8 * ALPHA)


@pytest.mark.parametrize(
    ("n", "m", "spread", "least", "most"),
    [
        (3, 3, 1, 0.030, 0.040),
        (5, 5, 1, 0.040, 0.050),
        (3, 5, 1, 0.040, 0.050),
        (5, 10, 1, 0.045, 0.055),
        (3, 10, 1, 0.060, 0.070),
        (3, 10, 2, 0.065, 0.080),
    ],
)
def test_how_near_welch_comes_to_5_percent(n, m, spread, least, most):
    """What README.md says of uneven numbers of runs; the package's test is this one, as others show."""
    rng, repeats = np.random.default_rng(1), 100_000
    variant, baseline = rng.normal(0, spread, (repeats, n)), rng.normal(0, 1, (repeats, m))
    false = (stats.ttest_ind(variant, baseline, axis=1, equal_var=False).pvalue <= ALPHA).mean()
    assert least < false < most


@pytest.mark.parametrize("comparisons", [1, 3])
@pytest.mark.parametrize("n", [3, 5])
def test_a_difference_called_detectable_is_called_better_in_80_percent(n, comparisons):
    rng, repeats, found = np.random.default_rng(n), 1000 // comparisons, 0
    points = detectable((1.0, 1.0), (n, n), ALPHA / comparisons)
    for _ in range(repeats):
        baseline = normal(rng, n)
        planted = tuple(one + points for one in normal(rng, n))
        others = [Sides(normal(rng, n), baseline) for _ in range(comparisons - 1)]
        found += judge([Sides(planted, baseline), *others])[0].word == "better"
    low, high = stats.binom.ppf([1e-3, 1 - 1e-3], repeats, 0.8)
    assert found >= low
    # More only where Holm's later steps ask for less.
    assert comparisons > 1 or found <= high
