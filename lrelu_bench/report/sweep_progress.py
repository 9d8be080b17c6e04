"""A sweep while it runs: a display on a terminal, sparse plain lines elsewhere; and its table at the end."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lrelu_bench.printable import visible
from lrelu_bench.report.sweep_pace import LOOKED_AT, Pace, Unit
from lrelu_bench.sweep.driver import Swept
from lrelu_bench.sweep.task import Outcome, Task

PLAIN_EVERY_SECONDS = 60.0
"""Least time between two plain lines on what runs, where something has changed."""
PLAIN_UNCHANGED_SECONDS = 600.0
"""The same where nothing has."""
LOOK_EVERY_SECONDS = 2.0
COMMANDS = 5
"""Of units that failed for one reason, how many are given with their commands."""


class SweepView:
    """What a driver reports to.

    Args:
        total: units to be trained.
        expected: seconds a unit should take, by experiment, where that is known.
        labels: what an experiment is called beside the others of the sweep, where that is shorter.
        queued: whether the engine's units may wait for room, and are not known to run.
    """

    def __init__(
        self,
        console: Console,
        total: int,
        expected: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        queued: bool = False,
    ) -> None:
        self.console, self.total, self._queued = console, total, queued
        self.live: Live | None = None
        self.pace = Pace(expected or {}, queued)
        self._labels = labels or {}
        self._done = self._diverged = self._failed = 0
        self._began = self._said = self._looked = time.monotonic()
        self._shown = ""

    def started(self, task: Task) -> None:
        """Note a unit that was given to the engine."""
        self.pace.started(task)

    def ended(self, task: Task, outcome: Outcome, again: bool) -> None:
        """Say what became of a unit."""
        finished = outcome.status in ("complete", "diverged")
        # One that diverged stopped early.
        self.pace.ended(task, outcome.seconds if outcome.status == "complete" else None)
        if finished:
            self._done += 1
            self._diverged += outcome.status == "diverged"
        elif outcome.status == "failed" and not again:
            self._failed += 1
        where = f" on {outcome.host}" if outcome.host else ""
        why = f": {outcome.reason}" if outcome.reason else ""
        more = ", and is tried again" if again else ""
        how = f"{outcome.status}{where} in {spell(outcome.seconds)}{why}{more}"
        self.say(f"{self._done} of {self.total}  {task.name}: {how}")

    def say(self, line: str) -> None:
        """Print one line, and nothing in it that acts."""
        self.console.out(visible(line), highlight=False)

    def tick(self) -> None:
        """Bring the display up to date, or say now and then where things stand."""
        now = time.monotonic()
        if now - self._looked >= LOOK_EVERY_SECONDS:
            self._looked = now
            self.pace.look()
        if self.live is not None:
            self.live.update(self.drawn())
            return
        if now - self._said < PLAIN_EVERY_SECONDS or not self.pace.running:
            return
        shown = f"{self._counts()}: {self._running_words()}"
        if shown != self._shown or now - self._said >= PLAIN_UNCHANGED_SECONDS:
            self._said, self._shown = now, shown
            self.say(f"{self.summary()}: {self._running_words()}")

    def _name(self, task: Task) -> str:
        return f"{self._labels.get(task.experiment, task.experiment)} seed {task.seed}"

    def _how_far(self, unit: Unit) -> str:
        return unit.in_words() or ("submitted" if self._queued else "begun")

    def _running_words(self) -> str:
        units = list(self.pace.running.values())
        words = [f"{self._name(unit.task)} ({self._how_far(unit)})" for unit in units[:LOOKED_AT]]
        more = len(units) - len(words)
        return ", ".join(words) + (f" and {more} more" if more > 0 else "")

    def _counts(self) -> str:
        running = len(self.pace.running)
        parts = [f"{self._done} of {self.total} done"]
        parts += [f"{self._diverged} diverged"] if self._diverged else []
        parts += [f"{self._failed} failed"] if self._failed else []
        return ", ".join([*parts, f"{running} {'submitted' if self._queued else 'running'}"])

    def summary(self) -> str:
        """Counts, the time since the sweep began and the time left, in one line."""
        left = self.seconds_left()
        rest = f", about {spell(left)} left" if left is not None else ""
        return f"{self._counts()}, {spell(time.monotonic() - self._began)} so far{rest}"

    def seconds_left(self) -> float | None:
        """By the pace of this sweep's units so far; None until one has ended or got somewhere."""
        return self.pace.seconds_left(self.total - self._done - self._failed - len(self.pace.running))

    def drawn(self) -> RenderableType:
        """The display."""
        rows, now = Table.grid(padding=(0, 2)), time.monotonic()
        running = list(self.pace.running.values())
        for unit in running[:LOOKED_AT]:
            rows.add_row(
                Text(self._name(unit.task)), Text(self._how_far(unit)), Text(spell(now - unit.started))
            )
        if len(running) > LOOKED_AT:
            rows.add_row(Text(f"and {len(running) - LOOKED_AT} more"))
        bar = ProgressBar(total=max(1, self.total), completed=self._done + self._failed, width=32)
        whole = Table.grid(padding=(0, 2))
        whole.add_row(bar, Text(self.summary()))
        return Group(rows, whole)


@contextmanager
def watch_sweep(
    console: Console,
    total: int,
    expected: Mapping[str, float] | None = None,
    labels: Mapping[str, str] | None = None,
    queued: bool = False,
) -> Iterator[SweepView]:
    """What a driver reports to while the block runs."""
    view = SweepView(console, total, expected, labels, queued)
    if not console.is_terminal:
        yield view
        return
    with Live(console=console, transient=True, refresh_per_second=4) as live:
        view.live = live
        yield view


def render_swept(swept: Swept) -> RenderableType:
    """How many units ended how."""
    counts: Sequence[tuple[str, int]] = [
        ("complete", len(swept.complete)),
        ("skipped, as complete before", len(swept.skipped)),
        ("diverged, which is a result", len(swept.diverged)),
        ("failed", len(swept.failed)),
        ("stopped, what they had is saved", len(swept.stopped)),
        ("not begun", len(swept.left)),
    ]
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column()
    for what, count in counts:
        if count or what in ("complete", "failed"):
            table.add_row(Text(f"{count:,}"), Text(what))
    whole = sum(count for _, count in counts)
    return Group(Text(f"Sweep of {whole:,} unit{'s' * (whole != 1)}, {spell(swept.seconds)}"), table)


def failures(swept: Swept) -> Iterator[str]:
    """Each reason that units failed for, with commands to repeat them, in lines to be shown unbroken."""
    alike: dict[str, list[Task]] = {}
    for task, reason in swept.failed:
        alike.setdefault(reason, []).append(task)
    for reason, tasks in alike.items():
        yield ""
        more = f" and {len(tasks) - 1:,} more" if len(tasks) > 1 else ""
        yield f"{tasks[0].name}{more}: {reason}"
        for task in tasks[:COMMANDS]:
            yield f"  {task.command}"
        if len(tasks) > COMMANDS:
            yield "  ... the same sweep again tries all of them"


def spell(seconds: float) -> str:
    """A length of time as people say it: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
