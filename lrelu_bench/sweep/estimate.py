"""How long the runs of a plan take, reckoned from speeds that were measured, and never from a guess.

A run's images are its training images in every epoch, and its validation images in every epoch at a third:
forward alone is a third of forward and backward. (Recorded runs validate 2 to 4 times as fast as they train.)
Hours are those images by the speed; only where runs of the very same experiment are finished, their time
counts instead. What a process takes to begin, seconds as a rule, is in neither.

Hours and speeds are those of a whole device. What a run on the CPU does not say is how many others ran
beside it; that is read from when they ran. Of speeds that fit equally the fastest counts: whatever else the
machine was doing has slowed the others, and nothing makes a device faster than it is.
"""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib import resources
from math import log2
from pathlib import Path
from statistics import median
from typing import Any

from lrelu_bench import environment
from lrelu_bench.config import Experiment
from lrelu_bench.data.datasets import expected_counts
from lrelu_bench.errors import BenchError
from lrelu_bench.results import RunResult, load_result
from lrelu_bench.run_folder import RunFolder
from lrelu_bench.sweep.planner import SweepPlan

VALIDATION_SHARE = 1 / 3
"""What a validation image costs of a training image."""
LEAST_IMAGES = 2_000
"""How many a run must have trained on for its speed to count for others: less is mostly warming up."""
_PRECISIONS = ("bf16", "fp16", "fp32")
"""In the order that `precision: auto` prefers them."""


@dataclass(frozen=True)
class Speed:
    """How fast a device was with one net."""

    arch: str
    size: int
    activation: str
    batch_size: int
    precision: str
    device: str
    """A GPU's name, or a CPU's with its cores."""
    gpu: bool
    images_per_second: float
    """Training images of the whole device, augmentation included: of all runs that shared it together."""
    runs_at_once: int
    """How many runs shared the device."""
    source: str
    """Where the number stands: a folder of runs, or a file."""
    recorded: bool = False
    """Whether it comes with the package, and not from the user's own results."""
    runs: int = 1
    """How many runs it is the median of."""
    brief: bool = False
    """Whether the runs were too short to tell how fast others are."""


@dataclass(frozen=True)
class Speeds:
    """All that is known: speeds that differ in more than their source, and what whole runs took."""

    known: tuple[Speed, ...]
    run_hours: Mapping[tuple[str, str, str], Sequence[float]] = field(default_factory=dict)
    """Of the user's own complete runs, by config digest, device and precision: hours of the device."""


@dataclass(frozen=True)
class Estimate:
    """Hours of the device that one run of a cell takes."""

    hours: float | None
    """None where no speed is known to reckon with."""
    basis: str
    """Where the number comes from, or why there is none."""


@dataclass(frozen=True)
class Target:
    """What a plan is estimated for."""

    device: str | None = None
    """Its name among the speeds; None for the likeliest."""
    precision: str | None = None
    """What `precision: auto` is there; None where that is not known."""
    why: str = ""
    """In words, for the reader of the plan."""


@dataclass(frozen=True)
class Estimates:
    """What one run of each cell of a plan takes, all on the same device."""

    device: str | None
    """None where no speed is known of any."""
    gpu: bool
    by_experiment: Mapping[str, Estimate]
    """By the results folder's name."""
    why: str = ""
    """Why it is this device, in words."""


def this_cpu() -> str:
    """What the CPU of this machine is called among the speeds."""
    return _cpu(environment.cpu_name(), environment.usable_cores())


def _cpu(name: str, cores: int) -> str:
    # A server CPU's name is the same for a slice of two cores and for the whole.
    return f"{name}, {cores} core{'s' * (cores != 1)}"


def of_plan(plan: SweepPlan, output: Path, target: Target = Target()) -> Estimates:
    """What the plan's runs take, by the finished runs in `output` and by the package's own record."""
    own = measured_speeds(output)
    return estimate(plan, replace(own, known=(*own.known, *recorded_speeds())), target)


def seconds_by_experiment(estimates: Estimates) -> dict[str, float]:
    """Seconds that a run takes, by the results folder's name, where that is known."""
    hours = {name: one.hours for name, one in estimates.by_experiment.items()}
    return {name: 3600 * one for name, one in hours.items() if one is not None}


def recorded_speeds() -> tuple[Speed, ...]:
    """The speeds that the package carries; each stands in the results of its repository."""
    text = resources.files("lrelu_bench.reference").joinpath("speeds.csv").read_text(encoding="utf-8")
    return tuple(
        Speed(
            arch=row["arch"],
            size=int(row["size"]),
            activation=row["activation"],
            batch_size=int(row["batch_size"]),
            precision=row["precision"],
            device=row["device"],
            gpu=row["kind"] == "gpu",
            images_per_second=float(row["images_per_second"]),
            runs_at_once=int(row["runs_at_once"]),
            source=row["source"],
            recorded=True,
            runs=int(row["runs"]),
        )
        for row in csv.DictReader(text.splitlines())
    )


def measured_speeds(output: Path) -> Speeds:
    """What the finished runs in a results folder tell; one that cannot be read counts for nothing."""
    found = []
    for path in sorted(output.glob("*/seed-*/result.json")):
        try:
            result = load_result(path.parent)
        except BenchError:
            continue
        if result.status != "running" and result.images_per_second:
            found.append(_Finished.of(path.parent, result))
    workloads = {run.workload for run in found if run.company_known}
    cells = {run.cell for run in found if run.company_known}
    alike: dict[Speed, list[float]] = defaultdict(list)
    hours: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for run in found:
        speed = run.speed(found, str(output))
        # A run whose company is not known tells only where no other does.
        if run.company_known or run.workload not in workloads:
            alike[replace(speed, images_per_second=0.0)].append(speed.images_per_second)
        if run.result.status == "complete" and (run.company_known or run.cell not in cells):
            whole = run.result.wall_seconds / 3600 / speed.runs_at_once
            hours[run.cell].append(whole)
    known = (replace(one, images_per_second=median(all_), runs=len(all_)) for one, all_ in alike.items())
    return Speeds(tuple(known), hours)


@dataclass(frozen=True)
class _Finished:
    """A finished run, and where and when it ran."""

    result: RunResult
    gpu: bool
    cores: int
    told_at_once: int
    """How many runs its own process trained at once."""
    host: str
    """Empty where that is not known."""
    span: tuple[float, float] | None
    """On the CPU: begin and end, in seconds since 1970; None where it was interrupted between them."""

    @classmethod
    def of(cls, folder: Path, result: RunResult) -> "_Finished":
        told = _json(folder / "environment.json")
        gpu = told.get("gpu") is not None
        span = None if gpu or result.resumed else _span(result)
        # Who trained there last; the file stays.
        host = str(_json(RunFolder(folder).lock).get("host", ""))
        return cls(result, gpu, _count(told.get("cores")), _count(told.get("runs_at_once")), host, span)

    @property
    def device(self) -> str:
        return self.result.device if self.gpu else _cpu(self.result.device, self.cores)

    @property
    def company_known(self) -> bool:
        """Whether it is known what shared the device: not of a run on a CPU that was interrupted."""
        return self.gpu or not self.result.resumed

    @property
    def workload(self) -> tuple[Any, ...]:
        """What decides the speed."""
        result = self.result
        what = (result.arch, result.size, result.activation_name, result.batch_size)
        return *what, self.device, result.precision

    @property
    def cell(self) -> tuple[str, str, str]:
        """Experiment, device and precision."""
        return self.result.config_digest, self.device, self.result.precision

    def speed(self, others: Iterable["_Finished"], source: str) -> Speed:
        """How fast the whole device was, with all that shared it."""
        result, at_once = self.result, max(self.told_at_once, self._shared(others))
        return Speed(
            arch=result.arch,
            size=result.size,
            activation=result.activation_name,
            batch_size=result.batch_size,
            precision=result.precision,
            device=self.device,
            gpu=self.gpu,
            images_per_second=(result.images_per_second or 0.0) * at_once,
            runs_at_once=at_once,
            source=source,
            brief=result.train_images * result.epochs_done < LEAST_IMAGES,
        )

    def _shared(self, others: Iterable["_Finished"]) -> int:
        """How many runs, this one included, were on this CPU while it ran, on average."""
        if self.span is None:
            return 1
        begin, end = self.span
        beside = sum(
            max(0.0, min(end, one.span[1]) - max(begin, one.span[0]))
            for one in others
            if one is not self and one.span is not None and (one.device, one.host) == (self.device, self.host)
        )
        return round(1 + beside / (end - begin))


def _span(result: RunResult) -> tuple[float, float] | None:
    try:
        end = datetime.fromisoformat(result.finished or "").timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return (end - result.wall_seconds, end) if result.wall_seconds > 0 else None


def _json(path: Path) -> dict[str, Any]:
    """What a file tells; nothing where it cannot be read."""
    try:
        told = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 1


def estimate(plan: SweepPlan, speeds: Speeds, target: Target = Target()) -> Estimates:
    """What the runs of a plan take on one device: the target's, or the likeliest where it names none.

    The likeliest is what most of the user's own runs were on, else the first recorded GPU.
    """
    chosen = target.device or _likeliest(speeds.known)
    of_device = [speed for speed in speeds.known if speed.device == chosen]
    found = {}
    for cell in plan.cells:
        wanted = _precisions(cell.experiment, target)
        keys = ((cell.experiment.digest, chosen or "", precision) for precision in wanted)
        own = [hours for key in keys for hours in speeds.run_hours.get(key, ())]
        found[cell.experiment.slug] = (
            Estimate(median(own), f"{_of_runs(len(own))} of this very cell")
            if own
            else _estimate(cell.experiment, of_device, chosen, wanted)
        )
    return Estimates(chosen, any(speed.gpu for speed in of_device), found, target.why)


def _precisions(experiment: Experiment, target: Target) -> tuple[str, ...]:
    """What the experiment may be computed in: two CPUs of one name may differ in their units for bf16."""
    chosen = target.precision if experiment.precision == "auto" else experiment.precision
    return (chosen,) if chosen else _PRECISIONS


def _likeliest(known: Iterable[Speed]) -> str | None:
    own: Counter[str] = Counter()
    recorded = None
    for speed in known:
        if not speed.recorded:
            own[speed.device] += speed.runs
        elif recorded is None and speed.gpu:
            recorded = speed.device
    return max(sorted(own), key=lambda name: own[name]) if own else recorded


def _estimate(
    experiment: Experiment, speeds: Sequence[Speed], device: str | None, precisions: Sequence[str]
) -> Estimate:
    fit = [
        one for one in speeds if one.arch == experiment.arch and not one.brief and one.precision in precisions
    ]
    if not fit:
        precision = f" in {precisions[0]}" if len(precisions) == 1 else ""
        where = f" on {device}" if device else ""
        return Estimate(None, f"no speed is known of {experiment.arch}{precision}{where}")
    batch = experiment.effective_recipe.batch_size
    least = min(_distance(one, experiment, batch) for one in fit)
    nearest = [one for one in fit if _distance(one, experiment, batch) == least]
    fastest = max(nearest, key=lambda one: one.images_per_second)
    # A net's work goes by its pixels.
    speed = fastest.images_per_second * (fastest.size / experiment.size) ** 2
    return Estimate(images(experiment) / speed / 3600, _basis(fastest, len(nearest), experiment, batch))


def images(experiment: Experiment) -> float:
    """Images that a run trains on, in all epochs, and as much of its validation as that costs."""
    train, valid = expected_counts(experiment)
    return experiment.epochs * (train + VALIDATION_SHARE * valid)


def _distance(speed: Speed, experiment: Experiment, batch: int) -> tuple[float, ...]:
    """How far a speed is from what an experiment needs, the gravest difference first."""
    return (
        abs(log2(speed.size / experiment.size)),
        speed.recorded,
        _PRECISIONS.index(speed.precision) if speed.precision in _PRECISIONS else len(_PRECISIONS),
        speed.activation != experiment.activation.name,
        abs(log2(speed.batch_size / batch)),
    )


def _basis(speed: Speed, of: int, experiment: Experiment, batch: int) -> str:
    what = [f"{speed.arch} at {speed.size} px in {speed.precision}"]
    if speed.size != experiment.size:
        what.append(f"scaled to {experiment.size} px by its pixels")
    if (speed.activation, speed.batch_size) != (experiment.activation.name, batch):
        what.append("another activation or batch")
    if speed.runs_at_once > 1:
        what.append(f"{speed.runs_at_once} runs at once, all together")
    fastest = "the fastest, " if of > 1 else ""
    told = "the fastest recorded" if speed.recorded else f"{fastest}{_of_runs(speed.runs)}"
    return f"{', '.join(what)}; {told} in {speed.source}"


def _of_runs(count: int) -> str:
    return f"{count} finished run{'s' * (count != 1)}"
