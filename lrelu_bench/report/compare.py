"""Which runs may share a row, and what each row is held against: plain values, nothing drawn."""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lrelu_bench.activations import ACTIVATIONS, LEARNED
from lrelu_bench.errors import BenchError
from lrelu_bench.evidence import summarize
from lrelu_bench.leaderboard import DATASETS, BoardRow, Claim, load_board, load_claims
from lrelu_bench.results import RunResult, load_result

Comparison = Literal["like for like", "reference", "no board row"]


@dataclass(frozen=True)
class DivergedRun:
    """A run whose loss left the finite numbers. Its accuracy (percent) is where it stopped, not a result."""

    seed: int
    epoch: int
    """The epoch it broke in."""
    epochs_done: int
    accuracy: float | None


@dataclass(frozen=True)
class CompareRow:
    """Runs that differ in nothing but the seed, and what they are held against. Accuracies are percent."""

    dataset: str
    version: str
    subset: int | None
    """Training images per class; None is all of them."""
    source: str | None
    """Resolution of the archive's images, px; None for a data set that comes from none."""
    size: int
    epochs: int
    arch: str
    protocol: str
    """The protocol the config names."""
    protocol_label: str
    """The protocol's name, or `custom` where the runs leave it."""
    deviations: tuple[str, ...]
    precision: str
    activation: str
    """The activation's name and every option that is not its default."""
    valid_images: int
    seeds: tuple[int, ...]
    """Of every run, diverged ones included."""
    accuracies: tuple[float | None, ...]
    """Accuracy after the last epoch, one per seed; None where the run diverged: it is not in the mean."""
    diverged: tuple[DivergedRun, ...]
    unofficial: int
    """How many runs read an archive whose bytes are not the official release's."""
    data_digests: int
    """How many different copies of the data the runs read."""
    mean: float | None
    sd: float | None
    interval: float | None
    """Half width of the 95 % t interval, percentage points; None below two measured runs."""
    best_run: float | None
    """Accuracy of the best single run after its last epoch."""
    board: BoardRow | None
    comparison: Comparison
    reason: str
    """Why the board's row is but a reference, or why there is none; empty for like for like."""
    difference: float | None
    """Mean less the board's accuracy, percentage points."""
    claims: tuple[Claim, ...]
    """What the posts claimed of this cell and net."""

    @property
    def n(self) -> int:
        """How many runs, diverged ones included."""
        return len(self.seeds)

    @property
    def measured(self) -> tuple[float, ...]:
        """The accuracies that the mean is of."""
        return tuple(accuracy for accuracy in self.accuracies if accuracy is not None)

    @property
    def section(self) -> tuple[Any, ...]:
        """What shares one board row: the cell and the subset."""
        return self.dataset, self.version, self.size, self.epochs, self.subset

    @property
    def setting(self) -> tuple[Any, ...]:
        """Everything but the activation: rows of one setting differ in the activation alone."""
        own = (self.arch, self.protocol_label, self.protocol, self.deviations, self.source, self.precision)
        return *self.section, *own


def collect(paths: Iterable[Path | str]) -> tuple[list[RunResult], list[str]]:
    """Find and load every finished run in these folders; a run folder, an experiment and a whole tree all do.

    Returns the runs and one sentence for each that was skipped: damaged, foreign, unfinished or a duplicate.
    Raises `BenchError` where a path does not exist or holds no run, or where no finished run is left.
    """
    results: list[RunResult] = []
    skipped: list[str] = []
    counted: dict[tuple[Any, ...], Path] = {}
    folders = _run_folders(paths, skipped)
    for folder in folders:
        try:
            result = load_result(folder)
        except BenchError as error:
            skipped.append(str(error))
            continue
        problem = _unfinished(result)
        if problem:
            skipped.append(f"{folder}: {problem}")
            continue
        first = counted.setdefault((_likeness(result), result.seed), folder)
        if first != folder:
            skipped.append(f"{folder}: same config and seed as {first}, counted once")
            continue
        results.append(result)
    if not results:
        raise BenchError(
            f"no finished run to compare among {len(folders)} found (first: {skipped[0]}); "
            "finish one with `lrelu-bench run`"
        )
    return results, skipped


def _run_folders(paths: Iterable[Path | str], skipped: list[str]) -> list[Path]:
    """Every folder with a `result.json`, named as the user named it, each once."""
    found: dict[Path, Path] = {}

    def unreadable(error: OSError) -> None:
        skipped.append(f"{error.filename}: cannot read the folder ({error.strerror})")

    for path in map(Path, paths):
        if not path.exists():
            raise BenchError(f"{path}: does not exist; give a results folder, such as results/")
        root = path.parent if path.name == "result.json" else path
        # A folder of that name is damage to be named, too.
        folders = [
            Path(folder)
            for folder, inside, names in os.walk(root, onerror=unreadable)
            if "result.json" in (*names, *inside)
        ]
        if not folders:
            raise BenchError(f"{path}: holds no run (no result.json in it); give a results folder")
        for folder in sorted(folders):
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def _unfinished(result: RunResult) -> str | None:
    """Why a run that loads has no result to compare."""
    progress = f"{result.epochs_done} of {result.epochs} epochs"
    if result.status == "running":
        return f"not finished: {progress}"
    if result.status == "complete" and (result.final_accuracy is None or result.epochs_done != result.epochs):
        return f"damaged, complete but with {progress} and final_accuracy {result.final_accuracy}"
    return None


def _likeness(result: RunResult) -> tuple[Any, ...]:
    """Everything that two runs must have in common before their accuracies may be averaged.

    The config's digest would not do: `precision: auto` is one digest, but bf16 here and fp32 there.
    """
    return (
        (result.dataset, result.version, result.subset, result.source, result.size, result.epochs),
        (result.train_images, result.valid_images),
        (result.arch, result.protocol, result.protocol_label, tuple(result.deviations)),
        (result.batch_size, result.lr, result.precision),
        json.dumps(_in_force(result.activation), sort_keys=True),
    )


def _in_force(activation: dict[str, Any]) -> dict[str, Any]:
    """The options that are set, with 1 and 1.0 the same number, whatever key they stand below."""
    set_ = {key: value for key, value in _flat(activation).items() if value is not None}
    return {key: float(value) if type(value) is int else value for key, value in set_.items()}


def _flat(activation: dict[str, Any]) -> dict[str, Any]:
    """Every option by its key in a config, below `activation`."""
    options = activation.get("options")
    named = {f"options.{key}": value for key, value in options.items()} if isinstance(options, dict) else {}
    return {key: value for key, value in activation.items() if key != "options"} | named


def rows(results: Iterable[RunResult]) -> list[CompareRow]:
    """One row for each set of runs that differ in nothing but the seed, by cell, net and activation."""
    alike: dict[tuple[Any, ...], list[RunResult]] = defaultdict(list)
    for result in results:
        alike[_likeness(result)].append(result)
    ordered = sorted(alike.values(), key=lambda runs: _order(runs[0]))
    return [_row(sorted(runs, key=lambda run: run.seed)) for runs in ordered]


def _order(run: RunResult) -> tuple[Any, ...]:
    names = list(ACTIVATIONS)
    # The zoo's order puts plain ReLU, the baseline, before what is held against it.
    activation = names.index(run.activation_name) if run.activation_name in names else len(names)
    return (
        (run.dataset, run.version, run.size, run.epochs, run.subset or 0),
        # Runs that leave their protocol come after those that keep one.
        (
            run.arch,
            run.protocol_label == "custom",
            run.protocol,
            run.deviations,
            run.source or "",
            run.precision,
        ),
        (activation, activation_label(run.activation)),
    )


def _row(runs: Sequence[RunResult]) -> CompareRow:
    run = runs[0]
    accuracies = [None if one.status == "diverged" else _percent(one.final_accuracy) for one in runs]
    measured = [accuracy for accuracy in accuracies if accuracy is not None]
    summary = summarize(measured) if measured else None
    board, comparison, reason = _held_against(run)
    mean = summary.mean if summary else None
    return CompareRow(
        dataset=run.dataset,
        version=run.version,
        subset=run.subset,
        source=run.source,
        size=run.size,
        epochs=run.epochs,
        arch=run.arch,
        protocol=run.protocol,
        protocol_label=run.protocol_label,
        deviations=tuple(run.deviations),
        precision=run.precision,
        activation=activation_label(run.activation),
        valid_images=run.valid_images,
        seeds=tuple(one.seed for one in runs),
        accuracies=tuple(accuracies),
        diverged=tuple(
            DivergedRun(one.seed, one.diverged_in, one.epochs_done, _percent(one.final_accuracy))
            for one in runs
            if one.status == "diverged"
        ),
        unofficial=sum(not one.data_official for one in runs if one.source is not None),
        data_digests=len({one.data_digest for one in runs}),
        mean=mean,
        sd=summary.sd if summary else None,
        interval=summary.half_width if summary else None,
        best_run=max(measured, default=None),
        board=board,
        comparison=comparison,
        reason=reason,
        difference=None if mean is None or board is None else mean - board.accuracy,
        claims=_claims(run),
    )


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _held_against(run: RunResult) -> tuple[BoardRow | None, Comparison, str]:
    """The board's row, whether it was measured as the run was, and if not, with what."""
    if run.dataset == "procedural":
        return None, "no board row", "procedural data"
    if run.dataset not in DATASETS:
        return None, "no board row", "no such board"
    if run.subset is not None:
        return None, "no board row", "subset"
    board = load_board().row_of(run.dataset, run.version, run.size, run.epochs)
    if board is None:
        return None, "no board row", "no such cell"
    differs = board.unlike(run.arch, run.protocol_label)
    return (board, "reference", f"board: {', '.join(differs)}") if differs else (board, "like for like", "")


def _claims(run: RunResult) -> tuple[Claim, ...]:
    """What the posts claimed: learned ReLUs on the whole of v1 only."""
    spec = ACTIVATIONS.get(run.activation_name)
    posted = spec is not None and spec.implementation.startswith(LEARNED)
    if not posted or run.version != "v1" or run.subset is not None:
        return ()
    cell = (run.dataset, run.version, run.size, run.epochs)
    return tuple(claim for claim in load_claims() if claim.fits(*cell, run.arch))


def activation_label(activation: dict[str, Any]) -> str:
    """The name and every option that is not the default, such as `learned_relu(layer, leak=0.1)`."""
    name = str(activation["name"])
    spec = ACTIVATIONS.get(name)
    activation = _flat(activation)
    defaults: dict[str, Any] = {"weight_decay": 0.0, "ema_use": "evaluation"}
    if spec:
        defaults |= {**spec.keys, "granularity": next(iter(spec.granularity), None)}
    known = ("granularity", "leak", "sub", "maxv", "weight_decay")
    options = [*known, *sorted(activation.keys() - {"name", *known})]
    changed = [key for key in options if activation.get(key) not in (None, defaults.get(key))]
    phrases = [_option(key, activation[key]) for key in changed]
    return f"{name}({', '.join(phrases)})" if phrases else name


def _option(key: str, value: Any) -> str:
    if key == "granularity":
        return str(value)
    if key == "code":
        return f"code {str(value)[:8]}"
    if key == "learn":
        return f"learn={'+'.join(value)}"
    if key == "bounds":
        return ", ".join(f"{name} in [{low:g}, {high:g}]" for name, (low, high) in sorted(value.items()))
    key = key.removeprefix("options.")
    return f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
