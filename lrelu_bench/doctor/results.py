"""The results folder of the current directory: whether it takes results, and runs that did not end."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lrelu_bench.atomic_file import find_torn
from lrelu_bench.checkpoint_header import in_order
from lrelu_bench.doctor.finding import Finding, ok, problem, warning
from lrelu_bench.doctor.folders import free_bytes, size, why_not_writable
from lrelu_bench.errors import BenchError
from lrelu_bench.locks import holder_of, is_held
from lrelu_bench.results import RunResult, load_result
from lrelu_bench.run_folder import RunFolder

FOLDER = Path("results")
"""Where `run` writes unless told otherwise."""
LEAST_BYTES, ENOUGH_BYTES = 64 << 20, 10**9
CLOCK_SLACK = timedelta(minutes=5)
_SHOWN = 3
_BESIDE = re.compile(r"\.(seed-\d+)\.(lock|new|old)")
"""What stands beside a run's folder while somebody works on it."""


def folder() -> Iterator[Finding]:
    """Whether results can be written, and how much is free."""
    try:
        place = FOLDER.absolute()
    except FileNotFoundError:
        yield problem("results folder", "the current directory is gone", "go to another: cd DIR")
        return
    why = why_not_writable(place)
    if why is None:
        made = "" if place.exists() else ", made by the first run"
        yield ok("results folder", f"{place}{made}")
    else:
        yield problem(
            "results folder",
            f"{place} cannot be written ({why})",
            "mend its permissions or free the disk, go to another folder, or run with --output DIR",
        )
    free = free_bytes(place)
    if free >= ENOUGH_BYTES:
        yield ok("space for results", f"{size(free)} free")
    else:
        kind = problem if free < LEAST_BYTES else warning
        yield kind(
            "space for results",
            f"{size(free)} free; nets, telemetry and predictions of a few runs take more",
            "free some, or run with --output DIR on a larger disk",
        )


def runs() -> Iterator[Finding]:
    """Runs that are finished, at work, unfinished or unreadable; what was torn; whether the clock fits."""
    every = _runs()
    at_work = [run for run in every if is_held(RunFolder(run).lock)]
    idle = [run for run in every if run not in at_work]
    readable: dict[Path, RunResult] = {}
    for run in every:
        try:
            if os.path.lexists(run / "result.json"):
                readable[run] = load_result(run)
        except BenchError as error:
            yield problem(
                "a run",
                str(error),
                "restore the file, or train the run again: lrelu-bench run CONFIG --force",
            )
    yield ok("finished runs", f"{sum(result.status != 'running' for result in readable.values()):,}")
    for run in at_work:
        yield ok("at work", f"{run}: {holder_of(RunFolder(run).lock)}")
    unfinished = [run for run in idle if run in readable and readable[run].status == "running"]
    staged = [run for run in idle if RunFolder(run).staged.path.is_dir() and not RunFolder(run).unsettled]
    yield from _unfinished(unfinished, staged)
    unsettled = [run for run in idle if RunFolder(run).unsettled and run not in unfinished]
    if unsettled:
        yield warning(
            "to be tidied",
            f"{_some(map(str, unsettled))}: a process was killed while it put a finished run in its place",
            "give the command that trained it again: it puts that in order and trains nothing anew",
        )
    yield from _torn([run for run in idle if run not in unsettled])
    yield from _clock([result.finished or result.started for result in readable.values()])


def _runs() -> list[Path]:
    """Every run's folder, also of runs that have no more than something beside it."""
    found = {path for path in FOLDER.glob("*/seed-*") if path.is_dir()}
    beside = ((path, _BESIDE.fullmatch(path.name)) for path in FOLDER.glob("*/.seed-*"))
    return sorted(found | {path.with_name(name[1]) for path, name in beside if name})


def _unfinished(runs_: list[Path], staged: list[Path]) -> Iterator[Finding]:
    """Those that nobody trains, with where they go on."""
    words = []
    for run in [*runs_, *staged]:
        saved, damaged = in_order(RunFolder(run).staged.path if run in staged else run)
        where = f"to go on: {saved[0][1].where}" if saved else "nothing saved"
        words.append(f"{run} ({where})")
        for sentence in damaged:
            yield warning(
                "checkpoint",
                sentence,
                "mend its permissions if that is it; a damaged one gives way to the older one by itself",
            )
    if words:
        yield warning(
            "unfinished", _some(words), "give the command that began it again, or delete the folder"
        )


def _torn(idle: list[Path]) -> Iterator[Finding]:
    places = [FOLDER, *(path for path in FOLDER.glob("*") if path.is_dir()), *idle]
    torn = [path for place in places for path in find_torn(place)]
    if torn:
        yield warning(
            "torn files",
            f"{_some(map(str, torn))}: half written by processes that were killed; nothing reads them",
            "delete them",
        )


def _clock(times: list[str]) -> Iterator[Finding]:
    """Whether the clock is past the newest result."""
    now = datetime.now(UTC)
    parsed = [when for text in times if (when := _moment(text)) is not None]
    newest = max(parsed, default=None)
    if newest is not None and newest > now + CLOCK_SLACK:
        yield problem(
            "clock",
            f"shows {now:%Y-%m-%d %H:%M} UTC, but the newest result is of {newest:%Y-%m-%d %H:%M} UTC",
            "set this machine's clock: results are dated by it, and no https address opens with a wrong one",
        )
    else:
        yield ok("clock", f"{now:%Y-%m-%d %H:%M} UTC, past the newest result")


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _some(names: Iterator[str] | list[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more
