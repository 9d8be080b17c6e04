"""One experiment with one seed, from config to result."""

import io
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from lrelu_bench import environment, predictions_file
from lrelu_bench.activations.factory import activation_factory, activation_parameter_count
from lrelu_bench.atomic_file import write_atomically
from lrelu_bench.config import Experiment
from lrelu_bench.config_file import dump_experiment
from lrelu_bench.data.datasets import Split
from lrelu_bench.data.device_loader import DeviceImages, DeviceLoader
from lrelu_bench.data.loader import Batches, Loader
from lrelu_bench.models import course_cnn, xresnet
from lrelu_bench.predictions_file import Predictions
from lrelu_bench.results import Divergence, EpochRow, RunFolder, RunResult
from lrelu_bench.telemetry_file import FILE as TELEMETRY
from lrelu_bench.training import cpu
from lrelu_bench.training.captured import captures
from lrelu_bench.training.loop import Fit, Step
from lrelu_bench.training.precision import Compute
from lrelu_bench.training.telemetry import TelemetryRecorder


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


@dataclass(frozen=True)
class Unit:
    """One config with one seed on one device: the unit of work."""

    experiment: Experiment
    seed: int
    compute: Compute
    output: Path

    @property
    def folder(self) -> RunFolder:
        """Where its result goes."""
        return RunFolder.of(self.output, self.experiment.slug, self.seed)


def run(unit: Unit, split: Split, watcher: Watcher, images: DeviceImages | None = None) -> RunResult:
    """Train one unit and write its result folder, whole after every epoch.

    `images` are the split's on the unit's device, to be prepared there instead of on the CPU. A finished run
    in that folder stays until the new one is finished.

    Raises `BenchError` where the config does not fit the data or the folder cannot be written.
    """
    return run_together([unit], split, [watcher], images)[0]


def run_together(
    units: Sequence[Unit], split: Split, watchers: Sequence[Watcher], images: DeviceImages | None = None
) -> list[RunResult]:
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
    running = {
        place: (
            _stream_of(place) if on_gpu and len(units) > 1 else None,
            _in_steps(unit, split, watchers[place], images, len(units)),
        )
        for place, unit in enumerate(units)
    }
    results: dict[int, RunResult] = {}
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


def _in_steps(
    unit: Unit, split: Split, watcher: Watcher, images: DeviceImages | None, at_once: int
) -> Generator[None, None, RunResult]:
    """A run that hands over after each step."""
    started = time.perf_counter()
    experiment, recipe, folder = unit.experiment, unit.experiment.effective_recipe, unit.folder.staged()
    torch.manual_seed(unit.seed)
    net = build_net(experiment)
    loader = build_loader(unit, split, images)
    result = _first_result(unit, split, net)
    folder.start(
        dump_experiment(experiment.model_copy(update={"seeds": (unit.seed,)})),
        _environment(unit, loader, at_once),
        result,
    )
    telemetry = TelemetryRecorder(net, loader.steps_per_epoch, experiment.epochs)
    fit = Fit(
        net=net,
        loader=loader,
        recipe=recipe,
        compute=unit.compute,
        seed=unit.seed,
        on_step=watcher.step,
        on_note=watcher.note,
        activation=experiment.activation,
        max_rewinds=experiment.effective_max_rewinds,
        telemetry=telemetry,
    )
    rows: list[EpochRow] = []
    for event in fit.in_steps(experiment.epochs):
        if event is None:
            yield
            continue
        if isinstance(event, EpochRow):
            rows.append(event)
            result = _after_epoch(result, rows)
        else:
            result = replace(result, divergences=[*result.divergences, event])
        result = _so_far(result, time.perf_counter() - started, unit.compute)
        if result.status == "complete":
            packed = _predictions(fit.predictions, split).packed()
            write_atomically(folder.path / predictions_file.FILE, packed)
        elif result.status == "diverged":
            write_atomically(folder.path / "last_good.pt", _saved(fit.last_good.weights))
        if isinstance(event, Divergence) and event.action == "rewind":
            telemetry.truncate(event.last_good_epoch * loader.steps_per_epoch)
        else:
            seen = telemetry.after_epoch() if isinstance(event, EpochRow) else telemetry.so_far()
            write_atomically(folder.path / TELEMETRY, seen.packed())
        folder.update(rows, result)
        if isinstance(event, EpochRow):
            watcher.epoch(event, experiment.epochs)
        else:
            watcher.divergence(event)
    folder.take_place_of(unit.folder)
    return result


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


def _first_result(unit: Unit, split: Split, net: torch.nn.Module) -> RunResult:
    experiment, recipe = unit.experiment, unit.experiment.effective_recipe
    return RunResult(
        status="running",
        experiment=experiment.slug,
        config_digest=experiment.digest,
        seed=unit.seed,
        dataset=experiment.dataset,
        version=experiment.version,
        source=experiment.effective_source,
        subset=experiment.subset,
        size=experiment.size,
        epochs=experiment.epochs,
        arch=experiment.arch,
        activation=experiment.activation.resolved().model_dump(mode="json", exclude_none=True),
        protocol=experiment.protocol,
        protocol_label=experiment.protocol_label,
        deviations=experiment.deviations(),
        batch_size=recipe.batch_size,
        lr=recipe.lr,
        precision=unit.compute.precision,
        device=_device_name(unit.compute),
        parameters=sum(p.numel() for p in net.parameters()),
        activation_parameters=activation_parameter_count(net),
        train_images=len(split.train),
        valid_images=len(split.valid),
        data_digest=split.source.digest,
        data_official=split.source.official,
        epochs_done=0,
        final_accuracy=None,
        best_accuracy=None,
        best_epoch=None,
        wall_seconds=0.0,
        images_per_second=None,
        peak_memory_bytes=None,
        commit=environment.source_commit(),
        started=_now(),
        finished=None,
    )


def _after_epoch(result: RunResult, rows: list[EpochRow]) -> RunResult:
    last, best = rows[-1], max(rows, key=lambda row: row.accuracy)
    seconds = sum(row.train_seconds for row in rows)
    images = sum(row.train_seconds * row.images_per_second for row in rows)
    return replace(
        result,
        epochs_done=last.epoch,
        final_accuracy=last.accuracy,
        best_accuracy=best.accuracy,
        best_epoch=best.epoch,
        images_per_second=images / seconds,
    )


def _so_far(result: RunResult, wall_seconds: float, compute: Compute) -> RunResult:
    """`result` with what the run has used so far; finished where the run is."""
    result = replace(result, wall_seconds=wall_seconds, peak_memory_bytes=_peak_memory(compute))
    if any(divergence.action == "stop" for divergence in result.divergences):
        return replace(result, status="diverged", finished=_now())
    done = result.epochs_done == result.epochs
    return replace(result, status="complete", finished=_now()) if done else result


def _saved(weights: dict[str, torch.Tensor]) -> bytes:
    """A net's state as `torch.load(..., weights_only=True)` reads it."""
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    return buffer.getvalue()


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


def _device_name(compute: Compute) -> str:
    return (
        torch.cuda.get_device_name(compute.device)
        if compute.device.type == "cuda"
        else environment.cpu_name()
    )


def _peak_memory(compute: Compute) -> int:
    """Peak memory, bytes: allocated on the GPU where one trains, images there included; else resident.

    Of the process: of several runs at once, that of them all.
    """
    on_gpu = compute.device.type == "cuda"
    return torch.cuda.max_memory_allocated() if on_gpu else environment.peak_memory_bytes()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
