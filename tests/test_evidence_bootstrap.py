"""The interval over images and seeds: its coverage on simulated predictions, and what Welch's leaves out."""

import numpy as np
import pytest
from scipy import stats

from lrelu_bench.evidence import bootstrap
from lrelu_bench.evidence.bootstrap import PairOnImages
from lrelu_bench.evidence.differences import difference

REPEATS = 600


def images_and_seeds_intervals(pairs):
    """Of each pair alone, all of them on the same images."""
    return bootstrap.images_and_seeds_intervals([[PairOnImages(*pair, images="all")] for pair in pairs])


def predictions(rng, runs, means, images=500, seeds=0.05, taste=0.5):
    """Of both sides, whether each run is right on each image, by a threshold on a sum of normal effects.

    Images differ in difficulty, for both sides alike; `taste` is the deviation of what an image is to one
    side alone, `seeds` that of a run on all images.
    """
    difficulty = rng.normal(0, 1.5, images)
    return tuple(
        mean
        + difficulty
        + rng.normal(0, taste, images)
        + rng.normal(0, seeds, (n, 1))
        + rng.normal(0, 1, (n, images))
        > 0
        for n, mean in zip(runs, means, strict=True)
    )


def expected(means, seeds=0.05, taste=0.5):
    """The difference over all images and seeds there are, percentage points."""
    scale = (1.5**2 + taste**2 + seeds**2 + 1) ** 0.5
    return 100 * float(np.diff(stats.norm.cdf(np.array(means[::-1]) / scale))[0])


SETTINGS = [
    {"seeds": 0.0, "taste": 0.0},
    {"seeds": 0.05, "taste": 0.5},
    {"seeds": 0.2, "taste": 0.3},
    {"seeds": 0.0, "taste": 1.0},
]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("runs", [(3, 3), (5, 5), (10, 10), (3, 10)], ids=str)
def test_it_covers_the_expected_difference(runs, setting):
    rng, means = np.random.default_rng(11), (0.4, 0.2)
    intervals = images_and_seeds_intervals([predictions(rng, runs, means, **setting) for _ in range(REPEATS)])
    truth = expected(means, **setting)
    covered = sum(low <= truth <= high for low, high in intervals)
    # Nominal 95 %; approximate by what 3 runs say of their own spread: from 93 to 97.5 %.
    least, most = stats.binom.ppf([1e-3, 1 - 1e-3], REPEATS, [0.93, 0.975])
    assert least <= covered <= most


def welch(pair):
    accuracies = [(100 * side.mean(1)).tolist() for side in pair]
    found = difference(*accuracies)
    return found.mean - found.half_width, found.mean + found.half_width


def test_welch_answers_for_these_images_alone():
    rng, setting = np.random.default_rng(3), {"seeds": 0.0, "taste": 1.0}
    pairs = [predictions(rng, (10, 10), (0.2, 0.2), **setting) for _ in range(200)]
    covered = sum(low <= 0 <= high for low, high in map(welch, pairs))
    assert covered < stats.binom.ppf(1e-6, 200, 0.95)


def width(interval):
    return interval[1] - interval[0]


def test_fewer_images_widen_it_and_where_images_do_not_matter_it_is_welchs():
    rng = np.random.default_rng(4)
    means = []
    for images in (250, 1000, 4000):
        pairs = [predictions(rng, (10, 10), (0.2, 0.2), images, 0.0, 1.0) for _ in range(20)]
        means.append(np.mean([*map(width, images_and_seeds_intervals(pairs))]))
    assert means[0] / means[1] == pytest.approx(2, rel=0.1)
    assert means[1] / means[2] == pytest.approx(2, rel=0.1)
    alike = [predictions(rng, (10, 10), (0.2, 0.2), taste=0.0) for _ in range(20)]
    found = images_and_seeds_intervals(alike)
    widths = [width(one) / width(welch(pair)) for one, pair in zip(found, alike, strict=True)]
    assert np.mean(widths) == pytest.approx(1, abs=0.1)


def test_it_is_the_same_every_time_alone_or_among_others_and_turns_with_the_sides():
    rng = np.random.default_rng(5)
    pairs = [predictions(rng, (3, 5), (0.3, 0.2)) for _ in range(3)]
    together = images_and_seeds_intervals(pairs)
    assert images_and_seeds_intervals(pairs) == together
    assert np.array(images_and_seeds_intervals(pairs[::-1])[::-1]) == pytest.approx(
        np.array(together), abs=1e-3
    )
    assert images_and_seeds_intervals(pairs[:1])[0] == pytest.approx(together[0], abs=1e-3)
    for (low, high), (other_low, other_high) in zip(
        together, images_and_seeds_intervals([pair[::-1] for pair in pairs]), strict=True
    ):
        # Other draws of the runs: equal but for the Monte Carlo error.
        assert (low, high) == pytest.approx((-other_high, -other_low), abs=0.1 * (high - low))


def test_a_side_that_is_always_right_and_equal_runs_have_an_interval():
    perfect, half = np.ones((3, 400), bool), np.tile(np.arange(400) % 2 == 0, (3, 1))
    ((low, high),) = images_and_seeds_intervals([(perfect, half)])
    assert low == pytest.approx(50 - 1.96 * 2.5, abs=0.5)
    assert high == pytest.approx(50 + 1.96 * 2.5, abs=0.5)
    assert images_and_seeds_intervals([(perfect, perfect)]) == [(0, 0)]
    assert images_and_seeds_intervals([(perfect[:, :1], perfect[:, :1])]) == [(0, 0)]


def test_no_pairs_have_no_intervals():
    assert images_and_seeds_intervals([]) == []


@pytest.mark.parametrize(
    ("shapes", "message"), [(((1, 9), (3, 9)), "two runs"), (((3, 9), (3, 8)), "images")]
)
def test_what_cannot_be_paired_is_refused(shapes, message):
    with pytest.raises(ValueError, match=message):
        images_and_seeds_intervals([tuple(np.ones(shape, bool) for shape in shapes)])
