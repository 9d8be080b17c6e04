"""What the page reads of each run beside its result. A file that cannot be read is left out and named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lrelu_bench import plain_file
from lrelu_bench.errors import BenchError
from lrelu_bench.results import EpochRow, Run, load_epochs
from lrelu_bench.telemetry_file import Telemetry

_LARGEST = 64 * 1024
"""Bytes of a config or an environment that the page takes in; ours are of one or two thousand."""

Content = TypeVar("Content")


class RunFiles:
    """Reads files of runs; a sentence on each that could not be used is added to `skipped`."""

    def __init__(self, skipped: list[str]) -> None:
        self.skipped = skipped

    def epochs(self, run: Run) -> tuple[EpochRow, ...] | None:
        """Every epoch of the run, in order."""
        return self._read(run.folder, _epochs, run, "its learning curve")

    def telemetry(self, run: Run) -> Telemetry | None:
        """What the run's activations did."""
        return self._read(run.folder, lambda one: Telemetry.load(one.folder), run, "its parameters")

    def config(self, run: Run) -> str | None:
        """The config's text."""
        return self._read(run.folder / "config.yaml", _text, run.folder / "config.yaml", "its config")

    def environment(self, run: Run) -> dict[str, str] | None:
        """Versions, hardware and data, flattened: `versions.torch`."""
        path = run.folder / "environment.json"
        return self._read(path, _environment, path, "its environment")

    def _read(self, where: Path, read: Callable[[Any], Content], given: Any, what: str) -> Content | None:
        try:
            return read(given)
        except BenchError as error:
            problem = error.in_one_line
        except (ValueError, TypeError, KeyError, RecursionError, OSError, OverflowError) as error:
            # Whatever a stranger's file holds, one run less is no reason to have no page.
            problem = f"{where}: damaged ({error})"
        self.skipped.append(f"{problem}; {what} is left out")
        return None


def _epochs(run: Run) -> tuple[EpochRow, ...]:
    path = run.folder / "epochs.jsonl"
    rows = load_epochs(run.folder)
    for number, row in enumerate(rows, 1):
        if row.epoch != number:
            raise BenchError(f"{path}:{number}: damaged, not the numbers of epoch {number}")
    if len(rows) != run.result.epochs_done:
        raise BenchError(f"{path}: holds {len(rows)} epochs, but the result says {run.result.epochs_done}")
    return tuple(rows)


def _text(path: Path) -> str:
    return plain_file.read_text(path, _LARGEST, "bring back the one that the run wrote")


def _environment(path: Path) -> dict[str, str]:
    raw = json.loads(_text(path))
    if not isinstance(raw, dict):
        raise BenchError(f"{path}: damaged, not the environment of a run")
    return dict(_flat(raw, ""))


def _flat(raw: dict[str, Any], prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in raw.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", "none" if value is None else str(value)))
    return found
