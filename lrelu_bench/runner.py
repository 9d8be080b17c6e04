"""One experiment with one seed, from config to result."""

import random
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch

from lrelu_bench import continuing, environment, predictions_file, record, weights_file
from lrelu_bench.activations.factory import activation_factory
from lrelu_bench.atomic_file import write_atomically
from lrelu_bench.checkpoint_header import About, DamagedError, in_order
from lrelu_bench.config import Experiment
from lrelu_bench.data.datasets import Split
from lrelu_bench.data.device_loader import DeviceImages, DeviceLoader
from lrelu_bench.data.loader import Batches, Loader
from lrelu_bench.models import course_cnn, xresnet
from lrelu_bench.predictions_file import Predictions
from lrelu_bench.results import Divergence, EpochRow, RunResult
from lrelu_bench.run_folder import CHECKPOINTS
from lrelu_bench.stopping import CHECKPOINT_MINUTES, Stop
from lrelu_bench.telemetry_file import FILE as TELEMETRY
from lrelu_bench.training import checkpoint, cpu
from lrelu_bench.training.captured import captures
from lrelu_bench.training.checkpoint import State
from lrelu_bench.training.loop import Fit, Step
from lrelu_bench.training.precision import Compute
from lrelu_bench.training.telemetry import TelemetryRecorder
from lrelu_bench.unit import Unit


class Watcher(Protocol):
    """What sees a run while it trains."""

    def step(self, step: Step) -> None:
        """Called about twice a second."""

    def epoch(self, row: EpochRow, epochs: int) -> None:
        """Called after each epoch."""

    def divergence(self, divergence: Divergence) -> None:
        """Called where an epoch broke."""

    def note(self, line: str) -> None:
        """Called with what a user should know."""


WORTH_SECONDS = 10.0
"""An epoch's end is saved where that much would be lost: a GPU may train a short epoch in two saves' time."""


@dataclass(frozen=True)
class Saving:
    """When a run saves its state: after an epoch, every few minutes, and where it is asked to stop."""

    minutes: float = CHECKPOINT_MINUTES
    stop: Stop = field(default_factory=Stop)


def run(
    unit: Unit,
    split: Split,
    watcher: Watcher,
    images: DeviceImages | None = None,
    saving: Saving | None = None,
) -> RunResult | None:
    """Train one unit and write its result folder, whole after every epoch; None where it was stopped.

    Where the folder holds what an earlier call saved, the run goes on from there, to the same numbers as
    without a stop. `images` are the split's on the unit's device, to be prepared there instead of on the CPU.
    A finished run in that folder stays until the new one is finished.

    Whoever calls holds the folder's lock, if others may train there.

    Raises `BenchError` where the config does not fit the data, what was saved is of another run, or the
    folder cannot be written.
    """
    return run_together([unit], split, [watcher], images, saving)[0]


def run_together(
    units: Sequence[Unit],
    split: Split,
    watchers: Sequence[Watcher],
    images: DeviceImages | None = None,
    saving: Saving | None = None,
) -> list[RunResult | None]:
    """`run` for several units of one device at once: a step of each in turn.

    On a GPU each has a stream of its own, so that the device works on several steps at a time. Each unit's
    numbers are those that it has alone, as long as its activations draw no random numbers.
    """
    on_gpu = units[0].compute.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        # The images may still be on their way.
        torch.cuda.synchronize()
    else:
        cpu.prepare()
    saving = saving or Saving()
    running = {
        place: (
            _stream_of(place) if on_gpu and len(units) > 1 else None,
            _Run(unit, split, watchers[place], images, len(units), saving).in_steps(),
        )
        for place, unit in enumerate(units)
    }
    results: dict[int, RunResult | None] = {}
    while running:
        for place, (stream, steps) in list(running.items()):
            with torch.cuda.stream(stream):
                try:
                    next(steps)
                except StopIteration as end:
                    results[place] = end.value
                    del running[place]
    return [results[place] for place in range(len(units))]


@cache
def _stream_of(place: int) -> torch.cuda.Stream:
    """The stream of one of several runs at once; later ones use it again, with the workspaces it has."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


class _Run:
    """One unit's training, and what of it is on disk."""

    def __init__(
        self,
        unit: Unit,
        split: Split,
        watcher: Watcher,
        images: DeviceImages | None,
        at_once: int,
        saving: Saving,
    ) -> None:
        self.unit, self.split, self.watcher = unit, split, watcher
        self.images, self.at_once, self.saving = images, at_once, saving
        self.folder = unit.folder.place()
        self.identity = continuing.identity(unit, split.source.digest)

    def in_steps(self) -> Generator[None, None, RunResult | None]:
        """Hands over after each step; returns the result, or None where it was stopped."""
        continuing.require_same(self.folder, self.identity)
        unit, experiment = self.unit, self.unit.experiment
        self._started = time.perf_counter()
        # numpy's and Python's as well: a user's activation may draw from any.
        torch.manual_seed(unit.seed)
        np.random.seed(unit.seed % 2**32)
        random.seed(unit.seed)
        net = build_net(experiment)
        self.net, self.loader = net, build_loader(unit, self.split, self.images)
        self.telemetry = TelemetryRecorder(net, self.loader.steps_per_epoch, experiment.epochs)
        self.fit = Fit(
            net=net,
            loader=self.loader,
            recipe=experiment.effective_recipe,
            compute=unit.compute,
            seed=unit.seed,
            on_step=self.watcher.step,
            on_note=self.watcher.note,
            activation=experiment.activation,
            max_rewinds=experiment.effective_max_rewinds,
            telemetry=self.telemetry,
        )
        saved = self._begin()
        for event in self.fit.in_steps(experiment.epochs, saved and saved["fit"]):
            if event is not None:
                self._write(event)
                if self.result.status != "running":
                    break
            if self.saving.stop.asked or self._due(at_end=event is not None):
                self._save()
            if self.saving.stop.asked:
                return None
            if event is None:
                yield
        self.folder.finish()
        if self.folder.path != unit.folder.path:
            unit.folder.replace()
        return self.result

    def _begin(self) -> State | None:
        """Make the folder ready; gives the saved state that the run goes on from, if there is one."""
        about, state = self._saved()
        first = record.first_result(self.unit, self.split, self.net)
        now = _environment(self.unit, self.loader, self.at_once)
        if about is None or state is None:
            self.folder.clear()
            self.rows: list[EpochRow] = []
            self.result, self._number = first, 0
        else:
            self.rows = [EpochRow(**row) for row in state["rows"]]
            steps = about.epoch * self.loader.steps_per_epoch + about.step
            self.result = record.read_result(state["result"], resumed=steps)
            self._number = about.number
            now = continuing.with_earlier(self.folder.path, now)
            self.watcher.note(f"going on from what was saved, {about.where}")
            if moved := continuing.other_hardware(now):
                self.watcher.note(moved)
        self._wall_before = self.result.wall_seconds
        config = continuing.config_text(self.unit.experiment, self.unit.seed)
        self.folder.start(config, now, self.rows, self.result)
        self._saved_at = time.perf_counter()
        return state

    def _saved(self) -> tuple[About, State] | tuple[None, None]:
        """The newest state in the folder that is whole."""
        found, problems = in_order(self.folder.path)
        whole = None
        for path, about in found:
            try:
                whole = about, checkpoint.load(path)
                break
            except DamagedError as error:
                problems.append(f"{path}: {error}")
        for problem in problems:
            self.watcher.note(f"{problem}; {'an older one is whole' if whole else 'the run begins anew'}")
        return whole or (None, None)

    def _due(self, at_end: bool) -> bool:
        """Whether to save now; sooner at an epoch's end than within one."""
        interval = 60 * self.saving.minutes
        return time.perf_counter() - self._saved_at >= (min(WORTH_SECONDS, interval) if at_end else interval)

    def _save(self) -> None:
        self._number += 1
        place = self.fit.place
        about = About(self._number, place.epoch, place.step, self.identity)
        self.result = self._so_far()
        state = {
            "fit": self.fit.state(),
            "rows": [asdict(row) for row in self.rows],
            "result": asdict(self.result),
        }
        checkpoint.save(self.folder.path / CHECKPOINTS[self._number % 2], about, state)
        self._saved_at = time.perf_counter()

    def _so_far(self) -> RunResult:
        """The result with what the run has used until now."""
        return replace(
            self.result,
            wall_seconds=self._wall_before + time.perf_counter() - self._started,
            peak_memory_bytes=max(self.result.peak_memory_bytes or 0, _peak_memory(self.unit.compute)),
        )

    def _write(self, event: EpochRow | Divergence) -> None:
        """Bring the folder up to an epoch that ended or broke."""
        folder, telemetry = self.folder, self.telemetry
        if isinstance(event, EpochRow):
            self.rows.append(event)
            self.result = record.after_epoch(self.result, self.rows)
        else:
            self.result = replace(self.result, divergences=[*self.result.divergences, event])
        self.result = record.finished_where_done(self._so_far())
        if self.result.status == "complete":
            packed = _predictions(self.fit.predictions, self.split).packed()
            write_atomically(folder.path / predictions_file.FILE, packed)
            weights_file.write(folder.path / weights_file.FINAL, self.net.state_dict())
        elif self.result.status == "diverged":
            weights_file.write(folder.path / weights_file.LAST_GOOD, self.fit.last_good.weights)
        if isinstance(event, Divergence) and event.action == "rewind":
            telemetry.truncate(event.last_good_epoch * self.loader.steps_per_epoch)
        else:
            seen = telemetry.after_epoch() if isinstance(event, EpochRow) else telemetry.so_far()
            write_atomically(folder.path / TELEMETRY, seen.packed())
        folder.update(self.rows, self.result)
        if isinstance(event, EpochRow):
            self.watcher.epoch(event, self.unit.experiment.epochs)
        else:
            self.watcher.divergence(event)


def build_net(experiment: Experiment) -> torch.nn.Sequential:
    """The experiment's untrained net, drawn from torch's default generator."""
    recipe, activation = experiment.effective_recipe, experiment.activation
    slopes = {"zero": 0.0, "leak": activation.constants.get("leak", 0.0), "tenth": 0.1}
    slope, act = slopes[recipe.init_slope], activation_factory(activation)
    if experiment.arch == "course_cnn":
        return course_cnn(act, classes=10, init_slope=slope)
    return xresnet(experiment.arch, act, classes=10, stem=recipe.stem, init_slope=slope)


def build_loader(unit: Unit, split: Split, images: DeviceImages | None = None) -> Batches:
    """The experiment's batches, made of `images` if there are any.

    Else a CPU that trains gets one thread for the input, a GPU all there are.
    """
    recipe, size = unit.experiment.effective_recipe, unit.experiment.size
    if images is not None:
        return DeviceLoader(images, recipe, size, unit.seed)
    on_gpu = unit.compute.device.type == "cuda"
    workers = max(1, environment.usable_cores() - 1) if on_gpu else 1
    return Loader(split, recipe, size, unit.seed, workers, pin=on_gpu)


def _predictions(predicted: np.ndarray, split: Split) -> Predictions:
    labels = split.source.labels[split.valid].astype(np.uint8)
    return Predictions(predicted, labels, split.source.names[split.valid])


def _environment(unit: Unit, loader: Batches, at_once: int) -> dict[str, Any]:
    source, experiment = loader.split.source, unit.experiment
    return {
        **environment.describe(),
        "data": {"digest": source.digest, "official": source.official},
        "input": loader.made_by,
        "cuda_graph": captures(unit.compute, experiment.effective_recipe, experiment.activation),
        "compile": unit.compute.compile,
        "runs_at_once": at_once,
    }


def _peak_memory(compute: Compute) -> int:
    """Peak memory, bytes: allocated on the GPU where one trains, images there included; else resident.

    Of the process: of several runs at once, that of them all.
    """
    on_gpu = compute.device.type == "cuda"
    return torch.cuda.max_memory_allocated() if on_gpu else environment.peak_memory_bytes()
