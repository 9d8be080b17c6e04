"""The command on grids of experiments."""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrelu_bench.cli.experiments import Device
from lrelu_bench.errors import BenchError
from lrelu_bench.stopping import CHECKPOINT_MINUTES

if TYPE_CHECKING:
    from lrelu_bench.sweep.engines.base import Engine
    from lrelu_bench.sweep.estimate import Target


class EngineName(StrEnum):
    """Who runs the units."""

    LOCAL = "local"
    RAY = "ray"
    SLURM = "slurm"
    PRINT = "print"


class PrintAs(StrEnum):
    """What `--engine print` prints."""

    SH = "sh"
    JSONL = "jsonl"


def sweep(
    file: Annotated[
        str, typer.Argument(metavar="SWEEP", help="A YAML file, or the name of a shipped sweep.")
    ],
    output: Annotated[Path, typer.Option(help="The folder that holds all results.")] = Path("results"),
    engine: Annotated[
        EngineName,
        typer.Option(help="This machine, a Ray cluster, SLURM, or text for any other scheduler."),
    ] = EngineName.LOCAL,
    jobs: Annotated[
        int, typer.Option(min=1, metavar="N", help="local: units at once, dealt over the visible GPUs.")
    ] = 1,
    address: Annotated[
        str | None, typer.Option(help="ray: the cluster's; left out, one is found or started here.")
    ] = None,
    gpus_per_run: Annotated[
        float, typer.Option(min=0, help="ray, slurm: GPUs a unit takes; ray takes fractions, such as 0.25.")
    ] = 1.0,
    slurm: Annotated[
        list[str] | None,
        typer.Option("--slurm", metavar="KEY=VALUE", help="slurm: one of submitit's parameters; repeatable."),
    ] = None,
    print_as: Annotated[PrintAs, typer.Option(help="print: a shell script or JSON lines.")] = PrintAs.SH,
    device: Annotated[Device, typer.Option(help="Where the units train.")] = Device.AUTO,
    checkpoint_minutes: Annotated[
        float, typer.Option(min=0, metavar="M", help="As of `run`: save within an epoch this often.")
    ] = CHECKPOINT_MINUTES,
    retries: Annotated[
        int, typer.Option(min=0, metavar="N", help="Tries more for a unit that crashes or loses its worker.")
    ] = 1,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop the other units once one has failed for good.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, what is complete and the hours to come.")
    ] = False,
) -> None:
    """Train a grid of experiments, unit by unit: complete ones are skipped, partial ones go on.

    Exit code 3 if some units failed. Ctrl-C saves what is under way; the same command goes on.
    """
    _require_engine("--jobs", jobs != 1, engine, EngineName.LOCAL)
    _require_engine("--address", address is not None, engine, EngineName.RAY)
    _require_engine("--gpus-per-run", gpus_per_run != 1.0, engine, EngineName.RAY, EngineName.SLURM)
    _require_engine("--slurm", bool(slurm), engine, EngineName.SLURM)
    _require_engine("--print-as", print_as is not PrintAs.SH, engine, EngineName.PRINT)
    from lrelu_bench.report.progress import SteadyConsole
    from lrelu_bench.report.sweep_plan import cell_labels, render_plan
    from lrelu_bench.shipped import sweep_path
    from lrelu_bench.sweep import estimate
    from lrelu_bench.sweep.planner import load_plan
    from lrelu_bench.sweep.session import Policy, prepare, run_sweep, state_of
    from lrelu_bench.sweep.this_machine import without_gpu

    if output.exists() and not output.is_dir():
        raise BenchError(f"--output {output}: is no folder; give one, or a name that is not taken")
    planned, console = load_plan(sweep_path(file)), SteadyConsole()
    estimates = estimate.of_plan(planned, output, _target(engine, device))
    if dry_run:
        states = {
            (unit.experiment.slug, unit.seed): state_of(unit.experiment, unit.seed, output)
            for unit in planned.units
        }
        console.print(render_plan(planned, states, estimates))
        return
    options = ("--device", device.value, "--checkpoint-minutes", f"{checkpoint_minutes:g}")
    done, left = prepare([(unit.experiment, unit.seed) for unit in planned.units], output, options)
    if engine is EngineName.PRINT:
        from lrelu_bench.sweep.engines.printing import printed

        sys.stdout.flush()
        for line in printed(left, print_as.value):
            # The bytes of the paths as they are, whatever the terminal's encoding lacks.
            sys.stdout.buffer.write(os.fsencode(f"{line}\n"))
        sys.stdout.buffer.flush()
        return

    def start() -> "Engine":
        if engine is EngineName.RAY:
            from lrelu_bench.sweep.engines.ray import RayEngine

            return RayEngine(address, 0.0 if device is Device.CPU else gpus_per_run)
        if engine is EngineName.SLURM:
            from lrelu_bench.sweep.engines.slurm import SlurmEngine

            return SlurmEngine(output, 0 if device is Device.CPU else gpus_per_run, _parameters(slurm or []))
        from lrelu_bench.sweep.engines.local import LocalEngine

        if device is Device.CUDA and (none := without_gpu()):
            raise BenchError(f"--device cuda: {none}; give --device auto or cpu")
        return LocalEngine(jobs, device.value)

    expected = estimate.seconds_by_experiment(estimates)
    run_sweep(done, left, start, Policy(retries, fail_fast), console, expected, cell_labels(planned))


def _target(engine: EngineName, device: Device) -> "Target":
    """What the units' hours are estimated for."""
    from lrelu_bench.sweep import this_machine
    from lrelu_bench.sweep.estimate import Target

    elsewhere = f"what --engine {engine.value} trains on is not known here: estimated for"
    if device is Device.CPU:
        here = engine is EngineName.LOCAL
        of = "estimated for the CPU of this machine" if here else f"{elsewhere} a CPU like this machine's"
        return this_machine.cpu(of)
    none = this_machine.without_gpu()
    if engine is EngineName.LOCAL and (device is Device.AUTO or none is None):
        return this_machine.target()
    where = f"{none}: estimated for" if engine is EngineName.LOCAL else elsewhere
    return Target(why=f"{where} what most finished runs were on, else for a GPU with recorded speeds")


def _require_engine(option: str, given: bool, engine: EngineName, *meant: EngineName) -> None:
    """Raises `BenchError` where an option is given that another engine has: all would train elsewhere."""
    if given and engine not in meant:
        wanted = " or ".join(f"--engine {one.value}" for one in meant)
        raise BenchError(f"{option}: means nothing to --engine {engine.value}; remove it, or give {wanted}")


def _parameters(given: list[str]) -> dict[str, str]:
    """submitit's parameters by name."""
    found = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not (key and equals):
            raise BenchError(
                f"--slurm {one}: is no KEY=VALUE, such as timeout_min=240 or slurm_partition=gpu"
            )
        found[key] = value
    return found
