"""The product itself as a contender: its own loader, net and loop."""

import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import repeat
from pathlib import Path

import torch

from lrelu_bench.config_file import load_experiment
from lrelu_bench.data.archives import data_home
from lrelu_bench.data.datasets import open_split
from lrelu_bench.data.loader import Batch, Batches
from lrelu_bench.results import EpochRow
from lrelu_bench.runner import Unit, build_loader, build_net
from lrelu_bench.shipped import config_path
from lrelu_bench.training import cpu
from lrelu_bench.training.loop import Fit
from lrelu_bench.training.precision import choose_compute
from lrelu_bench.training.telemetry import TelemetryRecorder
from peers.cell import Cell
from peers.contender import Contender, Fitted, Window, WindowClosed


class Product(Contender):
    """What `lrelu-bench run` does, telemetry included, without writing a result."""

    def __init__(self, cell: Cell, tuned: bool, workers: int | None = None) -> None:
        super().__init__(cell, tuned, workers)
        self.experiment = load_experiment(config_path(cell.config), list(cell.changes))
        self.compute = choose_compute("cuda" if cell.device == "cuda" else "cpu", self.experiment.precision)
        self.split = open_split(self.experiment, data_home())
        if self.device.type == "cpu":
            cpu.prepare()

    def input_seconds(self, steps: int) -> float:
        window, fit = Window(steps), self._fit(0)
        with suppress(WindowClosed):
            for batch in window.over(fit.loader.train_batches(0)):
                fit.objective.on_device(*batch)
        return window.result()

    def ready_seconds(self, steps: int) -> float:
        return self._timed(Window(steps), ready=True)

    def training_seconds(self, steps: int) -> float:
        return self._timed(Window(steps), ready=False)

    def _timed(self, window: Window, ready: bool) -> float:
        fit = self._fit(0)
        fit.loader = _TimedLoader(fit.loader, window, ready)
        with suppress(WindowClosed):
            self._train(fit)
        return window.result()

    def fit(self, seed: int) -> Fitted:
        fit = self._fit(seed)
        started = time.perf_counter()
        accuracy = self._train(fit)
        return Fitted(time.perf_counter() - started, accuracy)

    def _fit(self, seed: int) -> Fit:
        torch.manual_seed(seed)
        experiment, net = self.experiment, build_net(self.experiment)
        loader = build_loader(Unit(experiment, seed, self.compute, Path()), self.split)
        return Fit(
            net,
            loader,
            experiment.effective_recipe,
            self.compute,
            seed,
            activation=experiment.activation,
            telemetry=TelemetryRecorder(net, loader.steps_per_epoch, experiment.epochs),
        )

    def _train(self, fit: Fit) -> float:
        for row in fit.epochs(self.experiment.epochs):
            if not isinstance(row, EpochRow):
                raise ValueError("the training diverged")
            assert fit.telemetry is not None
            fit.telemetry.after_epoch()
            accuracy = row.accuracy
        return accuracy


class _TimedLoader(Batches):
    """A loader's training batches in a window; `ready`: its first batch over and over."""

    made_by = "the loader inside"

    def __init__(self, loader: Batches, window: Window, ready: bool) -> None:
        super().__init__(loader.split, loader.recipe, loader.size, loader.seed)
        self.loader, self.window, self.ready = loader, window, ready

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        """Ends by raising `WindowClosed`."""
        batches = self.loader.train_batches(epoch)
        return self.window.over(repeat(next(batches)) if self.ready else batches)

    def valid_batches(self) -> Iterator[Batch]:
        """As they are."""
        return self.loader.valid_batches()
