"""A finished run as any tracker can take it: what was measured at which step, and what the run was."""

import hashlib
import json
import math
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lrelu_bench import plain_file
from lrelu_bench.config_file import load_experiment
from lrelu_bench.errors import BenchError
from lrelu_bench.report.labels import activation_label
from lrelu_bench.report.progress import divergence_line
from lrelu_bench.results import EpochRow, RunResult, load_epochs
from lrelu_bench.strict_yaml import Place, parse, read_text
from lrelu_bench.telemetry_file import FILE as TELEMETRY
from lrelu_bench.telemetry_file import Telemetry

SOURCES = ("config.yaml", "environment.json", "epochs.jsonl", "result.json", TELEMETRY)
"""The files of a run that an export is made of."""
_LARGEST = 64_000_000
CHANNEL_BINS = 30

OUTPUTS, LEARNED = "outputs", "learned"
"""What the names of the telemetry's series begin with."""


@dataclass(frozen=True)
class Histogram:
    """Counts between neighbouring edges, of which there is one more."""

    counts: NDArray[np.int64]
    edges: NDArray[np.float64]


@dataclass
class Moment:
    """What was measured at one optimizer step."""

    epoch: float
    """The step in epochs: 1.5 is the middle of the second."""
    time: float
    """Seconds since 1970."""
    scalars: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)


@dataclass(frozen=True)
class ExportedRun:
    """A finished run's series, and what the run was. Accuracies are percent."""

    result: RunResult
    config: str
    """The file's text."""
    environment: dict[str, Any]
    started: float
    """Seconds since 1970."""
    finished: float
    moments: dict[int, Moment]
    """By optimizer step from 0, the untrained net; in that order."""
    has_telemetry: bool

    @classmethod
    def load(cls, folder: Path, result: RunResult) -> Self:
        """Read the rest of a run whose `result.json` was read; without telemetry it is its epochs alone.

        Raises `BenchError` where a file is missing, damaged or does not fit the others.
        """
        rows = _epochs(folder, result)
        steps = load_experiment(folder / "config.yaml").effective_recipe.steps_per_epoch(result.train_images)
        clock = _Clock(folder, result, rows)
        moments: dict[int, Moment] = {}
        has_telemetry = (folder / TELEMETRY).exists()
        if has_telemetry:
            _add_telemetry(moments, folder, steps, clock)
        for row, end in zip(rows, clock.ends[1:], strict=True):
            moment = moments.setdefault(row.epoch * steps, Moment(row.epoch, end))
            # A sample of the epoch's last step is from before the validation.
            moment.time = end
            moment.scalars |= {
                "train/loss": row.train_loss,
                "train/lr": row.lr,
                "train/images_per_second": row.images_per_second,
                "valid/loss": row.valid_loss,
                "valid/accuracy_percent": 100 * row.accuracy,
            }
        return cls(
            result=result,
            config=read_text(folder / "config.yaml"),
            environment=_environment(folder),
            started=clock.ends[0],
            finished=clock.finished,
            moments=dict(sorted(moments.items())),
            has_telemetry=has_telemetry,
        )

    @property
    def last_step(self) -> int:
        """The last step that anything is known of."""
        return max(self.moments, default=0)

    @property
    def config_values(self) -> dict[str, Any]:
        """The config as plain data."""
        values: dict[str, Any] = parse(self.config, lambda line: Place(line + 1, f"line {line + 1}")).data
        return values

    @property
    def hparams(self) -> dict[str, str | float | None]:
        """What tells experiments apart, under the same names for every run; equal for all seeds of one."""
        result = self.result
        activation = {key: result.activation.get(key) for key in ("leak", "sub", "maxv")}
        return {
            "dataset": result.dataset,
            "version": result.version,
            "source": result.source or "",
            "subset": str(result.subset or "all"),
            "size": result.size,
            "epochs": result.epochs,
            "arch": result.arch,
            "activation": activation_label(result.activation),
            "protocol": result.protocol_label,
            "precision": result.precision,
            "batch_size": result.batch_size,
            "lr": result.lr,
            "activation_parameters": result.activation_parameters,
            **{
                f"activation_{key}": value if isinstance(value, int | float) else None
                for key, value in activation.items()
            },
        }

    @property
    def outcome(self) -> dict[str, float]:
        """The result in numbers. Where the run diverged it has no final accuracy: it only stopped there."""
        result = self.result
        values = {
            "final_accuracy_percent": _percent(
                result.final_accuracy if result.status == "complete" else None
            ),
            "best_epoch_accuracy_percent": _percent(result.best_accuracy),
            "best_epoch": result.best_epoch,
            "epochs_done": result.epochs_done,
            "wall_seconds": result.wall_seconds,
            "images_per_second": result.images_per_second,
            "peak_memory_bytes": result.peak_memory_bytes,
        }
        return {f"result/{key}": value for key, value in values.items() if value is not None}

    @property
    def status(self) -> str:
        """How the run ended, a line for each divergence."""
        return "\n".join([self.result.status, *map(divergence_line, self.result.divergences)])

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to filter by."""
        result = self.result
        words = [f"{result.dataset}-{result.version}", result.arch, result.activation_name]
        words += [result.protocol_label, result.precision]
        return (*words, "diverged") if result.status == "diverged" else tuple(words)

    @property
    def result_values(self) -> dict[str, Any]:
        """`result.json` as plain data."""
        return asdict(self.result)


def digest(folder: Path) -> str:
    """SHA-256 of all that an export of this run is made of; raises `BenchError` for what cannot be read."""
    seen = hashlib.sha256()
    for name in SOURCES:
        path = folder / name
        with suppress(plain_file.MissingError):
            content = plain_file.read_bytes(path, _LARGEST)
            seen.update(f"{name} {len(content)}\n".encode() + content)
    return seen.hexdigest()


class _Clock:
    """When what happened, in seconds since 1970, by the run's own times."""

    def __init__(self, folder: Path, result: RunResult, rows: list[EpochRow]) -> None:
        try:
            started = datetime.fromisoformat(result.started).timestamp()
            self.finished = datetime.fromisoformat(result.finished or "").timestamp()
        except ValueError as error:
            raise BenchError(
                f"{folder / 'result.json'}: damaged, start or end is no time ({error})"
            ) from error
        self.training = [row.train_seconds for row in rows]
        self.ends = [started]
        for row in rows:
            self.ends.append(self.ends[-1] + row.train_seconds + row.valid_seconds)

    def at(self, epoch: float) -> float:
        """The moment this far into the training."""
        index = max(math.ceil(epoch) - 1, 0)
        if index < len(self.training):
            return self.ends[index] + (epoch - index) * self.training[index]
        # How long the epoch took that a run broke in, nobody wrote down.
        index = len(self.training)
        usual = self.training[-1] if self.training else self.finished - self.ends[0]
        return max(self.ends[-1], min(self.ends[-1] + (epoch - index) * usual, self.finished))


def _epochs(folder: Path, result: RunResult) -> list[EpochRow]:
    rows = load_epochs(folder)
    for number, row in enumerate(rows, 1):
        if row.epoch != number:
            raise BenchError(
                f"{folder / 'epochs.jsonl'}:{number}: damaged, not the numbers of epoch {number}"
            )
    if len(rows) != result.epochs_done:
        raise BenchError(
            f"{folder / 'epochs.jsonl'}: damaged, holds {len(rows)} epochs where result.json says "
            f"{result.epochs_done}"
        )
    return rows


def _environment(folder: Path) -> dict[str, Any]:
    path = folder / "environment.json"
    try:
        values = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path}: damaged, not JSON ({error})") from error
    if not isinstance(values, dict):
        raise BenchError(f"{path}: damaged, not an object")
    return values


def _add_telemetry(moments: dict[int, Moment], folder: Path, steps: int, clock: _Clock) -> None:
    seen = Telemetry.load(folder)
    if abs(seen.step / steps - seen.epoch).max() > 1e-3:
        raise BenchError(
            f"{folder / TELEMETRY}: damaged, its steps are not those of config.yaml, {steps} an epoch"
        )
    for epoch in range(len(seen.values)):
        moment = moments[epoch * steps] = Moment(epoch, clock.at(epoch))
        moment.histograms |= _channels(seen, epoch)
    for sample, step in enumerate(seen.step.tolist()):
        moment = moments.setdefault(step, Moment(step / steps, clock.at(step / steps)))
        moment.scalars |= _sampled(seen, sample)
        moment.histograms |= _outputs(seen, sample)


def _sampled(seen: Telemetry, sample: int) -> dict[str, float]:
    """The numbers of one sampled step. A number that does not exist has no name here."""
    found = {"train/lr": float(seen.lr[sample])}
    # Of a run that diverged these may be NaN, and then that is what was measured.
    always = {"mean": seen.mean, "std": seen.std, "near_zero": seen.near_zero}
    learned = {"min": seen.param_min, "mean": seen.param_mean, "max": seen.param_max}
    where_finite = {
        "grad_norm": seen.grad_norm,
        "update_ratio": seen.update_ratio,
        "at_bound": seen.at_bound,
    }
    for site, name in enumerate(seen.site.tolist()):
        for what, values in always.items():
            found[f"{OUTPUTS}_{what}/{name}"] = float(values[sample, site])
        if not np.isnan(seen.capped[sample, site]):
            found[f"{OUTPUTS}_capped/{name}"] = float(seen.capped[sample, site])
        for index, parameter in enumerate(seen.parameter.tolist()):
            if seen.of_parameter(site, index) is None:
                continue
            for what, values in learned.items():
                found[f"{LEARNED}_{parameter}_{what}/{name}"] = float(values[sample, site, index])
            for what, values in where_finite.items():
                if not np.isnan(values[sample, site, index]):
                    found[f"{LEARNED}_{parameter}_{what}/{name}"] = float(values[sample, site, index])
    return found


def _outputs(seen: Telemetry, sample: int) -> dict[str, Histogram]:
    """Each site's outputs; what lay outside the edges is one bin more on either side."""
    edges = seen.edges.astype(np.float64)
    edges = np.array([2 * edges[0] - edges[1], *edges, 2 * edges[-1] - edges[-2]])
    counts = seen.histogram[sample].astype(np.int64)
    names = seen.site.tolist()
    return {f"{OUTPUTS}_histogram/{name}": Histogram(counts[i], edges) for i, name in enumerate(names)}


def _channels(seen: Telemetry, epoch: int) -> dict[str, Histogram]:
    """Each learned parameter's values over channels, at the start or after an epoch."""
    found: dict[str, Histogram] = {}
    for site, name in enumerate(seen.site.tolist()):
        for index, parameter in enumerate(seen.parameter.tolist()):
            values = seen.of_parameter(site, index)
            if values is None:
                continue
            finite = values[epoch][np.isfinite(values[epoch])].astype(np.float64)
            if len(finite):
                counts, edges = np.histogram(finite, CHANNEL_BINS)
                found[f"{LEARNED}_{parameter}_channels/{name}"] = Histogram(counts, edges)
    return found


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
