"""How far the running units of a sweep have come, as their folders tell, and how long the rest takes."""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from lrelu_bench.checkpoint_header import in_order
from lrelu_bench.errors import BenchError
from lrelu_bench.results import load_result
from lrelu_bench.run_folder import RunFolder
from lrelu_bench.sweep.task import Task

LOOKED_AT = 12
"""Running units whose folders are read, the first ones."""


@dataclass(frozen=True)
class Place:
    """Where a unit stands, by its last epoch's end or what it saved since: a crash costs nothing of that."""

    epochs_done: float
    epochs: int
    train_images: int
    images_per_second: float | None
    """In training, of the epochs that have ended."""


@dataclass
class Unit:
    """A unit that was started, with the time of that; one that waits in a queue starts when it is seen to."""

    task: Task
    started: float
    waits: bool
    first: Place | None = None
    """What it had behind it when it was started; None for nothing."""
    last: Place | None = None
    moved: float = 0.0
    """When it was first seen at `last`."""

    @property
    def begun_at(self) -> float:
        """The epochs that it had behind it when it was started."""
        return self.first.epochs_done if self.first else 0.0

    @property
    def epochs_per_second(self) -> float | None:
        """Validation and the process' begin included; None before anything was seen of it."""
        if self.last is None or self.last.epochs_done <= self.begun_at or self.moved <= self.started:
            return None
        return (self.last.epochs_done - self.begun_at) / (self.moved - self.started)

    @property
    def whole_seconds(self) -> float | None:
        """What all its epochs take at that pace."""
        rate = self.epochs_per_second
        return None if rate is None or self.last is None else self.last.epochs / rate

    def look(self, now: float) -> None:
        """Read where it stands, as far as this machine sees its folder."""
        place = _place(self.task)
        if place is None:
            return
        if self.waits:
            self.waits, self.started, self.first = False, now, place
        if self.last is None or place.epochs_done != self.last.epochs_done:
            self.moved = now
        self.last = place

    def in_words(self) -> str | None:
        """Such as `epoch 2/5, 41 % saved, 62.1 img/s`; None where nothing is known."""
        place = self.last
        if place is None:
            return None
        epoch = min(int(place.epochs_done) + 1, place.epochs)
        words = [f"epoch {epoch}/{place.epochs}"]
        if saved := round(100 * (place.epochs_done - epoch + 1)):
            words.append(f"{saved} % saved")
        rate = self.epochs_per_second
        speed = place.images_per_second or (rate * place.train_images if rate else None)
        if speed:
            words.append(f"{speed:,.1f} img/s")
        return ", ".join(words)


def _place(task: Task) -> Place | None:
    folder = RunFolder.of(Path(task.output), task.experiment, task.seed).place().path
    try:
        result = load_result(folder)
    except BenchError:
        return None
    if result.status != "running":
        return None
    done = float(result.epochs_done)
    for _, about in in_order(folder)[0][:1]:
        done = max(done, about.epoch + min(1.0, about.step * result.batch_size / result.train_images))
    return Place(done, result.epochs, result.train_images, result.images_per_second)


class Pace:
    """The running units and what those that ended took.

    Args:
        expected: seconds a unit should take, by experiment, where that is known; it tells proportions alone.
        queued: whether units that were started may wait for room, and are not known to run.
    """

    def __init__(self, expected: Mapping[str, float], queued: bool) -> None:
        self.running: dict[str, Unit] = {}
        self._expected, self._queued = expected, queued
        self._ended: dict[str, list[float]] = defaultdict(list)
        self._most = 0
        self._began = time.monotonic()

    def started(self, task: Task) -> None:
        """Note a unit that was given to the engine."""
        # Its process has written nothing yet: what is there an earlier one left.
        first = None if self._queued else _place(task)
        self.running[task.name] = Unit(task, time.monotonic(), self._queued, first)
        self._most = max(self._most, len(self.running))

    def ended(self, task: Task, seconds: float | None) -> None:
        """Note that it has ended, after this long; None where that tells nothing of a whole one."""
        unit = self.running.pop(task.name, None)
        if seconds is None:
            return
        share = 1.0
        if not self._queued and unit is not None and unit.first is not None:
            share -= unit.first.epochs_done / unit.first.epochs
        self._ended[task.experiment].append(seconds / max(share, 0.01))

    def look(self) -> None:
        """Read how far the first units are."""
        now = time.monotonic()
        for unit in list(self.running.values())[:LOOKED_AT]:
            unit.look(now)

    def seconds_left(self, to_start: int) -> float | None:
        """By the pace of this sweep's units so far; None until one has ended or got somewhere.

        `to_start` units are not started yet.
        """
        wholes = {name: list(of_one) for name, of_one in self._ended.items()}
        for unit in self.running.values():
            if unit.task.experiment not in self._ended and (whole := unit.whole_seconds):
                wholes.setdefault(unit.task.experiment, []).append(whole)
        if not wholes:
            return None
        average = mean(seconds for of_one in wholes.values() for seconds in of_one)
        known = [mean(of) / self._expected[name] for name, of in wholes.items() if self._expected.get(name)]
        now, rests = time.monotonic(), []
        for unit in self.running.values():
            rate, expected = unit.epochs_per_second, self._expected.get(unit.task.experiment)
            if rate and unit.last:
                rest = (unit.last.epochs - unit.last.epochs_done) / rate - (now - unit.moved)
            else:
                rest = expected * mean(known) if expected and known else average
                rest -= 0.0 if unit.waits else now - unit.started
            rests.append(max(0.0, rest))
        left = to_start * average + sum(rests)
        if self._queued:
            # How many run at once shows in what they have done together.
            done = sum(seconds for of_one in self._ended.values() for seconds in of_one)
            return left / max(1.0, done / max(now - self._began, 1e-9))
        return max(left / max(1, self._most), *rests, 0.0)
