"""Hostile and careless input by the ten thousand: mutated files thrown at the commands in this process.

    python scripts/fuzz.py                         # some 10,000 inputs, about half an hour on two cores
    python scripts/fuzz.py --kind results --only 137   # one of them again, with all that it said

Prints a Markdown table: what was mutated, how many inputs, how the commands ended, and how many did what no
input may cause: a traceback, a write outside the output folder, over 10 s of processor time or 1 GB, a
process, a pickle, or a letter that drives a terminal. Exits with 1 where there is such a failure; each is
told with its number.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hostile.sandbox import Outcome
from hostile.tries import KINDS, Bench, warm

INPUTS = {"config": 3500, "results": 3000, "taken": 300}
INPUTS |= {"readme": 1500, "claims": 1000, "board": 1200, "names": 500}
STRETCH = 100
"""Inputs that a process tries at a time."""
HEAD = (
    "Mutated",
    "Inputs",
    "Ended well (0)",
    "Refused (2)",
    "Gate not met (4)",
    "Longest",
    "Most memory",
    "Failures",
)


@dataclass
class Total:
    """How the inputs of one kind went."""

    codes: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    longest: tuple[float, int] = (0.0, 0)
    """Seconds, and the number of the input that took them."""
    memory: int = 0
    """The most, bytes."""

    def add(self, other: "Total") -> None:
        """Count those of the other, too."""
        self.codes.update(other.codes)
        self.failures += other.failures
        self.longest, self.memory = max(self.longest, other.longest), max(self.memory, other.memory)

    def row(self, kind: str) -> str:
        """A line of the table."""
        numbers = [f"{n:,}" for n in (self.codes.total(), self.codes[0], self.codes[2], self.codes[4])]
        taken = [
            f"{self.longest[0]:.1f} s (no. {self.longest[1]})",
            f"{self.memory / 1e6:.0f} MB",
            str(len(self.failures)),
        ]
        return f"| {' | '.join([kind, *numbers, *taken])} |"


def one(kind: str, number: int, bench: Bench) -> Outcome:
    """Try the input of that number."""
    return KINDS[kind](Random(f"{kind} {number}"), bench)


def _some(task: tuple[str, range, Path]) -> tuple[str, Total]:
    """A stretch of a kind's inputs."""
    kind, numbers, caches = task
    total = Total()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), caches)
        for number in numbers:
            outcome = one(kind, number, bench)
            total.add(Total(Counter([outcome.code]), [], (outcome.seconds, number), outcome.memory))
            if outcome.problems:
                line = " ".join(map(ascii, outcome.arguments))
                total.failures.append("\n".join([f"{kind} {number}: {line}", *outcome.problems]))
    return kind, total


def _warm(caches: Path) -> None:
    """Import, and build the caches of libraries, outside of any try."""
    with tempfile.TemporaryDirectory() as folder:
        warm(Bench(Path(folder), caches))


def again(kind: str, number: int) -> None:
    """Try one input, say all that is known of it, and leave its files there."""
    bench = Bench(Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp()))
    outcome = one(kind, number, bench)
    print(outcome, outcome.out, outcome.err, *outcome.problems, bench.home, sep="\n")


def main() -> None:
    """Try them all and print the table."""
    as_it_is = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_it_is)
    parser.add_argument("--kind", choices=list(KINDS), help="one kind alone")
    parser.add_argument("--only", type=int, help="the input of this number alone, with all that was said")
    parser.add_argument("--inputs", type=int, help="this many of each kind, not some 10,000 in all")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    kinds = [arguments.kind] if arguments.kind else list(INPUTS)
    if arguments.only is not None:
        again(kinds[0], arguments.only)
        return
    started = time.monotonic()
    totals = {kind: Total() for kind in kinds}
    with tempfile.TemporaryDirectory() as caches:
        _warm(Path(caches))
        tasks = [
            (kind, range(arguments.inputs or INPUTS[kind])[at : at + STRETCH], Path(caches))
            for kind in kinds
            for at in range(0, arguments.inputs or INPUTS[kind], STRETCH)
        ]
        with get_context("spawn").Pool(arguments.processes, _warm, (Path(caches),)) as pool:
            for kind, some in pool.imap_unordered(_some, tasks):
                totals[kind].add(some)
                for failure in some.failures:
                    print(failure, end="\n\n", file=sys.stderr, flush=True)
    print(f"| {' | '.join(HEAD)} |\n|---{'|---:' * (len(HEAD) - 1)}|")
    for kind, total in totals.items():
        print(total.row(kind))
    inputs = sum(total.codes.total() for total in totals.values())
    failed = sum(len(total.failures) for total in totals.values())
    print(f"\n{inputs:,} inputs, {failed} failures, {time.monotonic() - started:.0f} s.")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
