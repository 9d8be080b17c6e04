"""Results on disk: one folder per run, a versioned schema, written whole after every epoch.

results/<experiment>/seed-<n>/
    config.yaml            the resolved config: `lrelu-bench run` accepts it
    environment.json       versions, hardware, commit, data digest
    epochs.jsonl           one line per finished epoch
    result.json            the run's `RunResult`
    predictions.npz        predicted and true class of every validation image, final epoch; of a complete run
    telemetry.npz          what the activations did: `lrelu_bench.telemetry_file.Telemetry`
    weights.safetensors    the net's parameters and buffers after the final epoch; of a complete run
    last_good.safetensors  the same after the last epoch whose numbers were finite; of a diverged run
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lrelu_bench import plain_file
from lrelu_bench.errors import BenchError
from lrelu_bench.typed_json import beyond, fields_of, shown

SCHEMA_VERSION = 1

Status = Literal["running", "complete", "diverged"]
Action = Literal["stop", "rewind"]


@dataclass(frozen=True)
class EpochRow:
    """One epoch: losses are means per image, accuracy is a share, times are seconds."""

    epoch: int
    train_loss: float
    valid_loss: float
    accuracy: float
    correct: int
    lr: float
    train_seconds: float
    valid_seconds: float
    images_per_second: float


@dataclass(frozen=True)
class Divergence:
    """Where the numbers of a run stopped being finite, and what was done about it."""

    epoch: int
    """From 1."""
    step: int
    """Optimizer step of the whole run, from 1."""
    parameter: str
    """What went first: `loss`, `valid_loss`, or a parameter of an activation, such as `leak`."""
    layer: str | None
    """Module path, such as `4.convs.2`. Of a parameter, its activation; of the loss, the first batch norm
    whose input was not finite either; None where there is none."""
    depth: int | None
    """Of a parameter, the place of its activation among all of them, from 0 at the input."""
    last_good_epoch: int
    """The last epoch that ended with finite numbers; 0 is the start."""
    action: Action
    """`stop`, or `rewind` to the end of that epoch."""
    activation_lr_mult: float | None
    """After a rewind, what the schedule's learning rate is multiplied by for the activations' parameters."""


@dataclass(frozen=True)
class RunResult:
    """What one run says of itself. Accuracies are shares in [0, 1] of the whole validation set."""

    status: Status
    experiment: str
    """The results folder's name; equal for all seeds of one experiment."""
    config_digest: str
    seed: int
    dataset: str
    version: str
    source: str | None
    """Resolution of the archive; None for a data set that comes from none."""
    subset: int | None
    size: int
    epochs: int
    arch: str
    activation: dict[str, Any]
    """Name and every option in force."""
    protocol: str
    """The protocol the config names."""
    protocol_label: str
    """The protocol's name, or `custom` where the run leaves it."""
    deviations: list[str]
    batch_size: int
    lr: float
    precision: str
    """What was computed in: fp32, bf16 or fp16."""
    device: str
    parameters: int
    activation_parameters: int
    train_images: int
    valid_images: int
    data_digest: str
    data_official: bool
    """Whether the archive's bytes are the official release's."""
    epochs_done: int
    final_accuracy: float | None
    """Accuracy after the last epoch: the result."""
    best_accuracy: float | None
    best_epoch: int | None
    wall_seconds: float
    images_per_second: float | None
    """Training images per second, augmentation included, validation excluded."""
    peak_memory_bytes: int | None
    commit: str | None
    started: str
    finished: str | None
    schema_version: int = SCHEMA_VERSION
    divergences: list[Divergence] = field(default_factory=list)
    """In the order they happened; results from before this field have none, diverged or not."""
    resumed: list[int] = field(default_factory=list)
    """Optimizer steps that were done each time the run was taken up again; none where it ran through."""

    @property
    def diverged_in(self) -> int:
        """The epoch (from 1) that the last divergence was in."""
        return self.divergences[-1].epoch if self.divergences else self.epochs_done

    @property
    def activation_name(self) -> str:
        """The activation's name."""
        return str(self.activation["name"])


@dataclass(frozen=True)
class Run:
    """A result and where it was read from."""

    result: RunResult
    folder: Path
    """As the user named it, or as it was found below what the user named."""


_LARGEST_RESULT = 1_000_000
_LARGEST_EPOCHS = 4_000_000
_MOST_EPOCHS = 10_000
_REMEDY = "bring back the one that the run wrote"
EPOCH_RANGE: tuple[float, float] = (-1e39, 1e39)
"""Of an epoch's numbers: the losses of a run that is about to diverge are large, but fp32 holds no larger."""
EPOCH_RANGES: dict[str, tuple[float, float]] = {"epoch": (1, 1e6), "accuracy": (0, 1), "correct": (0, 1e12)}
"""Of those that have their own."""
LEAST = {
    **dict.fromkeys(("valid_images", "train_images", "size", "epochs", "batch_size"), 1),
    **dict.fromkeys(("epochs_done", "seed", "parameters", "activation_parameters", "lr", "wall_seconds"), 0),
}
"""By field, what no run's number is below."""


def load_result(folder: Path) -> RunResult:
    """Read one run's `result.json`; raises `BenchError` naming the file and what is wrong with it."""
    path = folder / "result.json"
    text = plain_file.read_text(path, _LARGEST_RESULT, _REMEDY)
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise BenchError(f"{path}:{error.lineno}: damaged, not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path}: damaged, not JSON of a result ({error})") from error
    if not isinstance(raw, dict) or "schema_version" not in raw:
        raise BenchError(f"{path}: not a result of lrelu-bench (no schema_version)")
    version = raw["schema_version"]
    if version != SCHEMA_VERSION or type(version) is not int:
        newer = type(version) is int and SCHEMA_VERSION < version < 1000
        what = "written by a newer lrelu-bench; upgrade lrelu-bench" if newer else "damaged; no such version"
        raise BenchError(
            f"{path}: schema_version {shown(version)} but this lrelu-bench reads {SCHEMA_VERSION}: {what}"
        )
    return _checked(path, raw)


def _checked(path: Path, raw: dict[str, Any]) -> RunResult:
    """A `RunResult` whose every field is there, unless it has a default, and of its type."""
    values = fields_of(RunResult, raw, f"{path}: damaged, ")
    problem = _problem_of_activation(values["activation"])
    if problem:
        raise BenchError(f"{path}: damaged, activation {problem}")
    for name, least in LEAST.items():
        if values[name] < least:
            raise BenchError(f"{path}: damaged, {name} is {values[name]}, not {least} or more")
    try:
        json.dumps(raw, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BenchError(f"{path}: damaged, text that is not Unicode ({error.reason})") from error
    for name in ("final_accuracy", "best_accuracy"):
        if values[name] is not None and not 0 <= values[name] <= 1:
            raise BenchError(f"{path}: damaged, {name} is {values[name]}, not a share between 0 and 1")
    if "divergences" in values:
        values["divergences"] = [
            Divergence(**fields_of(Divergence, one, f"{path}: damaged, divergences[{i}]: "))
            for i, one in enumerate(values["divergences"])
        ]
    return RunResult(**values)


def _problem_of_activation(activation: Any) -> str | None:
    """What is wrong with a name and its options: numbers, words, nothing, or a few of these below one key."""
    if not isinstance(activation, dict) or not isinstance(activation.get("name"), str):
        return "has no name"
    for key, value in activation.items():
        if key == "options" and isinstance(value, dict):
            fits = all(map(_is_number, value.values()))
        elif key == "bounds" and isinstance(value, dict):
            fits = all(_is_interval(one) for one in value.values())
        elif key == "learn" and isinstance(value, list):
            fits = all(isinstance(one, str) for one in value)
        else:
            fits = value is None or (isinstance(value, int | float | str) and beyond(value) is None)
            fits = fits and (key not in ("bounds", "learn", "options") or value is None)
        if not fits:
            return f"has {key} {shown(value)}, which is no such option"
    return None


def _is_interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and beyond(value) is None


def load_epochs(folder: Path) -> list[EpochRow]:
    """Read one run's epochs, a null as NaN; raises `BenchError` naming file and line."""
    path = folder / "epochs.jsonl"
    rows = []
    lines = plain_file.read_text(path, _LARGEST_EPOCHS, _REMEDY).splitlines()
    if len(lines) > _MOST_EPOCHS:
        raise BenchError(f"{path}: damaged, holds over {_MOST_EPOCHS:,} epochs, which no run has; {_REMEDY}")
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BenchError(f"{path}:{number}: damaged ({error})") from error
        if not isinstance(values, dict):
            raise BenchError(f"{path}:{number}: damaged (not an epoch's numbers)")
        # What is not finite is null, and in the first versions' files NaN.
        known = {key: 0.0 if _is_nan(value) else value for key, value in values.items()}
        found = fields_of(EpochRow, known, f"{path}:{number}: damaged, ")
        for name, value in found.items():
            least, most = EPOCH_RANGES.get(name, EPOCH_RANGE)
            if not least <= value <= most:
                where = f"{path}:{number}: damaged, {name} is {shown(value)}"
                raise BenchError(f"{where}, not between {least:g} and {most:g}")
        found |= {key: math.nan for key in found if _is_nan(values[key])}
        rows.append(EpochRow(**found))
    return rows


def _is_nan(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))
