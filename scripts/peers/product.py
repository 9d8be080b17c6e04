"""The product itself as a contender: its own loader, net and loop."""

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count, repeat
from pathlib import Path
from typing import Any

import torch

from lrelu_bench import session
from lrelu_bench.config_file import load_experiment
from lrelu_bench.data.archives import data_home
from lrelu_bench.data.datasets import open_split
from lrelu_bench.data.loader import Batch, Batches
from lrelu_bench.report.progress import SteadyConsole
from lrelu_bench.results import EpochRow
from lrelu_bench.runner import build_loader, build_net
from lrelu_bench.shipped import config_path
from lrelu_bench.training import cpu
from lrelu_bench.training.loop import Fit
from lrelu_bench.training.precision import choose_compute
from lrelu_bench.training.telemetry import TelemetryRecorder
from lrelu_bench.unit import Unit
from peers.cell import Cell
from peers.contender import Contender, Fitted, Window, WindowClosed
from peers.kernels import kernels
from peers.profiling import ProfiledWindow, convolutions_alone


class Product(Contender):
    """What `lrelu-bench run` does, telemetry included, without writing a result."""

    def __init__(self, cell: Cell, tuned: bool, workers: int | None = None) -> None:
        super().__init__(cell, tuned, workers)
        self.experiment = load_experiment(config_path(cell.config), list(cell.changes))
        self.compute = choose_compute("cuda" if cell.device == "cuda" else "cpu", self.experiment.precision)
        self.split = open_split(self.experiment, data_home())
        self.images = session._images_on_gpu(
            self.experiment, self.split, self.compute, SteadyConsole(file=sys.stderr)
        )
        if self.device.type == "cpu":
            cpu.prepare()

    @property
    def input_by(self) -> str:
        """What prepares its batches, in a word or two."""
        if self.images is not None:
            return "the GPU"
        return "a thread" if self.device.type == "cpu" else "threads"

    def input(self, window: Window) -> None:
        fit = self._fit(0)
        with suppress(WindowClosed):
            for batch in window.over(_epochs(fit.loader)):
                fit.objective.on_device(*batch)

    def ready(self, window: Window) -> None:
        self._timed(window, ready=True)

    def training(self, window: Window) -> None:
        self._timed(window, ready=False)

    def _timed(self, window: Window, ready: bool) -> None:
        fit = self._fit(0)
        fit.loader = _TimedLoader(fit.loader, window, ready)
        with suppress(WindowClosed):
            self._train(fit, epochs=1)

    def fit(self, seed: int) -> Fitted:
        return self._train(self._fit(seed), self.experiment.epochs)

    def profile(self, steps: int, warm: int) -> dict[str, Any]:
        """Where a training step's time goes, and what its convolutions take by themselves."""
        window = ProfiledWindow(steps, warm)
        self.training(window)
        net = build_net(self.experiment).to(self.device).to(memory_format=torch.channels_last)
        shape = (self.cell.batch, 3, self.cell.size, self.cell.size)
        return window.shares() | {"convolutions_alone": convolutions_alone(net, shape, self.compute)}

    def kernels(self, blocks: int) -> list[dict[str, Any]]:
        """The activation alone and behind its normalisation, at the sizes of this cell's net."""
        return kernels(self.compute, self.cell.batch, self.cell.size, blocks)

    def _fit(self, seed: int) -> Fit:
        torch.manual_seed(seed)
        experiment, net = self.experiment, build_net(self.experiment)
        loader = build_loader(Unit(experiment, seed, self.compute, Path()), self.split, self.images)
        return Fit(
            net,
            loader,
            experiment.effective_recipe,
            self.compute,
            seed,
            activation=experiment.activation,
            telemetry=TelemetryRecorder(net, loader.steps_per_epoch, experiment.epochs),
        )

    def _train(self, fit: Fit, epochs: int) -> Fitted:
        seconds, started = [], time.perf_counter()
        for row in fit.epochs(epochs):
            if not isinstance(row, EpochRow):
                raise ValueError("the training diverged")
            assert fit.telemetry is not None
            fit.telemetry.after_epoch()
            seconds.append(time.perf_counter() - started)
            accuracy, started = row.accuracy, time.perf_counter()
        return Fitted(seconds, accuracy)


class _TimedLoader(Batches):
    """A loader's training batches in a window, as one epoch; `ready`: its first batch over and over."""

    made_by = "the loader inside"

    def __init__(self, loader: Batches, window: Window, ready: bool) -> None:
        super().__init__(loader.split, loader.recipe, loader.size, loader.seed)
        self.loader, self.window, self.ready = loader, window, ready

    @property
    def steps_per_epoch(self) -> int:
        """One more than there are: what the loop does at the end of an epoch is no part of a step."""
        return self.window.length + 1

    def train_batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Ends by raising `WindowClosed`."""
        batches = _epochs(self.loader)
        return self.window.over(repeat(next(batches)) if self.ready else batches)

    def valid_batches(self) -> Iterator[Batch]:
        """As they are."""
        return self.loader.valid_batches()


def _epochs(loader: Batches) -> Iterator[Batch]:
    for epoch in count():
        yield from loader.train_batches(epoch)
