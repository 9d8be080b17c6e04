"""Kill runs and feed them with faults at random moments, then finish and compare: a table of what survived.

Each subject (an optimizer, an option of learning) is trained once in peace and many times with something in
the way, from `lrelu-bench run` on and in processes of its own. Survived means: each end has its documented
exit code and no traceback, no file under its final name is ever torn, the same command finishes the run, and
result, weights, predictions and telemetry are then bit for bit what they are in peace.

    python scripts/torture.py --runs 100 --output results/torture.md
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from torturing import runs
from torturing.subjects import SUBJECTS

from lrelu_bench import environment
from lrelu_bench.atomic_file import write_atomically

LONGEST = 4
"""Most acts in the way of one run."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--runs", type=int, default=100, help="runs that are disturbed, over all subjects")
    arguments.add_argument("--seed", type=int, default=0, help="decides what happens when")
    arguments.add_argument("--output", type=Path, help="where the table goes, besides the terminal")
    given = arguments.parse_args()
    started, chance = time.monotonic(), random.Random(given.seed)
    total = runs.Tally()
    with tempfile.TemporaryDirectory() as place:
        names = [list(SUBJECTS)[i % len(SUBJECTS)] for i in range(given.runs)]
        peaceful = {name: runs.in_peace(name, Path(place, name, "peace"), 0) for name in dict.fromkeys(names)}
        for number, name in enumerate(names):
            acts = chance.choices(
                list(runs.ACTS), [8, *[1] * (len(runs.ACTS) - 1)], k=chance.randint(1, LONGEST)
            )
            if chance.random() < 0.3:
                acts += ["killed", chance.choice(list(runs.DAMAGES))]
            folder = Path(place, name, f"run-{number}")
            total += runs.disturb(name, folder, *peaceful[name], acts, number, force=chance.random() < 0.25)
            print(f"{number + 1} of {given.runs}: {name}, {', '.join(acts)}", file=sys.stderr, flush=True)
    table = report(total, given.runs, given.seed, time.monotonic() - started)
    print(table)
    if given.output:
        write_atomically(given.output, table + "\n")
    sys.exit(1 if total.problems else 0)


def report(total: runs.Tally, asked: int, seed: int, seconds: float) -> str:
    """The table, in Markdown."""
    failed = {act: sum(f" after {act}: " in problem for problem in total.problems) for act in total.faults}
    spoilt = {problem.partition("): ")[0] for problem in total.problems}
    lines = [
        "# Runs with something in the way",
        "",
        f"`python scripts/torture.py --runs {asked} --seed {seed}`, commit {environment.source_commit()}, "
        f"{environment.cpu_name()}, {seconds / 60:.0f} minutes.",
        "",
        f"{len(SUBJECTS)} subjects: {', '.join(SUBJECTS)}.",
        "",
        "| what happened | times | survived |",
        "|---|---:|---:|",
        *(f"| {act} | {times} | {times - failed[act]} |" for act, times in total.faults.most_common()),
        f"| **all** | **{total.faults.total()}** | **{total.faults.total() - sum(failed.values())}** |",
        f"| runs that ended as in peace | {total.runs} | {total.runs - len(spoilt)} |",
        "",
        "| moment | times |",
        "|---|---:|",
        *(f"| {moment} | {times} |" for moment, times in total.by_moment.most_common()),
        "",
        f"Files torn: {sum('torn' in problem for problem in total.problems)}. "
        f"Results changed: {sum('undisturbed' in problem for problem in total.problems)}. "
        f"Left over: {sum('left over' in problem for problem in total.problems)}.",
    ]
    return "\n".join([*lines, *(f"\n- {problem[:500]}" for problem in total.problems)])


if __name__ == "__main__":
    main()
