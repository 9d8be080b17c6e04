"""Hostile and careless input by the ten thousand: mutated files thrown at the commands in this process.

    python scripts/fuzz.py                         # some 10,000 inputs, about half an hour on two cores
    python scripts/fuzz.py --kind results --only 137   # one of them again, with all that it said

Prints a Markdown table: what was mutated, how many inputs, how the commands ended, and how many did what no
input may cause: a traceback, a write outside the output folder, over 10 s or 1 GB, a process, a pickle, or a
letter that drives a terminal. Exits with 1 where there is such a failure; each is told with its number.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hostile.sandbox import Outcome
from hostile.tries import KINDS, Bench, warm

INPUTS = {"config": 3000, "results": 4000, "readme": 1500, "claims": 1200, "board": 1000, "names": 500}


def one(kind: str, number: int, bench: Bench) -> Outcome:
    """Try the input of that number."""
    return KINDS[kind](Random(f"{kind} {number}"), bench)


def _some(task: tuple[str, int, int, Path]) -> tuple[str, Counter[int], list[str], float, int]:
    """A stretch of a kind's inputs: exit codes, failures, longest seconds, most bytes."""
    kind, first, stop, caches = task
    codes: Counter[int] = Counter()
    failures, seconds, memory = [], 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), caches)
        for number in range(first, stop):
            outcome = one(kind, number, bench)
            codes[outcome.code] += 1
            seconds, memory = max(seconds, outcome.seconds), max(memory, outcome.memory)
            if outcome.problems:
                told = "\n".join(outcome.problems)
                failures.append(f"{kind} {number}: {' '.join(map(ascii, outcome.arguments))}\n{told}")
    return kind, codes, failures, seconds, memory


def _warm(caches: Path) -> None:
    """Import, and build the caches of libraries, outside of any try."""
    with tempfile.TemporaryDirectory() as folder:
        warm(Bench(Path(folder), caches))


def main() -> None:
    """Try them all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=list(KINDS), help="one kind alone")
    parser.add_argument("--only", type=int, help="the input of this number alone, with all that was said")
    parser.add_argument("--inputs", type=int, help="this many of each kind, not some 10,000 in all")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    kinds = [arguments.kind] if arguments.kind else list(INPUTS)
    if arguments.only is not None:
        bench = Bench(Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp()))
        outcome = one(kinds[0], arguments.only, bench)
        print(f"{outcome}\n\n{outcome.out}\n{outcome.err}\n" + "\n".join(outcome.problems) + f"\n{bench.home}")
        return
    counts = {kind: arguments.inputs or INPUTS[kind] for kind in kinds}
    caches = Path(tempfile.mkdtemp(prefix="lrelu-bench-fuzz-"))
    tasks = [
        (kind, at, min(at + 100, counts[kind]), caches) for kind in kinds for at in range(0, counts[kind], 100)
    ]
    started = time.monotonic()
    totals = {kind: (Counter[int](), [], [0.0], [0]) for kind in kinds}
    with get_context("spawn").Pool(arguments.processes, _warm, (caches,)) as pool:
        for kind, codes, failures, seconds, memory in pool.imap_unordered(_some, tasks):
            totals[kind][0].update(codes)
            totals[kind][1].extend(failures)
            totals[kind][2].append(seconds)
            totals[kind][3].append(memory)
            for failure in failures:
                print(failure, end="\n\n", file=sys.stderr, flush=True)
    print("| Mutated | Inputs | Ended well (0) | Refused in a message (2) | Gate not met (4) | Longest | Most memory | Failures |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for kind, (codes, failures, seconds, memory) in totals.items():
        cells = [kind, *(f"{n:,}" for n in (codes.total(), codes[0], codes[2], codes[4]))]
        print(f"| {' | '.join(cells)} | {max(seconds):.1f} s | {max(memory) / 1e6:.0f} MB | {len(failures)} |")
    inputs, failed = sum(t[0].total() for t in totals.values()), sum(len(t[1]) for t in totals.values())
    print(f"\n{inputs:,} inputs, {failed} failures, {time.monotonic() - started:.0f} s.")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
