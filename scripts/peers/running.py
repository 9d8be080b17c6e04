"""Contenders' processes, as the benchmark sees them."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from peers.cell import Cell
from peers.names import DEFAULT_PEERS

SCRIPT = Path(__file__).parents[1] / "contender_process.py"


class CannotRun(Exception):  # noqa: N818 (an outcome)
    """A contender that fails; says why."""


class Running:
    """A contender that waits for requests."""

    def __init__(self, cell: Path, name: str, log: IO[str], workers: int | None = None) -> None:
        self.name = name
        chosen = [] if workers is None else ["--workers", str(workers)]
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(cell), name, *chosen],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            self.about = self._answer()
        except CannotRun:
            self.end()
            raise

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The answer to one request; raises `CannotRun`."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise CannotRun(f"its process ended with exit code {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise CannotRun(answer["error"])
        return answer

    def end(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class Field:
    """The contenders that run, side by side; one that fails is out, with its reason."""

    def __init__(self, folder: Path, log: IO[str], say: Callable[[str], None]) -> None:
        self.folder, self.log, self.say = folder, log, say
        self.reasons: dict[str, str] = {}
        self.workers: dict[str, int] = {}
        self.chosen: set[str] = set()
        """Those whose workers were chosen by measuring."""
        self.precision: dict[str, str] = {}
        self.input_by: dict[str, str] = {}

    def still(self, names: Iterable[str]) -> list[str]:
        """Those that have not failed."""
        return [name for name in names if name not in self.reasons]

    @contextmanager
    def started(self, cell: Cell, names: Iterable[str]) -> Iterator[dict[str, Running]]:
        """A process for each contender that starts; all end with the block."""
        path = cell.save(self.folder / "cell.json")
        running: dict[str, Running] = {}
        try:
            for name in self.still(names):
                self.say(f"starting {name}")
                with self.watching(name):
                    running[name] = Running(path, name, self.log, self.workers.get(name))
                    self.note(name, running[name].about)
            yield running
        finally:
            for one in running.values():
                one.end()

    @contextmanager
    def watching(self, name: str) -> Iterator[None]:
        """Take a contender that cannot run out of the field."""
        try:
            yield
        except (CannotRun, OSError) as error:
            self.reasons[name] = str(error)
            self.say(f"{name} cannot run: {error}")

    def note(self, name: str, about: dict[str, Any]) -> None:
        """Keep what a contender says of itself."""
        self.workers[name], self.input_by[name] = about["workers"], about["input_by"]
        self.precision[name] = about.get("precision", self.precision.get(name, ""))

    def in_turns(
        self, names: Sequence[str], blocks: "Blocks", work: Callable[[str], float]
    ) -> dict[str, dict[int, float]]:
        """What `work` gives for each contender by block; each block begins with the next contender."""
        found: dict[str, dict[int, float]] = {name: {} for name in names}
        for block in range(blocks.count):
            for name in self.still(rotated(names, block)):
                if blocks.has(block, name):
                    with self.watching(name):
                        found[name][block] = work(name)
            self.say(f"block {block + 1} of {blocks.count}")
        return {name: values for name, values in found.items() if name not in self.reasons}


@dataclass(frozen=True)
class Blocks:
    """How often each contender has its turn: untuned peers, several times slower, in a few blocks only."""

    count: int
    of_defaults: int

    def has(self, block: int, name: str) -> bool:
        """Whether a contender has a turn in this block."""
        fewer = min(self.of_defaults, self.count)
        return name not in DEFAULT_PEERS or block in {i * self.count // fewer for i in range(fewer)}


def rotated(names: Sequence[str], block: int) -> list[str]:
    """The order of a block: ABC, BCA, CAB, ..."""
    start = block % len(names)
    return [*names[start:], *names[:start]]
