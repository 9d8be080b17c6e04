"""What `export` does on a terminal: find finished runs, write those that are not there yet, say so."""

import tempfile
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from lrelu_bench.errors import BenchError
from lrelu_bench.export.place import Place
from lrelu_bench.export.series import ExportedRun, digest
from lrelu_bench.report.compare import collect
from lrelu_bench.report.progress import SteadyConsole, watch_data
from lrelu_bench.results import RunResult

TrackerName = Literal["tensorboard", "wandb"]
SHOWN = 5
"""How many places that are taken an error names."""


class Tracker(Protocol):
    """One module per tracker."""

    def opened(self, scratch: Path) -> AbstractContextManager[Callable[[ExportedRun, Path], None]]:
        """What writes a run into an empty folder, while it is open."""

    def next_step(self, output: Path) -> str:
        """What to do with what was exported, in one line."""


@dataclass(frozen=True)
class _Job:
    source: Path
    result: RunResult
    place: Place
    digest: str


def export(
    paths: Iterable[Path], name: TrackerName, output: Path, force: bool, console: SteadyConsole
) -> None:
    """Export every finished run in these folders for a tracker; one that is there already stays.

    Raises `BenchError` where the tracker is not installed, where nothing can be exported, and after the rest
    is exported, where a run's place holds something else that may not be replaced.
    """
    tracker = _tracker(name)
    found, skipped = collect(paths, "export")
    jobs: list[_Job] = []
    refused: list[str] = []
    there = 0
    taken: dict[Path, Path] = {}
    for run in found:
        source, result = run.folder, run.result
        try:
            job = _Job(source, result, Place(output, source, result), digest(source))
        except BenchError as error:
            skipped.append(error.in_one_line)
            continue
        first = taken.setdefault(job.place.path, source)
        if first != source:
            refused.append(
                f"{source}: same experiment and seed as {first}, but not the same run; "
                "export it to another --output"
            )
            continue
        try:
            state = job.place.state(name, job.digest)
        except BenchError as error:
            refused.append(error.in_one_line)
            continue
        if state == "other" and not force:
            refused.append(
                f"{job.place.path}: holds an export of another state of this run; --force replaces it"
            )
        elif state == "same" and not force:
            there += 1
        else:
            jobs.append(job)
    done = _write(jobs, tracker, name, output, console, skipped, refused) if jobs else 0
    for sentence in skipped:
        console.say(f"skipped: {sentence}")
    if done or there:
        already = f"; {there} there already, --force writes them again" if there else ""
        console.say(f"exported {done} run{'' if done == 1 else 's'} to {output}{already}")
        console.say(tracker.next_step(output))
    if refused:
        more = [f"and {len(refused) - SHOWN} more like these"] if len(refused) > SHOWN else []
        raise BenchError(*refused[:SHOWN], *more)
    if not done and not there:
        raise BenchError(f"none of the {len(found)} finished runs could be exported; mend what was skipped")


def _tracker(name: TrackerName) -> Tracker:
    try:
        if name == "tensorboard":
            from lrelu_bench.export import to_tensorboard

            return to_tensorboard
        from lrelu_bench.export import to_wandb

        return to_wandb
    except ImportError as error:
        raise BenchError(
            f"--tracker {name} needs the {name} package; pip install 'lrelu-bench[{name}]' ({error})"
        ) from error


def _write(
    jobs: list[_Job],
    tracker: Tracker,
    name: TrackerName,
    output: Path,
    console: SteadyConsole,
    skipped: list[str],
    refused: list[str],
) -> int:
    """Export these, and say how many went well."""
    done = 0
    output.mkdir(parents=True, exist_ok=True)
    # Beside the places, so that a finished run moves to its own whole or not at all.
    with (
        tempfile.TemporaryDirectory(dir=output, prefix=".export-") as scratch_name,
        tracker.opened(Path(scratch_name)) as write,
        watch_data(console) as progress,
    ):
        scratch = Path(scratch_name)
        for number, job in enumerate(jobs, 1):
            try:
                run = ExportedRun.load(job.source, job.result)
            except BenchError as error:
                skipped.append(error.in_one_line)
                continue
            staged = scratch / f"run-{number}"
            staged.mkdir()
            write(run, staged)
            try:
                job.place.put(staged, name, job.digest, scratch)
            except BenchError as error:
                refused.append(error.in_one_line)
                continue
            done += 1
            if not run.has_telemetry:
                console.say(f"{job.source}: no telemetry.npz, an older run; exported its epochs alone")
            progress("export", number, len(jobs))
    return done
