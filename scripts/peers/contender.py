"""The interface of a contender, and the window in which its steps are timed."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch

from peers.cell import Cell

AHEAD = 4
"""Batches that a loader may still prepare when the clock stops: it works to the end of the window."""

Item = TypeVar("Item")


class WindowClosed(Exception):  # noqa: N818 (not an error)
    """Enough steps are timed; ends a loop that has no other end."""


class Window:
    """Times `steps` steps after `warm` others, from the end of one step to the end of another.

    `warm` must be enough for a loader to fill what it prepares ahead: else it still fills while the clock
    runs, or what it filled before is used up in the window and counts for nothing.
    """

    def __init__(self, steps: int, warm: int) -> None:
        self.steps, self.warm, self.done = steps, warm, 0
        self.seconds: float | None = None
        self._started = 0.0

    @property
    def length(self) -> int:
        """All steps, timed or not."""
        return self.warm + self.steps

    def tick(self) -> None:
        """To be called after each step; raises `WindowClosed` after the last."""
        self.done += 1
        if self.done == self.warm:
            self.open()
        elif self.done == self.length:
            self.close()
            raise WindowClosed

    def open(self) -> None:
        """Start the clock."""
        synchronize()
        self._started = time.perf_counter()

    def close(self) -> None:
        """Stop the clock."""
        synchronize()
        self.seconds = time.perf_counter() - self._started

    def over(self, batches: Iterable[Item]) -> Iterator[Item]:
        """The batches, with a tick when the next one is asked for."""
        for batch in batches:
            yield batch
            self.tick()

    def result(self) -> float:
        """Seconds of the timed steps; raises `ValueError` where the batches ran out before."""
        if self.seconds is None:
            raise ValueError(f"the images give {self.done} steps, not {self.length}")
        return self.seconds


def endlessly(loader: Iterable[Item]) -> Iterator[Item]:
    """A loader's batches epoch after epoch; raises `ValueError` where an epoch has none."""
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise ValueError("the images do not fill one batch")


@dataclass(frozen=True)
class Fitted:
    """A whole training: seconds of each epoch with its validation, and the last accuracy, a share."""

    epochs: list[float]
    accuracy: float


class Contender(ABC):
    """One way to train a cell. Every method starts from the initial weights.

    Args:
        tuned: the cell's precision, channels_last, the fused optimizer, and on CUDA cuDNN's own search and
            page-locked batches; else the library's defaults in fp32.
        workers: loader processes; None for the library's default.
    """

    own_workers = 0
    """The library's default number of loader processes."""

    def __init__(self, cell: Cell, tuned: bool, workers: int | None = None) -> None:
        self.cell, self.tuned = cell, tuned
        self.workers = self.own_workers if workers is None else workers
        self.device = torch.device(cell.device)
        self.precision = cell.precision if tuned else "fp32"
        if tuned:
            torch.backends.cudnn.benchmark = True

    @property
    def input_by(self) -> str:
        """What prepares its batches, in a word or two."""
        return f"{self.workers} worker{'' if self.workers == 1 else 's'}"

    @abstractmethod
    def input(self, window: Window) -> None:
        """Batches up to normalised floats where the net trains, with no training beside."""

    @abstractmethod
    def ready(self, window: Window) -> None:
        """Training steps on one batch that is ready."""

    @abstractmethod
    def training(self, window: Window) -> None:
        """Training steps, input included."""

    @abstractmethod
    def fit(self, seed: int) -> Fitted:
        """Train all epochs, validating after each."""

    def autocast(self) -> torch.autocast:
        """The mixed precision of forward passes."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def synchronize() -> None:
    """Wait for the device, where this process uses one."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
