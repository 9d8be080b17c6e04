"""Which runs may share a row, and what each row is held against: plain values, nothing drawn."""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from lrelu_bench.activations import ACTIVATIONS, LEARNED
from lrelu_bench.claims import Claim, posted_claims
from lrelu_bench.errors import BenchError
from lrelu_bench.evidence.pooled import Pooled
from lrelu_bench.evidence.summaries import summarize
from lrelu_bench.evidence.verdicts import Verdict
from lrelu_bench.leaderboard import DATASETS, BoardRow, load_board
from lrelu_bench.report.labels import activation_label, in_force
from lrelu_bench.results import Run, RunResult, load_result

BOARD_SHARE = 0.8
"""The leaderboard's own rule: a new entry should be above the row in more than this share of its runs."""

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
class PooledRow:
    """An activation against its baseline over all cells of one protocol that can be pooled."""

    protocol: str
    activation: str
    baseline: str
    diverged_cells: int
    """How many more there are that are left out because runs of them diverged."""
    evidence: Pooled


@dataclass(frozen=True)
class CompareRow:
    """Runs that differ in nothing but the seed, and what they are held against. Accuracies are percent."""

    runs: tuple[Run, ...]
    """In the order of their seeds, diverged ones included."""
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
    best_epoch: float | None
    """Mean of the measured runs' best epochs: chosen on the images it is measured on, so never the result."""
    board: BoardRow | None
    comparison: Comparison
    reason: str
    """Why the board's row is but a reference, or why there is none; empty for like for like."""
    difference: float | None
    """Mean less the board's accuracy, percentage points."""
    claims: tuple[Claim, ...]
    """What the posts claimed of this cell and net."""
    baseline: str | None = None
    """The activation that the verdict holds this one against; its own on the row of the baseline itself."""
    verdict: Verdict | None = None
    """None on the baseline's row, and before `report.judging.judged`."""
    pooled: PooledRow | None = None
    """What the row comes to with those of other cells; the same on all rows that are in it."""

    @property
    def n(self) -> int:
        """How many runs, diverged ones included."""
        return len(self.seeds)

    @property
    def measured(self) -> tuple[float, ...]:
        """The accuracies that the mean is of."""
        return tuple(accuracy for accuracy in self.accuracies if accuracy is not None)

    @property
    def lowest(self) -> float | None:
        """Accuracy of the worst measured run after its last epoch."""
        return min(self.measured, default=None)

    @property
    def highest(self) -> float | None:
        """Accuracy of the best measured run after its last epoch."""
        return max(self.measured, default=None)

    @property
    def above_board(self) -> int | None:
        """How many runs end above the board's row; a diverged one does not. None where there is no row."""
        board = self.board
        return None if board is None else sum(accuracy > board.accuracy for accuracy in self.measured)

    @property
    def section(self) -> tuple[Any, ...]:
        """What shares one board row: the cell and the subset."""
        return self.dataset, self.version, self.size, self.epochs, self.subset

    @property
    def setting(self) -> tuple[Any, ...]:
        """Everything but the activation: rows of one setting differ in the activation alone."""
        own = (self.arch, self.protocol_label, self.protocol, self.deviations, self.source, self.precision)
        return *self.section, *own


def pooled_rows(rows: Sequence[CompareRow]) -> list[PooledRow]:
    """What judged rows come to over their cells, one protocol after the other."""
    pools = list(dict.fromkeys(row.pooled for row in rows if row.pooled is not None))
    protocols = list(dict.fromkeys(one.protocol for one in pools))
    return sorted(pools, key=lambda one: protocols.index(one.protocol))


def collect(paths: Iterable[Path | str], purpose: str = "compare") -> tuple[list[Run], list[str]]:
    """Find and load every finished run in these folders; a run folder, an experiment and a whole tree all do.

    Returns the runs and one sentence for each that was skipped: damaged, foreign, unfinished or a duplicate.
    `purpose` is what the error says that there is nothing to do for.
    Raises `BenchError` where a path does not exist or holds no run, or where no finished run is left.
    """
    runs: list[Run] = []
    skipped: list[str] = []
    counted: dict[tuple[Any, ...], Path] = {}
    folders = _run_folders(paths, skipped)
    for folder in folders:
        try:
            result = load_result(folder)
        except BenchError as error:
            skipped.append(error.in_one_line)
            continue
        problem = _unfinished(result)
        if problem:
            skipped.append(f"{folder}: {problem}")
            continue
        first = counted.setdefault((_likeness(result), result.seed), folder)
        if first != folder:
            skipped.append(f"{folder}: same config and seed as {first}, counted once")
            continue
        runs.append(Run(result, folder))
    if not runs:
        raise BenchError(
            f"no finished run to {purpose} among {len(folders)} found (first: {skipped[0]}); "
            "finish one with `lrelu-bench run`"
        )
    return runs, skipped


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
        json.dumps(in_force(result.activation), sort_keys=True),
    )


def rows(runs: Iterable[Run]) -> list[CompareRow]:
    """One row for each set of runs that differ in nothing but the seed, by cell, net and activation."""
    alike: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        alike[_likeness(run.result)].append(run)
    ordered = sorted(alike.values(), key=lambda some: _order(some[0].result))
    return [_row(sorted(some, key=lambda run: run.result.seed)) for some in ordered]


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


def _row(runs: Sequence[Run]) -> CompareRow:
    results = [run.result for run in runs]
    run = results[0]
    accuracies = [None if one.status == "diverged" else _percent(one.final_accuracy) for one in results]
    best_epochs = [_percent(one.best_accuracy) for one in results if one.status != "diverged"]
    chosen = [accuracy for accuracy in best_epochs if accuracy is not None]
    measured = [accuracy for accuracy in accuracies if accuracy is not None]
    summary = summarize(measured) if measured else None
    board, comparison, reason = _held_against(run)
    mean = summary.mean if summary else None
    return CompareRow(
        runs=tuple(runs),
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
        seeds=tuple(one.seed for one in results),
        accuracies=tuple(accuracies),
        diverged=tuple(
            DivergedRun(one.seed, one.diverged_in, one.epochs_done, _percent(one.final_accuracy))
            for one in results
            if one.status == "diverged"
        ),
        unofficial=sum(not one.data_official for one in results if one.source is not None),
        data_digests=len({one.data_digest for one in results}),
        mean=mean,
        sd=summary.sd if summary else None,
        interval=summary.half_width if summary else None,
        best_epoch=fmean(chosen) if chosen else None,
        board=board,
        comparison=comparison,
        reason=reason,
        difference=None if mean is None or board is None else mean - board.accuracy,
        claims=_claims(run),
    )


def _percent(share: float | None) -> float | None:
    # 100 * 0.676 is 67.60000000000001, which would be above a board's 67.6.
    return None if share is None else round(100 * share, 9)


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
    return tuple(claim for claim in posted_claims() if claim.fits(*cell, run.arch))
