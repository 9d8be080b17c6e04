"""Learning rate and momentum, against values computed by hand and fastai's own schedules."""

from math import cos, pi

import pytest

from lrelu_bench.protocols import PROTOCOLS
from lrelu_bench.training.schedules import flat_cos, one_cycle

STEPS = 485


def recipe(protocol):
    return PROTOCOLS[protocol]("imagewoof", 128, 5)


def test_one_cycle_of_the_2019_board_by_hand():
    board = recipe("leaderboard-2019")
    rising = 145  # int(485 * 0.3)
    assert one_cycle(board, 0, STEPS) == pytest.approx((1.5e-4, 0.95))
    assert one_cycle(board, rising, STEPS) == pytest.approx((1.5e-3, 0.85))
    assert one_cycle(board, 58, STEPS)[0] == pytest.approx(
        1.5e-3 + (1.5e-4 - 1.5e-3) / 2 * (1 + cos(pi * 0.4))
    )
    assert one_cycle(board, rising + 170, STEPS) == pytest.approx(((1.5e-3 + 1.5e-8) / 2, 0.90))
    lr, momentum = one_cycle(board, STEPS - 1, STEPS)
    assert 1.5e-8 < lr < 1e-6
    assert momentum == pytest.approx(0.95, abs=1e-4)


def test_the_course_peaks_in_the_middle():
    course = recipe("course-2019")
    assert one_cycle(course, 0, 100) == pytest.approx((1e-3, 0.95))
    assert one_cycle(course, 50, 100) == pytest.approx((1e-2, 0.85))
    assert one_cycle(course, 25, 100) == pytest.approx((5.5e-3, 0.90))
    assert one_cycle(course, 75, 100) == pytest.approx(((1e-2 + 1e-7) / 2, 0.90))


def test_the_courses_mnist_rises_from_a_fifth_and_ends_at_a_tenth():
    course = recipe("course-mnist")
    expected = {0: 0.2, 25: 0.6, 50: 1.0, 75: 0.55}
    assert {step: one_cycle(course, step, 100) for step in expected} == {
        step: (pytest.approx(lr), 0.0) for step, lr in expected.items()
    }
    assert one_cycle(course, 99, 100)[0] == pytest.approx(0.1, abs=1e-3)


def test_flat_cos_of_the_2020_board_by_hand():
    board = recipe("leaderboard-2020")
    assert {flat_cos(board, step, 400) for step in (0, 100, 299, 300)} == {(8e-3, 0.95)}
    assert flat_cos(board, 350, 400) == pytest.approx(((8e-3 + 8e-8) / 2, 0.95))
    assert flat_cos(board, 399, 400)[0] == pytest.approx(8e-8 + 8e-3 / 2 * (1 - cos(pi * 0.01)), rel=1e-2)


def test_schedules_equal_fastais():
    schedule = pytest.importorskip("fastai.callback.schedule", reason="needs fastai (the test extra)")
    flat = schedule.combined_cos(0.75, 8e-3, 8e-3, 8e-3 / 1e5)
    cycle = schedule.combined_cos(0.5, 1e-3, 1e-2, 1e-7)
    momentum = schedule.combined_cos(0.5, 0.95, 0.85, 0.95)
    for step in range(400):
        # fastai computes in float32.
        assert flat_cos(recipe("leaderboard-2020"), step, 400)[0] == pytest.approx(flat(step / 400), rel=1e-5)
        expected = cycle(step / 400), momentum(step / 400)
        assert one_cycle(recipe("course-2019"), step, 400) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_runs_have_a_schedule(steps):
    for step in range(steps):
        assert 0 < one_cycle(recipe("leaderboard-2019"), step, steps)[0] <= 1.5e-3
        assert 0 < flat_cos(recipe("leaderboard-2020"), step, steps)[0] <= 8e-3
