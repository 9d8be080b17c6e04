"""The driver with an engine that trains nothing: what is tried again, what stops the rest, what is noted."""

import signal

import pytest

from lrelu_bench.report.progress import SteadyConsole
from lrelu_bench.report.sweep_progress import SweepView, failures, render_swept, spell
from lrelu_bench.stopping import Stop
from lrelu_bench.sweep.driver import Swept, drive
from lrelu_bench.sweep.engines.base import Engine
from lrelu_bench.sweep.session import Policy, run_sweep
from lrelu_bench.sweep.task import Outcome, Task


def task(seed, experiment="woof"):
    return Task(experiment, seed, "", f"/r/.sweep/configs/{experiment}.yaml", "/r", "0123456789abcdef")


class Scripted(Engine):
    """Ends each task at once, as its script says: outcomes by seed, the last one over again."""

    def __init__(self, script=None, capacity=2, on_submit=None):
        self.script, self.capacity, self.on_submit = script or {}, capacity, on_submit
        self.submitted, self.stops, self.most = [], 0, 0
        self._inside = []

    def submit(self, task):
        self.submitted.append(task.seed)
        self._inside.append(task)
        self.most = max(self.most, len(self._inside))
        if self.on_submit:
            self.on_submit(task)

    def ended(self, seconds):
        inside, self._inside = self._inside, []
        if self.stops:
            return [(task, Outcome("stopped", 1.0)) for task in inside]
        return [(task, self._outcome(task.seed)) for task in inside]

    def _outcome(self, seed):
        outcomes = self.script.get(seed, ["complete"])
        status = outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]
        if status in ("crashed", "mendable"):
            return Outcome("failed", 1.0, "here", f"it {status}", status == "crashed")
        return Outcome(status, 1.0, "here")

    def stop(self):
        self.stops += 1


class Unseen:
    def started(self, task):
        pass

    def ended(self, task, outcome, again):
        pass

    def tick(self):
        pass


def swept(engine, count=4, stop=None, **how):
    return drive([task(seed) for seed in range(count)], engine, Unseen(), stop or Stop(), **how)


def seeds(tasks):
    return sorted(one.seed for one in tasks)


def test_each_unit_is_given_once_and_no_more_at_a_time_than_there_is_room_for():
    engine = Scripted({1: ["diverged"]}, capacity=2)
    found = swept(engine, 7)
    assert engine.submitted == list(range(7))
    assert engine.most == 2
    assert (seeds(found.complete), seeds(found.diverged)) == ([0, 2, 3, 4, 5, 6], [1])
    assert engine.stops == 0


def test_an_engine_that_queues_gets_all_at_once():
    engine = Scripted(capacity=None)
    swept(engine, 5)
    assert engine.most == 5


def test_one_that_crashes_is_tried_again_behind_the_others_and_only_so_often():
    engine = Scripted({0: ["crashed", "complete"], 2: ["crashed"]}, capacity=1)
    found = swept(engine, 3, retries=2)
    assert engine.submitted == [0, 1, 2, 0, 2, 2]
    assert seeds(found.complete) == [0, 1]
    assert [(one.seed, why) for one, why in found.failed] == [(2, "it crashed")]


def test_what_a_user_must_mend_is_not_tried_again():
    engine = Scripted({1: ["mendable"]})
    found = swept(engine, 3, retries=5)
    assert sorted(engine.submitted) == [0, 1, 2]
    assert [why for _, why in found.failed] == ["it mendable"]


def test_a_unit_that_somebody_else_stopped_goes_on_elsewhere():
    engine = Scripted({1: ["stopped", "complete"], 2: ["stopped"]})
    found = swept(engine, 3, retries=1)
    assert seeds(found.complete) == [0, 1]
    assert [why for _, why in found.failed] == ["somebody else stopped it"]


def test_a_failure_stops_no_other_unless_asked():
    assert len(swept(Scripted({0: ["mendable"]}, capacity=1), 4).complete) == 3
    engine = Scripted({1: ["mendable"]}, capacity=1)
    found = swept(engine, 4, fail_fast=True)
    assert engine.submitted == [0, 1]
    assert (seeds(found.complete), seeds(found.left), len(found.failed)) == ([0], [2, 3], 1)
    assert engine.stops == 1


def test_asked_to_stop_what_runs_is_stopped_and_the_rest_is_left():
    stop = Stop()

    def on_submit(task):
        if task.seed == 2:
            stop.signal = 2

    engine = Scripted(capacity=1, on_submit=on_submit)
    engine.ended = hold_back_until_stopped(engine, Scripted.ended.__get__(engine))
    found = swept(engine, 5, stop)
    assert (seeds(found.complete), seeds(found.stopped), seeds(found.left)) == ([0, 1], [2], [3, 4])
    assert found.failed == []
    assert engine.stops == 1


def hold_back_until_stopped(engine, ended):
    def later(seconds):
        running = [one.seed for one in engine._inside]
        return [] if running == [2] and not engine.stops else ended(seconds)

    return later


def test_one_that_somebody_else_stopped_for_good_is_shown_as_failed():
    class Seen(Unseen):
        ends = ()

        def ended(self, task, outcome, again):
            self.ends = (*self.ends, (outcome.status, outcome.reason, again))

    view = Seen()
    drive([task(0)], Scripted({0: ["stopped"]}), view, Stop(), retries=1)
    assert view.ends == (("stopped", "", True), ("failed", "somebody else stopped it", False))


def test_asked_to_stop_as_the_last_one_ends_nothing_is_stopped(capsys):
    engine = Scripted(on_submit=lambda _: signal.raise_signal(signal.SIGTERM))
    found = run_sweep([], [task(0)], lambda: engine, Policy(), SteadyConsole())
    assert seeds(found.complete) == [0]
    assert "goes on" not in capsys.readouterr().out
    engine.capacity = 1
    with pytest.raises(SystemExit) as ended:
        run_sweep([], [task(0), task(1)], lambda: engine, Policy(), SteadyConsole())
    assert ended.value.code == 143


def test_the_table_at_the_end_counts_and_gives_each_failure_its_command(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    found = Swept(
        skipped=[task(0)] * 1200,
        complete=[task(1)],
        diverged=[task(2)],
        failed=[(task(3, "[bold]woof"), "batch_size 9 is [too] large")],
        left=[task(4)],
        seconds=3725,
    )
    SteadyConsole(width=100, color_system=None).print(render_swept(found))
    assert capsys.readouterr().out == (
        "Sweep of 1,204 units, 1 h 2 min\n"
        "1      complete                     \n"
        "1,200  skipped, as complete before  \n"
        "1      diverged, which is a result  \n"
        "1      failed                       \n"
        "1      not begun                    \n"
    ).replace("1      complete", "    1  complete").replace("\n1      ", "\n    1  ")


def test_each_failure_has_its_command_in_a_line_to_be_copied(capsys, monkeypatch):
    long = task(3, "[bold]woof-" + 200 * "x")
    assert list(failures(Swept(failed=[(long, "batch_size 9 is [too] large")]))) == [
        "",
        f"{long.experiment} seed 3: batch_size 9 is [too] large",
        f"  lrelu-bench run '/r/.sweep/configs/{long.experiment}.yaml' --seed 3 --output /r",
    ]


def test_a_reason_that_many_share_is_given_once(capsys):
    alike = [(task(seed), "the disk is full") for seed in range(7)]
    found = failures(Swept(failed=[*alike[:2], (task(9), "it crashed"), *alike[2:]]))
    command = "  lrelu-bench run /r/.sweep/configs/woof.yaml --seed {} --output /r"
    assert list(found) == [
        "",
        "woof seed 0 and 6 more: the disk is full",
        *(command.format(seed) for seed in range(5)),
        "  ... the same sweep again tries all of them",
        "",
        "woof seed 9: it crashed",
        command.format(9),
    ]


def test_what_a_crash_left_in_its_log_does_not_act_on_the_terminal(capsys):
    view = SweepView(SteadyConsole(), 1)
    view.started(task(0))
    view.ended(task(0), Outcome("failed", 1.0, "node", "exit code 1: \x1b[2Jgone"), False)
    assert "\\x1b[2Jgone" in capsys.readouterr().out


def test_what_waits_in_a_queue_is_not_taken_for_running(capsys, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    view = SweepView(SteadyConsole(), 100, queued=True)
    for seed in range(100):
        view.started(task(seed))
    # Two at a time, 10 s each: 40 are done after 200 s, and 60 take 300 s more.
    clock[0] += 200
    for seed in range(40):
        view.ended(task(seed), Outcome("complete", 10.0), False)
    assert view.seconds_left() == pytest.approx(300)
    capsys.readouterr()
    view.tick()
    assert capsys.readouterr().out.startswith(
        "40 of 100 done, 60 submitted, 3 min 20 s so far, about 5 min 0 s left: woof seed 40 (submitted), "
    )


def test_lines_for_a_pipe_say_what_ended_and_the_time_that_is_left(capsys, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    view = SweepView(SteadyConsole(), 6, {"woof": 10.0, "slow": 40.0})
    assert view.seconds_left() is None
    for one in (task(0), task(0, "slow")):
        view.started(one)
    clock[0] += 20
    view.ended(task(0), Outcome("complete", 20.0, "node1"), False)
    view.ended(task(9), Outcome("failed", 3.0, "node2", "its worker is gone"), True)
    # slow takes 4 times woof's 20 s: 60 s left of it, and 4 units more of 20 s, two at a time.
    assert view.seconds_left() == pytest.approx((60 + 4 * 20) / 2)
    view.tick()
    clock[0] += 60
    view.tick()
    assert capsys.readouterr().out == (
        "1 of 6  woof seed 0: complete on node1 in 20 s\n"
        "1 of 6  woof seed 9: failed on node2 in 3 s: its worker is gone, and is tried again\n"
        "1 of 6 done, 1 running, 1 min 20 s so far, about 40 s left: slow seed 0 (begun)\n"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.7, "1 min 0 s"), (61, "1 min 1 s"), (7260, "2 h 1 min")]
)
def test_lengths_of_time(seconds, text):
    assert spell(seconds) == text
