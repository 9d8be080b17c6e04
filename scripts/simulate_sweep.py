"""What a sweep costs beyond its training: instant units through the driver and each engine.

    python scripts/simulate_sweep.py --units 10000 --engine local

A unit writes a synthetic finished result of one of 50 cells and trains nothing; driver and engine are those
of `lrelu-bench sweep`. Prints a row of a Markdown table: seconds, overhead per unit, peak memory of the
driver, and what `compare` takes on the outcome. `--engine processes` is the local engine with a process each,
of a bare Python; `--engine slurm` runs the units through submitit's executor of one machine, a job each;
`--engine sbatch` submits job arrays to a stand-in for sbatch, and nothing runs.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lrelu_bench.results import RunResult
from lrelu_bench.sweep.driver import drive
from lrelu_bench.sweep.engines import local
from lrelu_bench.sweep.engines.base import Engine
from lrelu_bench.sweep.task import Outcome, Task
from lrelu_bench.sweep.work import Working

CELLS = 50
TOKEN = "0123456789abcdef"
HEADER = (
    "| Engine | Units | Seconds | ms per unit | Driver's peak MB | compare s | compare's peak MB |\n"
    "|---|---:|---:|---:|---:|---:|---:|"
)


def result(cell: int, seed: int) -> str:
    """A finished run as its file says it; the accuracy differs a little from seed to seed."""
    noise = int(hashlib.sha256(f"{cell}/{seed}".encode()).hexdigest()[:6], 16) / 0xFFFFFF - 0.5
    accuracy = round(500 * (0.6 + 0.002 * (cell % 10) + 0.04 * noise)) / 500
    activation, arch = f"leaky_relu_{cell}", ("xresnet18", "xresnet50")[cell % 2]
    epochs = (5, 20)[cell // 6 % 2]
    values = RunResult(
        status="complete",
        experiment=name_of(cell),
        config_digest=f"{cell:012x}",
        seed=seed,
        dataset="imagewoof",
        version="v1",
        source="160",
        subset=None,
        size=(128, 192, 256)[cell % 3],
        epochs=epochs,
        arch=arch,
        activation={"name": "relu" if cell < 12 else activation, "weight_decay": 0.0},
        protocol="leaderboard-2019",
        protocol_label="leaderboard-2019",
        deviations=[],
        batch_size=128,
        lr=1.5e-3,
        precision="bf16",
        device="no device",
        parameters=11_000_000,
        activation_parameters=0,
        train_images=12454,
        valid_images=500,
        data_digest="d" * 64,
        data_official=True,
        epochs_done=epochs,
        final_accuracy=accuracy,
        best_accuracy=accuracy,
        best_epoch=epochs,
        wall_seconds=60.0,
        images_per_second=1000.0,
        peak_memory_bytes=None,
        commit=None,
        started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:01:00+00:00",
    )
    return json.dumps(asdict(values), indent=1) + "\n"


def name_of(cell: int) -> str:
    """The results folder of a cell."""
    return f"simulated-cell-{cell:02d}"


def tasks(output: Path, units: int) -> list[Task]:
    """As many tasks, dealt over the cells, with a config of a real one's length."""
    config = "# a config of some length\n" * 40
    return [
        Task(name_of(unit % CELLS), unit // CELLS, config, "/r/c.yaml", str(output), TOKEN)
        for unit in range(units)
    ]


def instantly(task: Task) -> Outcome:
    """In place of training."""
    cell = int(task.experiment.rpartition("-")[2])
    folder = Path(task.output) / task.experiment / f"seed-{task.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    text = result(cell, task.seed).encode()
    (folder / "result.json").write_bytes(text)
    return Outcome("complete", 0.0, "here", digests={"result.json": hashlib.sha256(text).hexdigest()})


def instantly_on_ray(task: Task, rays_threads: str) -> Outcome:
    """In place of Ray's worker's work."""
    return instantly(task)


class InstantUnit:
    """In place of a SLURM job's work."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __call__(self) -> Outcome:
        """Be done."""
        return instantly(self.task)


class NoProcess:
    """In place of the process of a unit of the local engine."""

    def __init__(self, task: Task) -> None:
        self._outcome, self.process = instantly(task), self

    def poll(self) -> int:
        """It has ended."""
        return 0

    def outcome(self) -> Outcome:
        """What came of it."""
        return self._outcome


class SmallProcess(Working):
    """A process of a bare Python that ends at once: what the system takes to start one."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.process = subprocess.Popen([sys.executable, "-S", "-c", ""], start_new_session=True)

    def outcome(self) -> Outcome:
        """What came of it."""
        return instantly(self.task)


class Quiet:
    """A view that shows nothing."""

    def started(self, task: Task) -> None:
        """Nothing."""

    def ended(self, task: Task, outcome: Outcome, again: bool) -> None:
        """Nothing."""

    def tick(self) -> None:
        """Nothing."""


def engine_of(name: str, output: Path) -> Engine:
    """The engine, with instant units in place of training."""
    if name == "ray":
        from lrelu_bench.sweep.engines.ray import RayEngine

        class Instantly(RayEngine):
            train = staticmethod(instantly_on_ray)

        return Instantly("local", 0.0, 1.0)
    if name in ("slurm", "sbatch"):
        from lrelu_bench.sweep.engines.slurm import SlurmEngine

        class Jobs(SlurmEngine):
            unit = InstantUnit
            # A process each: no more than a machine can hold.
            capacity = 8 if name == "slurm" else None

        return Jobs(output, 0, {}, "local" if name == "slurm" else "slurm")
    vars(local)["Working"] = NoProcess if name == "local" else SmallProcess
    return local.LocalEngine(2, "cpu")


def peak_mb() -> float:
    """Peak resident memory of this process so far; getrusage would count that of its parent, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def compared(output: Path) -> tuple[float, float]:
    """Seconds and peak memory, MB, of `compare` in a process of its own."""
    program = (
        "import sys; from lrelu_bench import cli\n"
        f"sys.argv = ['lrelu-bench', 'compare', {str(output)!r}, '--format', 'json']\n"
        "try: cli.main()\n"
        "except SystemExit as end:\n"
        "    if end.code: raise\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import simulate_sweep; print(simulate_sweep.peak_mb(), file=sys.stderr)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)["rows"]
    assert sum(row["n"] for row in rows) == len(list(output.glob("*/*/result.json"))), "a unit is missing"
    return time.monotonic() - started, float(done.stderr.split()[-1])


def simulated(name: str, units: int, output: Path) -> str:
    """The table's row of one engine."""
    given = tasks(output, units)
    engine = engine_of(name, output)
    # After the engine is there: what a cluster takes to start is no cost of a unit.
    started = time.monotonic()
    try:
        swept = drive(given, engine, Quiet(), _never())
    finally:
        engine.close()
    seconds, peak = time.monotonic() - started, peak_mb()
    if len(swept.complete) != units:
        raise SystemExit(f"{len(swept.complete)} of {units} units complete; {swept.failed[:1]}")
    took, memory = compared(output)
    return _row(name, units, seconds, peak, f"{took:.1f}", f"{memory:.0f}")


def submitted(units: int, output: Path) -> str:
    """The row of submission alone, to an sbatch that does nothing."""
    commands = output / "bin"
    commands.mkdir(parents=True)
    for name, line in {
        "srun": "exit 1",
        "sbatch": 'echo "Submitted batch job $$"',
        "scancel": "exit 0",
    }.items():
        (commands / name).write_text(f"#!/bin/sh\n{line}\n")
        (commands / name).chmod(0o755)
    os.environ["PATH"] = f"{commands}{os.pathsep}{os.environ['PATH']}"
    given, engine = tasks(output, units), engine_of("sbatch", output)
    started = time.monotonic()
    for task in given:
        engine.submit(task)
    engine.ended(0.0)
    seconds, peak = time.monotonic() - started, peak_mb()
    engine.close()
    return _row("slurm, submission alone", units, seconds, peak, "–", "–")


def _row(name: str, units: int, seconds: float, peak: float, took: str, memory: str) -> str:
    each = 1000 * seconds / units
    return f"| {name} | {units:,} | {seconds:.1f} | {each:.2f} | {peak:.0f} | {took} | {memory} |"


def _never() -> Any:
    from lrelu_bench.stopping import Stop

    return Stop()


def printed_row(units: int, output: Path) -> str:
    """The row of `--engine print`."""
    from lrelu_bench.sweep.engines.printing import printed

    given = tasks(output, units)
    started = time.monotonic()
    with (output / "script.sh").open("w") as file:
        file.writelines(f"{line}\n" for line in printed(given, "sh"))
    return _row("print", units, time.monotonic() - started, peak_mb(), "–", "–")


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate one engine and print its row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--units", type=int, default=10_000)
    engines = ("local", "processes", "ray", "slurm", "sbatch", "print")
    parser.add_argument("--engine", choices=engines, default="local")
    parser.add_argument("--no-header", action="store_true")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="sweep-", ignore_cleanup_errors=True) as folder:
        output = Path(folder)
        if given.engine == "sbatch":
            row = submitted(given.units, output)
        elif given.engine == "print":
            row = printed_row(given.units, output)
        else:
            row = simulated(given.engine, given.units, output)
    if not given.no_header:
        print(HEADER)
    print(row)


if __name__ == "__main__":
    main()
