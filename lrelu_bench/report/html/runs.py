"""Where each run came from: how it was made, on what, from which data, and how to make it again."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from lrelu_bench.report.compare import CompareRow
from lrelu_bench.report.html.files import RunFiles
from lrelu_bench.report.wording import NOTHING, section_title
from lrelu_bench.results import Run, RunResult

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RunView:
    """One run, under its anchor."""

    anchor: str
    title: str
    facts: Facts
    command: str


@dataclass(frozen=True)
class Shared:
    """A file's content, and the seeds whose runs have it."""

    seeds: str
    text: str = ""
    facts: Facts = ()


@dataclass(frozen=True)
class RowRuns:
    """The runs of one row, with what they have in common said once."""

    anchor: str
    activation: str
    setting: str
    count: int
    common: Facts
    runs: tuple[RunView, ...]
    configs: tuple[Shared, ...]
    environments: tuple[Shared, ...]


def anchors(rows: Sequence[CompareRow]) -> dict[tuple[str, int], str]:
    """A name on the page for each run, by its folder and seed."""
    runs = [run for row in rows for run in row.runs]
    return {(str(run.folder), run.result.seed): f"run-{i}" for i, run in enumerate(runs, 1)}


def row_runs(row: CompareRow, anchor: str, links: dict[tuple[str, int], str], files: RunFiles) -> RowRuns:
    """All that is known of a row's runs."""
    facts = [_facts(run) for run in row.runs]
    alike = [pair for pair in facts[0] if all(pair in other for other in facts)] if len(facts) > 1 else []
    views = tuple(
        RunView(
            links[str(run.folder), run.result.seed],
            f"Seed {run.result.seed}: {_outcome(run.result)}",
            tuple(pair for pair in own if pair not in alike),
            shlex.join(
                ["lrelu-bench", "run", str(run.folder / "config.yaml"), "--seed", str(run.result.seed)]
            ),
        )
        for run, own in zip(row.runs, facts, strict=True)
    )
    configs: dict[str, list[int]] = {}
    environments: dict[Facts, list[int]] = {}
    for run in row.runs:
        text, environment = files.config(run), files.environment(run)
        if text is not None:
            configs.setdefault(text, []).append(run.result.seed)
        if environment is not None:
            environments.setdefault(tuple(environment.items()), []).append(run.result.seed)
    return RowRuns(
        anchor,
        row.activation,
        f"{section_title(row)}, {row.arch}, {row.protocol_label}, {row.precision}",
        row.n,
        tuple(alike),
        views,
        tuple(Shared(_seeds(seeds), text=text) for text, seeds in configs.items()),
        tuple(Shared(_seeds(seeds), facts=found) for found, seeds in environments.items()),
    )


def _outcome(result: RunResult) -> str:
    if result.status == "diverged":
        return f"diverged in epoch {result.diverged_in}"
    return NOTHING if result.final_accuracy is None else f"{100 * result.final_accuracy:.2f} %"


def _facts(run: Run) -> Facts:
    result = run.result
    best = (
        NOTHING
        if result.best_accuracy is None
        else f"{100 * result.best_accuracy:.2f} % in epoch {result.best_epoch}"
    )
    official = "official bytes" if result.data_official else "not the official bytes"
    if result.source is None and not result.data_official:
        official = "no official release"
    memory = result.peak_memory_bytes
    speed = result.images_per_second
    return (
        ("Folder", str(run.folder)),
        ("Finished", result.finished or NOTHING),
        ("Wall time", _duration(result.wall_seconds)),
        ("Training speed", NOTHING if speed is None else f"{speed:.1f} images/s"),
        ("Peak memory", NOTHING if memory is None else f"{memory / 1e9:.2f} GB"),
        ("Hardware", result.device),
        ("Precision", result.precision),
        ("Best epoch", best),
        ("Epochs", f"{result.epochs_done} of {result.epochs}"),
        ("Batch size", str(result.batch_size)),
        ("Learning rate", f"{result.lr:g}"),
        ("Images", f"{result.train_images:,} to train, {result.valid_images:,} to validate"),
        ("Parameters", f"{result.parameters:,}, {result.activation_parameters:,} of them in activations"),
        ("Data", f"{official}, {result.data_digest}"),
        ("Commit", result.commit or "unknown"),
        ("Config digest", result.config_digest),
    )


def _duration(seconds: float) -> str:
    """`1 h 24 min`, `3 min 20 s` or `12.3 s`."""
    if not 0 <= seconds < 1e9:
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
