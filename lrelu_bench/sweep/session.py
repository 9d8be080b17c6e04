"""What `sweep` does: find what is complete, hand the rest to an engine, and tell what became of it."""

import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lrelu_bench.atomic_file import write_atomically
from lrelu_bench.checkpoint_header import in_order
from lrelu_bench.config import Experiment
from lrelu_bench.config_file import dump_experiment
from lrelu_bench.errors import BenchError
from lrelu_bench.report.progress import SteadyConsole
from lrelu_bench.report.sweep_progress import failures, render_swept, watch_sweep
from lrelu_bench.run_folder import RunFolder
from lrelu_bench.stopping import stoppable
from lrelu_bench.sweep.driver import Swept, drive
from lrelu_bench.sweep.engines.base import Engine
from lrelu_bench.sweep.task import Task
from lrelu_bench.sweep.work import MARK, OWN

SOME_FAILED = 3
"""The exit code where units failed for good."""


@dataclass(frozen=True)
class Policy:
    """What to do about failures."""

    retries: int = 1
    fail_fast: bool = False


def state_of(experiment: Experiment, seed: int, output: Path) -> str:
    """How a unit stands in the results: complete, diverged, begun or to do."""
    folder = RunFolder.of(output, experiment.slug, seed)
    try:
        found = folder.completed(experiment.digest, seed)
    except BenchError:
        # It fails when its turn comes, and says why.
        return "to do"
    if found is not None:
        return found.status
    return "begun" if in_order(folder.path)[0] else "to do"


def prepare(
    units: Sequence[tuple[Experiment, int]], output: Path, options: Sequence[str]
) -> tuple[list[Task], list[Task]]:
    """The units that are done and those that are not, as tasks; the latter's configs are written for workers.

    Where all are done nothing is written. Raises `BenchError` where the results folder cannot be written.
    """
    output = output.absolute()
    finished = [state_of(experiment, seed, output) in ("complete", "diverged") for experiment, seed in units]
    token = "" if all(finished) else _token(output)
    configs: dict[str, str] = {}
    written: set[Path] = set()
    done: list[Task] = []
    left: list[Task] = []
    for (experiment, seed), is_done in zip(units, finished, strict=True):
        slug = experiment.slug
        path = output / OWN / "configs" / f"{slug}.yaml"
        if slug not in configs:
            configs[slug] = dump_experiment(experiment)
        if not is_done and path not in written:
            write_atomically(path, configs[slug])
            written.add(path)
        task = Task(slug, seed, configs[slug], str(path), str(output), token, tuple(options), str(Path.cwd()))
        (done if is_done else left).append(task)
    return done, left


def _token(output: Path) -> str:
    """What marks this results folder, the same for every sweep of it."""
    mark = output / OWN / MARK
    try:
        found = mark.read_text().strip()
    except (OSError, UnicodeDecodeError):
        found = ""
    # Workers make a path of it.
    if not (found.isalnum() and len(found) == 16):
        found = secrets.token_hex(8)
        write_atomically(mark, found)
    return found


def run_sweep(
    done: Sequence[Task],
    left: Sequence[Task],
    engine: Callable[[], Engine],
    policy: Policy,
    console: SteadyConsole,
    expected: Mapping[str, float] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Swept:
    """Have what is left trained and print the table of what became of all.

    `expected` seconds of a unit and its `labels` are by experiment, for those where they are known.

    Raises `SystemExit` with 3 where units failed, and as a signal's exit code where one asked to stop.
    """
    if done:
        console.say(f"{len(done):,} of {len(done) + len(left):,} units are done already, and skipped")
    swept = Swept()
    with stoppable() as stop:
        if left:
            running = engine()
            if running.capacity is not None:
                logs = Path(left[0].output) / OWN / "logs"
                at_once = f", {running.capacity} at once" if running.capacity > 1 else ""
                console.say(
                    f"training {len(left):,} unit{'s' * (len(left) != 1)}{at_once}; logs are in {logs}"
                )
            try:
                with watch_sweep(console, len(left), expected, labels, running.queues) as view:
                    swept = drive(left, running, view, stop, policy.retries, policy.fail_fast)
            except KeyboardInterrupt:
                running.stop()
                console.say("stopped at once; what was saved stays, and the same command goes on")
                raise SystemExit(stop.exit_code) from None
            finally:
                running.close()
    swept.skipped += done
    console.print(render_swept(swept))
    for line in failures(swept):
        console.say(line)
    # Where the last unit ended in the same moment, nothing was stopped.
    if stop.asked and (swept.stopped or swept.left):
        console.say("stopped; the same command goes on with what is left")
        raise SystemExit(stop.exit_code)
    sys.stdout.flush()
    if swept.failed:
        raise SystemExit(SOME_FAILED)
    return swept
