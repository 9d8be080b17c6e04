"""A running sweep in lines for a pipe: how far each unit is by what its folder holds, and what is left."""

from pathlib import Path

import pytest
import run_results

from lrelu_bench.checkpoint_header import MAGIC, About
from lrelu_bench.report.progress import SteadyConsole
from lrelu_bench.report.sweep_progress import SweepView
from lrelu_bench.sweep.task import Outcome, Task

NAME = "imagewoof-v1-128px-5ep-xresnet18-{}-course-2019-a974ec2c"
LABELS = {NAME.format(name): name for name in ("relu", "learned_relu_v3")}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


def task(root: Path, activation: str = "relu", seed: int = 0) -> Task:
    return Task(NAME.format(activation), seed, "", "c.yaml", str(root), "0123456789abcdef")


def put(task: Task, epochs_done: int, step: int = 0, speed: float | None = None) -> None:
    """What its process leaves after so many of 5 epochs, and steps of the next: 12,800 images, batch 128."""
    folder = run_results.save(
        Path(task.output),
        run_results.run(
            experiment=task.experiment,
            seed=task.seed,
            status="running",
            epochs=5,
            epochs_done=epochs_done,
            train_images=12_800,
            batch_size=128,
            images_per_second=speed,
            finished=None,
        ),
    )
    about = About(1, epochs_done, step, {})
    (folder / "checkpoint-a.ckpt").write_bytes(MAGIC + b"0" * 64 + b"\n" + about.packed())


def wait(view: SweepView, clock: Clock, seconds: int) -> None:
    """As a driver does, at wider steps."""
    for _ in range(0, seconds, 5):
        clock.now += 5
        view.tick()


def test_lines_say_how_far_each_unit_is_and_come_when_something_has_changed(capsys, clock, tmp_path) -> None:
    view = SweepView(SteadyConsole(), 4, None, LABELS)
    relu, learned = task(tmp_path), task(tmp_path, "learned_relu_v3")
    for one in (relu, learned):
        view.started(one)
    wait(view, clock, 300)
    put(relu, 0, 30)
    wait(view, clock, 100)
    put(learned, 0, 40)
    wait(view, clock, 1100)
    put(relu, 1, 50, 12.6)
    wait(view, clock, 60)
    assert capsys.readouterr().out == (
        "0 of 4 done, 2 running, 1 min 0 s so far: relu seed 0 (begun), learned_relu_v3 seed 0 (begun)\n"
        "0 of 4 done, 2 running, 5 min 5 s so far, about 2 h 44 min left: "
        "relu seed 0 (epoch 1/5, 30 % saved, 12.6 img/s), learned_relu_v3 seed 0 (begun)\n"
        "0 of 4 done, 2 running, 6 min 45 s so far, about 2 h 42 min left: "
        "relu seed 0 (epoch 1/5, 30 % saved, 12.6 img/s), "
        "learned_relu_v3 seed 0 (epoch 1/5, 40 % saved, 12.6 img/s)\n"
        "0 of 4 done, 2 running, 16 min 45 s so far, about 2 h 32 min left: "
        "relu seed 0 (epoch 1/5, 30 % saved, 12.6 img/s), "
        "learned_relu_v3 seed 0 (epoch 1/5, 40 % saved, 12.6 img/s)\n"
        "0 of 4 done, 2 running, 25 min 5 s so far, about 2 h 22 min left: "
        "relu seed 0 (epoch 2/5, 50 % saved, 12.6 img/s), "
        "learned_relu_v3 seed 0 (epoch 1/5, 40 % saved, 12.6 img/s)\n"
    )


def test_what_a_unit_had_behind_it_when_it_was_started_counts_for_no_speed(clock, tmp_path) -> None:
    view = SweepView(SteadyConsole(), 2)
    begun = task(tmp_path)
    put(begun, 2)
    view.started(begun)
    wait(view, clock, 10)
    assert view.seconds_left() is None
    put(begun, 2, 50)
    wait(view, clock, 5)
    # Half an epoch in 15 s: 2.5 epochs more of it, and 5 of the other.
    assert view.seconds_left() == pytest.approx(75 + 150)
    clock.now += 75
    view.ended(begun, Outcome("complete", 90.0), False)
    assert view.seconds_left() == pytest.approx(150)


def test_the_last_unit_is_not_shared_by_places_that_stand_empty(clock, tmp_path) -> None:
    view = SweepView(SteadyConsole(), 2)
    first, last = task(tmp_path), task(tmp_path, seed=1)
    for one in (first, last):
        view.started(one)
    clock.now += 10
    view.ended(first, Outcome("complete", 100.0), False)
    assert view.seconds_left() == pytest.approx(90)


def test_a_unit_that_diverged_says_nothing_of_what_a_whole_one_takes(clock, tmp_path) -> None:
    view = SweepView(SteadyConsole(), 2)
    view.started(task(tmp_path))
    view.ended(task(tmp_path), Outcome("diverged", 3.0), False)
    assert view.seconds_left() is None


def test_nothing_is_said_where_nothing_runs(capsys, clock) -> None:
    view = SweepView(SteadyConsole(), 1)
    wait(view, clock, 120)
    assert capsys.readouterr().out == ""
