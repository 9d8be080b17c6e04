"""The driver of a sweep: what is left goes to the engine, what ends is taken in, tried again or noted."""

import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from lrelu_bench.stopping import Stop
from lrelu_bench.sweep.engines.base import Engine
from lrelu_bench.sweep.task import Outcome, Task
from lrelu_bench.sweep.work import received

WAIT_SECONDS = 0.5


class View(Protocol):
    """What shows a sweep while it runs."""

    def started(self, task: Task) -> None:
        """A task was given to the engine."""

    def ended(self, task: Task, outcome: Outcome, again: bool) -> None:
        """A task has ended; `again` is whether it is tried once more."""

    def tick(self) -> None:
        """Called about twice a second."""


@dataclass
class Swept:
    """What became of every unit."""

    skipped: list[Task] = field(default_factory=list)
    complete: list[Task] = field(default_factory=list)
    diverged: list[Task] = field(default_factory=list)
    failed: list[tuple[Task, str]] = field(default_factory=list)
    """With the reason."""
    stopped: list[Task] = field(default_factory=list)
    """Saved where they were."""
    left: list[Task] = field(default_factory=list)
    """Not begun."""
    seconds: float = 0.0


def drive(
    tasks: Sequence[Task],
    engine: Engine,
    view: View,
    stop: Stop,
    retries: int = 1,
    fail_fast: bool = False,
) -> Swept:
    """Have every task trained; returns what became of each, in the order they ended.

    A task that fails or whose worker is lost is tried again, behind the others, unless its own error says
    what to mend. With `fail_fast` the first failure for good stops the rest; so does `stop`, once asked.
    """
    swept, started = Swept(), time.monotonic()
    pending, running = deque(tasks), dict[str, Task]()
    tries: Counter[str] = Counter()
    told = False
    while pending or running:
        stopping = stop.asked or (fail_fast and bool(swept.failed))
        if stopping and not told:
            told = True
            swept.left += pending
            pending.clear()
            engine.stop()
            continue
        while pending and (engine.capacity is None or len(running) < engine.capacity):
            task = pending.popleft()
            tries[task.name] += 1
            running[task.name] = task
            engine.submit(task)
            view.started(task)
        for task, outcome in engine.ended(WAIT_SECONDS):
            del running[task.name]
            found = received(task, outcome)
            lost = found.status == "stopped" and not stopping
            again = (
                not stopping
                and (lost or (found.status == "failed" and found.may_help))
                and tries[task.name] <= retries
            )
            if lost and not again:
                found = replace(found, status="failed", reason=found.reason or "somebody else stopped it")
            view.ended(task, found, again)
            if again:
                pending.append(task)
            else:
                _note(swept, task, found)
        view.tick()
    swept.seconds = time.monotonic() - started
    return swept


def _note(swept: Swept, task: Task, outcome: Outcome) -> None:
    if outcome.status == "complete":
        swept.complete.append(task)
    elif outcome.status == "diverged":
        swept.diverged.append(task)
    elif outcome.status == "stopped":
        swept.stopped.append(task)
    else:
        swept.failed.append((task, outcome.reason))
