"""The results folder of the current directory: whether it takes results, and runs that did not end."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lrelu_bench.atomic_file import find_torn
from lrelu_bench.doctor.finding import Finding, ok, problem, warning
from lrelu_bench.doctor.folders import free_bytes, size, why_not_writable
from lrelu_bench.errors import BenchError
from lrelu_bench.locks import holder_of, is_held

FOLDER = Path("results")
"""Where `run` writes unless told otherwise."""
LEAST_BYTES, ENOUGH_BYTES = 64 << 20, 10**9
CLOCK_SLACK = timedelta(minutes=5)
_SHOWN = 3
_ASIDE = re.compile(r"seed-\d+\.(new|old)-\d+")
"""Folders in which a run trained that was to replace another, or the other one."""


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
    """Runs that are finished, unfinished, at work or unreadable; torn files; and whether the clock fits."""
    from lrelu_bench.results import RunResult, load_result

    held = [lock for depth in ("*", "*/*", "*/*/*") for lock in FOLDER.glob(f"{depth}.lock") if is_held(lock)]
    readable: dict[Path, RunResult] = {}
    for path in sorted(FOLDER.glob("*/seed-*/result.json")):
        if _ASIDE.fullmatch(path.parent.name):
            continue
        try:
            readable[path.parent] = load_result(path.parent)
        except BenchError as error:
            yield problem(
                "a run",
                str(error),
                "restore the file, or train the run again: lrelu-bench run CONFIG --force",
            )
    unfinished = [run for run, result in readable.items() if result.status == "running"]
    yield ok("finished runs", f"{len(readable) - len(unfinished):,}")
    for lock in held:
        yield ok("at work", f"{lock.parent} is held by {holder_of(lock)}")
    left = [run for run in unfinished if not _is_worked_on(run, held)]
    if left:
        epochs = [f"{run} ({readable[run].epochs_done} of {readable[run].epochs} epochs)" for run in left]
        yield warning(
            "unfinished", _some(epochs), "give the command that began it again, or delete the folder"
        )
    yield from _torn(held)
    yield from _clock([result.finished or result.started for result in readable.values()])


def _is_worked_on(run: Path, held: list[Path]) -> bool:
    return any(lock.parent == run or (lock.parent == run.parent and run.name in lock.name) for lock in held)


def _torn(held: list[Path]) -> Iterator[Finding]:
    folders = [FOLDER, *FOLDER.glob("*/"), *FOLDER.glob("*/*/")]
    torn = [path for place in folders if not _is_worked_on(place, held) for path in find_torn(place)]
    if torn:
        yield warning(
            "torn files",
            f"{_some(map(str, torn))}: half written by processes that were killed; nothing reads them",
            "delete them",
        )
    aside = [place for place in folders if _ASIDE.fullmatch(place.name) and not _is_worked_on(place, held)]
    if aside and not held:
        yield warning(
            "set aside",
            f"{_some(map(str, sorted(aside)))}: left where a run that replaces another was killed",
            "look whether the run beside it is whole, then delete them",
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
