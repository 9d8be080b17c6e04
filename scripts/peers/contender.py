"""The interface of a contender, and the window in which its steps are timed."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch

from peers.cell import Cell

WARM = 2
"""Steps before the clock starts; a multiple of the workers, whose batches arrive together."""
AHEAD = 4
"""Batches that a loader may still prepare when the clock stops: it works to the end of the window."""

Item = TypeVar("Item")


class WindowClosed(Exception):  # noqa: N818 (not an error)
    """Enough steps are timed; ends a loop that has no other end."""


class Window:
    """Times `steps` steps after `WARM` others, from the end of one step to the end of another."""

    def __init__(self, steps: int) -> None:
        self.steps, self.done = steps, 0
        self.seconds: float | None = None
        self._started = 0.0

    def tick(self) -> None:
        """To be called after each step; raises `WindowClosed` after the last."""
        self.done += 1
        if self.done == WARM:
            synchronize()
            self._started = time.perf_counter()
        elif self.done == WARM + self.steps:
            synchronize()
            self.seconds = time.perf_counter() - self._started
            raise WindowClosed

    def over(self, batches: Iterable[Item]) -> Iterator[Item]:
        """The batches, with a tick when the next one is asked for."""
        for batch in batches:
            yield batch
            self.tick()

    def result(self) -> float:
        """Seconds of the timed steps; raises `ValueError` where the batches ran out before."""
        if self.seconds is None:
            raise ValueError(f"the images give {self.done} steps, not {WARM + self.steps}")
        return self.seconds


@dataclass(frozen=True)
class Fitted:
    """A whole training: seconds with every validation, and the last accuracy, a share."""

    seconds: float
    accuracy: float


class Contender(ABC):
    """One way to train a cell. Every method starts from the initial weights.

    Args:
        tuned: the cell's precision, channels_last and the fused optimizer; else the library's defaults in
            fp32.
        workers: loader processes; None for the library's default.
    """

    own_workers = 0
    """The library's default number of loader processes."""

    def __init__(self, cell: Cell, tuned: bool, workers: int | None = None) -> None:
        self.cell, self.tuned = cell, tuned
        self.workers = self.own_workers if workers is None else workers
        self.device = torch.device(cell.device)
        self.precision = cell.precision if tuned else "fp32"

    @abstractmethod
    def input_seconds(self, steps: int) -> float:
        """Time of that many batches, up to normalised floats, with no training beside."""

    @abstractmethod
    def ready_seconds(self, steps: int) -> float:
        """Time of that many training steps on one batch that is ready."""

    @abstractmethod
    def training_seconds(self, steps: int) -> float:
        """Time of that many training steps, input included."""

    @abstractmethod
    def fit(self, seed: int) -> Fitted:
        """Train all epochs, validating after each."""

    def autocast(self) -> torch.autocast:
        """The mixed precision of forward passes."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def synchronize() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
