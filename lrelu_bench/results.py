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
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from lrelu_bench.errors import BenchError

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


_CHECKED = (int, float, str, bool)


def load_result(folder: Path) -> RunResult:
    """Read one run's `result.json`; raises `BenchError` naming the file and what is wrong with it."""
    path = folder / "result.json"
    try:
        raw = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: cannot read ({error})") from error
    except json.JSONDecodeError as error:
        raise BenchError(f"{path}:{error.lineno}: damaged, not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path}: damaged, not JSON of a result ({error})") from error
    if not isinstance(raw, dict) or "schema_version" not in raw:
        raise BenchError(f"{path}: not a result of lrelu-bench (no schema_version)")
    if raw["schema_version"] != SCHEMA_VERSION:
        raise BenchError(
            f"{path}: schema_version {raw['schema_version']} but this lrelu-bench reads {SCHEMA_VERSION}; "
            "use the version that wrote it"
        )
    return _checked(path, raw)


def _checked(path: Path, raw: dict[str, Any]) -> RunResult:
    """A `RunResult` whose every field is there, unless it has a default, and of its type."""
    values = _fields_of(RunResult, raw, f"{path}: damaged, ")
    if not isinstance(values["activation"], dict) or not isinstance(values["activation"].get("name"), str):
        raise BenchError(f"{path}: damaged, activation has no name")
    for name in ("valid_images", "train_images", "size", "epochs", "batch_size"):
        if values[name] < 1:
            raise BenchError(f"{path}: damaged, {name} is {values[name]}, not a count")
    try:
        json.dumps(raw, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BenchError(f"{path}: damaged, text that is not Unicode ({error.reason})") from error
    for name in ("final_accuracy", "best_accuracy"):
        if values[name] is not None and not 0 <= values[name] <= 1:
            raise BenchError(f"{path}: damaged, {name} is {values[name]}, not a share between 0 and 1")
    if "divergences" in values:
        values["divergences"] = [
            Divergence(**_fields_of(Divergence, one, f"{path}: damaged, divergences[{i}]: "))
            for i, one in enumerate(values["divergences"])
        ]
    return RunResult(**values)


def _fields_of(kind: type[RunResult | Divergence], raw: dict[str, Any], where: str) -> dict[str, Any]:
    """The values of the class's fields; raises `BenchError`, which begins with `where`, for a bad one."""
    optional = [one.name for one in fields(kind) if one.default_factory is not MISSING]
    missing = [one.name for one in fields(kind) if one.name not in raw and one.name not in optional]
    if missing:
        raise BenchError(f"{where}missing {', '.join(missing)}")
    values = {one.name: raw[one.name] for one in fields(kind) if one.name in raw}
    for one in fields(kind):
        problem = _problem(one.type, values[one.name]) if one.name in values else None
        if problem:
            raise BenchError(f"{where}{one.name} is {values[one.name]!r}, not {problem}")
    return values


def _problem(kind: Any, value: Any) -> str | None:
    """What a value should have been, where it is not of its field's type."""
    if get_origin(kind) is Literal:
        return None if value in get_args(kind) else " or ".join(get_args(kind))
    if get_origin(kind) is list:
        (item_kind,) = get_args(kind)
        name, item_type = {str: ("text", str), int: ("counts", int)}.get(item_kind, ("mappings", dict))
        fits = isinstance(value, list) and all(type(item) is item_type for item in value)
        return None if fits else f"a list of {name}"
    # `int | None` is int, and None as well.
    allowed = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if allowed[0] not in _CHECKED or (value is None and NoneType in allowed):
        return None
    numbers = (int, float) if allowed[0] is float else allowed[0]
    # bool is an int to Python, but `true` is no count.
    fits = isinstance(value, numbers) and (allowed[0] is bool or not isinstance(value, bool))
    return None if fits else str(allowed[0].__name__)


def load_epochs(folder: Path) -> list[EpochRow]:
    """Read one run's epochs, a null as NaN; raises `BenchError` naming file and line."""
    path = folder / "epochs.jsonl"
    rows = []
    try:
        for number, line in enumerate(path.read_text().splitlines(), 1):  # noqa: B007 (named in the except)
            values = json.loads(line)
            finite: dict[str, Any] = {key: math.nan if v is None else v for key, v in values.items()}
            wrong = [key for key, v in finite.items() if type(v) not in (int, float)]
            if wrong:
                raise ValueError(f"{wrong[0]} is no number")
            rows.append(EpochRow(**finite))
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: cannot read ({error})") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise BenchError(f"{path}:{number}: damaged ({error})") from error
    return rows
