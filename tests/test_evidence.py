"""Mean and interval against scipy's own."""

import math

import pytest
from scipy import stats

from lrelu_bench.evidence.summaries import binomial_error, summarize


@pytest.mark.parametrize("accuracies", [[54.0, 55.0], [54.0, 55.0, 53.6], [71.0, 70.2, 72.4, 70.9, 71.3]])
def test_the_interval_is_scipys(accuracies):
    summary = summarize(accuracies)
    low, high = stats.t.interval(0.95, len(accuracies) - 1, loc=summary.mean, scale=stats.sem(accuracies))
    assert summary.mean - summary.half_width == pytest.approx(low)
    assert summary.mean + summary.half_width == pytest.approx(high)
    assert summary.sd == pytest.approx(stats.tstd(accuracies))


def test_one_run_has_a_mean_and_nothing_else():
    summary = summarize([56.4])
    assert (summary.n, summary.mean, summary.sd, summary.half_width) == (1, 56.4, None, None)


def test_equal_runs_have_an_interval_of_zero():
    assert summarize([0.5, 0.5, 0.5]).half_width == 0


def test_no_runs_are_no_summary():
    with pytest.raises(ValueError, match="no accuracies"):
        summarize([])


def test_what_the_validation_set_alone_leaves_open():
    assert binomial_error(0.75, 500) == pytest.approx(math.sqrt(0.75 * 0.25 / 500))
    assert binomial_error(1.0, 500) == 0
