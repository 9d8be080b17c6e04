"""A sweep while it runs: a display on a terminal, sparse plain lines elsewhere; and its table at the end."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lrelu_bench.errors import BenchError
from lrelu_bench.printable import visible
from lrelu_bench.results import load_result
from lrelu_bench.run_folder import RunFolder
from lrelu_bench.sweep.driver import Swept
from lrelu_bench.sweep.task import Outcome, Task

PLAIN_EVERY_SECONDS = 60.0
LOOK_EVERY_SECONDS = 2.0
SHOWN = 12
"""Running units that are shown with their epochs."""


class SweepView:
    """What a driver reports to.

    Args:
        total: units to be trained.
        expected: seconds a unit should take, by experiment, where that is known.
        queued: whether the engine's units may wait for room, and are not known to run.
    """

    def __init__(
        self,
        console: Console,
        total: int,
        expected: Mapping[str, float] | None = None,
        queued: bool = False,
    ) -> None:
        self.console, self.total, self._queued = console, total, queued
        self.live: Live | None = None
        self._expected = dict(expected or {})
        self._measured: dict[str, list[float]] = defaultdict(list)
        self._running: dict[str, tuple[Task, float]] = {}
        self._done = self._diverged = self._failed = self._most = 0
        self._began = self._said = self._looked = time.monotonic()
        self._epochs: dict[str, str] = {}

    def started(self, task: Task) -> None:
        """Note a unit that was given to the engine."""
        self._running[task.name] = task, time.monotonic()
        self._most = max(self._most, len(self._running))

    def ended(self, task: Task, outcome: Outcome, again: bool) -> None:
        """Say what became of a unit."""
        self._running.pop(task.name, None)
        self._epochs.pop(task.name, None)
        if outcome.status in ("complete", "diverged"):
            self._done += 1
            self._diverged += outcome.status == "diverged"
            self._measured[task.experiment].append(outcome.seconds)
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
        if self.live is None:
            if now - self._said >= PLAIN_EVERY_SECONDS:
                self._said = now
                self._look()
                self.say(f"{self.summary()}: {self._running_words()}")
            return
        if now - self._looked >= LOOK_EVERY_SECONDS:
            self._looked = now
            self._look()
        self.live.update(self.drawn())

    def _look(self) -> None:
        """Read how far the running units are, as far as this machine sees their folders."""
        for name, (task, _) in list(self._running.items())[:SHOWN]:
            folder = RunFolder.of(Path(task.output), task.experiment, task.seed)
            try:
                result = load_result(folder.place().path)
            except BenchError:
                continue
            if result.status == "running":
                self._epochs[name] = f"epoch {result.epochs_done + 1}/{result.epochs}"

    def _how_far(self, name: str) -> str:
        return self._epochs.get(name, "submitted" if self._queued else "begun")

    def _running_words(self) -> str:
        words = [f"{name} ({self._how_far(name)})" for name in list(self._running)[:SHOWN]]
        more = len(self._running) - len(words)
        return ", ".join(words) + (f" and {more} more" if more > 0 else "") if words else "nothing yet"

    def summary(self) -> str:
        """Counts and the time left, in one line."""
        parts = [f"{self._done} of {self.total} done"]
        parts += [f"{self._diverged} diverged"] if self._diverged else []
        parts += [f"{self._failed} failed"] if self._failed else []
        parts.append(f"{len(self._running)} {'submitted' if self._queued else 'running'}")
        left = self.seconds_left()
        return ", ".join(parts) + (f", about {spell(left)} left" if left is not None else "")

    def seconds_left(self) -> float | None:
        """By the measured speed of this sweep's units so far; None until one has ended."""
        measured = [seconds for of_one in self._measured.values() for seconds in of_one]
        if not measured:
            return None
        mean = sum(measured) / len(measured)
        # Cells differ by their expected times; those tell only their proportions.
        known = [
            (sum(of_one) / len(of_one)) / self._expected[name]
            for name, of_one in self._measured.items()
            if self._expected.get(name)
        ]
        factor = sum(known) / len(known) if known else None
        now = time.monotonic()
        left = (self.total - self._done - self._failed - len(self._running)) * mean
        for task, started in self._running.values():
            expected = self._expected.get(task.experiment)
            whole = expected * factor if expected and factor else mean
            left += whole if self._queued else max(0.0, whole - (now - started))
        # How many of those that are queued run at once, their work so far tells.
        at_once = sum(measured) / max(now - self._began, 1e-9) if self._queued else self._most
        return left / max(1.0, at_once)

    def drawn(self) -> RenderableType:
        """The display."""
        rows = Table.grid(padding=(0, 2))
        for name, (_, started) in list(self._running.items())[:SHOWN]:
            rows.add_row(Text(name), Text(self._how_far(name)), Text(spell(time.monotonic() - started)))
        if len(self._running) > SHOWN:
            rows.add_row(Text(f"and {len(self._running) - SHOWN} more"))
        bar = ProgressBar(total=max(1, self.total), completed=self._done + self._failed, width=32)
        whole = Table.grid(padding=(0, 2))
        whole.add_row(bar, Text(self.summary()))
        return Group(rows, whole)


@contextmanager
def watch_sweep(
    console: Console, total: int, expected: Mapping[str, float] | None = None, queued: bool = False
) -> Iterator[SweepView]:
    """What a driver reports to while the block runs."""
    view = SweepView(console, total, expected, queued)
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
        ("stopped and saved", len(swept.stopped)),
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
    """Of each unit that failed its reason and the command to repeat it, in lines to be shown unbroken."""
    for task, reason in swept.failed:
        yield ""
        yield f"{task.name}: {reason}"
        yield f"  {task.command}"


def spell(seconds: float) -> str:
    """A length of time as people say it: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
