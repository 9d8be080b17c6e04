"""The folder of one run: what is in it, who may write there, and how one run takes another's place.

Beside `seed-<n>` there may lie, for a while and invisible to `compare`:

.seed-<n>.lock    who holds it trains there
.seed-<n>.new     a run that takes the place of the finished one in `seed-<n>` once it is finished itself
.seed-<n>.old     the one whose place is being taken
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from lrelu_bench.atomic_file import (
    cannot_write,
    find_torn,
    probe,
    remove_torn,
    sync_folder,
    write_atomically,
)
from lrelu_bench.errors import BenchError
from lrelu_bench.results import EpochRow, RunResult, load_result

CHECKPOINTS = ("checkpoint-a.ckpt", "checkpoint-b.ckpt")
"""What an unfinished run goes on from; written in turn, so that one is always whole."""
FILES = (
    "config.yaml",
    "environment.json",
    "epochs.jsonl",
    "last_good.safetensors",
    "predictions.npz",
    "result.json",
    "telemetry.npz",
    "weights.safetensors",
)
"""What a finished run's folder holds; which of them, `lrelu_bench.results` says."""
_OLDER = ("last_good.pt",)


class RunFolder:
    """The folder of one run: `<output>/<experiment>/seed-<n>`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, output: Path, experiment: str, seed: int) -> Self:
        """The folder of an experiment's seed."""
        return cls(output / experiment / f"seed-{seed}")

    @property
    def lock(self) -> Path:
        """The lock file of whoever trains here."""
        return self._beside("lock")

    @property
    def staged(self) -> "RunFolder":
        """Where a run trains that is to replace the one here."""
        return RunFolder(self._beside("new"))

    def _beside(self, what: str) -> Path:
        # Through a link to where the run really is: renaming does not cross file systems.
        real = self.path.resolve()
        return real.with_name(f".{real.name}.{what}")

    def place(self) -> "RunFolder":
        """Where a run of this folder trains: here, unless one is here that it may only replace."""
        return self.staged if self.occupied else self

    def require_writable(self) -> None:
        """Raises `BenchError` where nothing can be written here: better before a download than after.

        The run's own folder is not made: `settle` asks whether it is there.
        """
        real = self.path.resolve()
        probe(real.parent)
        if real.exists():
            probe(real)

    @property
    def occupied(self) -> bool:
        """Whether a run is here that is not known to be unfinished."""
        return self._finished(if_unreadable=os.path.lexists(self.path / "result.json"))

    def _finished(self, if_unreadable: bool = False) -> bool:
        try:
            return load_result(self.path).status != "running"
        except BenchError:
            return if_unreadable

    def completed(self, config_digest: str, seed: int) -> RunResult | None:
        """The finished run already here with the same config and seed, if there is one.

        Raises `BenchError` where a result is here that cannot be read, or a finished one of another config
        or seed: it may be somebody's only copy.
        """
        path = self.path / "result.json"
        if not os.path.lexists(path):
            return None
        result = load_result(self.path)
        if result.seed != seed:
            raise BenchError(f"{path}: is of seed {result.seed}, copied here from elsewhere")
        if result.status == "running":
            return None
        if result.config_digest != config_digest:
            raise BenchError(
                f"{path}: is of another config (digest {result.config_digest}, not {config_digest}), "
                "copied here from elsewhere"
            )
        return result

    def start(
        self, config: str, environment: Mapping[str, Any], rows: list[EpochRow], result: RunResult
    ) -> None:
        """Write what is known before training begins, or goes on after these epochs."""
        write_atomically(self.path / "config.yaml", config)
        write_atomically(self.path / "environment.json", json.dumps(environment, indent=1) + "\n")
        self.update(rows, result)

    def update(self, rows: list[EpochRow], result: RunResult) -> None:
        """Write the epochs so far and the result as it stands."""
        write_atomically(self.path / "epochs.jsonl", "".join(_line(row) for row in rows))
        write_atomically(self.path / "result.json", json.dumps(asdict(result), indent=1) + "\n")

    def clear(self) -> None:
        """Delete the run here with its checkpoints; whatever else is here is somebody's and stays."""
        self._delete((*FILES, *_OLDER, *CHECKPOINTS))
        remove_torn(self.path)

    def finish(self) -> None:
        """Delete what only an unfinished run needs."""
        self._delete(CHECKPOINTS)
        remove_torn(self.path)

    def _delete(self, names: Iterable[str]) -> None:
        for name in names:
            try:
                (self.path / name).unlink(missing_ok=True)
            except OSError as error:
                raise cannot_write(self.path / name, error) from error

    @property
    def unsettled(self) -> bool:
        """Whether `settle` has anything to do."""
        leftovers = bool(find_torn(self.path)) or any((self.path / name).exists() for name in CHECKPOINTS)
        return self._beside("old").exists() or self.staged._finished() or (leftovers and self._finished())

    def settle(self) -> bool:
        """Finish what a process was killed in: a replacement, or tidying up; whether a run was replaced.

        To be called by the holder of the lock. Raises `BenchError` where the disk does not allow it.
        """
        new, old, real = self.staged, self._beside("old"), self.path.resolve()
        replaced = new._finished() or old.exists()
        try:
            if old.exists():
                if not self.occupied:
                    self._make_room(real, old)
                    (new.path if new._finished() else old).rename(real)
                if old.exists():
                    self._retire(old)
            if new._finished():
                new.finish()
                self.replace()
        except OSError as error:
            raise cannot_write(self.path, error) from error
        # Of a run whose result cannot be read, the checkpoints may be all there is.
        if self._finished():
            self.finish()
        return replaced

    @staticmethod
    def _make_room(real: Path, old: Path) -> None:
        """Somebody may have made the folder anew meanwhile: the run put aside may be the only one."""
        try:
            if real.exists():
                real.rmdir()
        except OSError as error:
            raise BenchError(
                f"{real}: holds no run, and stands in the way of the one that was put aside in {old}; "
                "move what is in it elsewhere"
            ) from error

    def replace(self) -> None:
        """Put the finished run that was staged in this one's place; what was here is gone only after that."""
        real, old = self.path.resolve(), self._beside("old")
        if real.exists():
            real.rename(old)
        self.staged.path.rename(real)
        # The names must be on the disk before the other run is deleted.
        sync_folder(real.parent)
        if old.exists():
            self._retire(old)

    def _retire(self, old: Path) -> None:
        for name in (*FILES, *_OLDER, *CHECKPOINTS):
            (old / name).unlink(missing_ok=True)
        remove_torn(old)
        # Whatever else somebody put there is theirs, and goes back.
        for left in old.iterdir():
            left.rename(self.path.resolve() / left.name)
        with suppress(OSError):  # not empty where somebody has put something there since
            old.rmdir()


def _line(row: EpochRow) -> str:
    # JSON has no NaN: a loss that is not finite is null.
    values = {key: value if math.isfinite(value) else None for key, value in asdict(row).items()}
    return json.dumps(values) + "\n"
