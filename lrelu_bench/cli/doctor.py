"""The command on this machine: what stands in the way of a run."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def doctor(
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask the hosts of the data whether they answer.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON, not lines.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to this file, not to the terminal."),
    ] = None,
) -> None:
    """Look over this machine: what is installed, GPU and precision, data, results, network; and remedies.

    Nothing is changed, but for kernels that are compiled into Numba's cache. Exit 0 where there is no problem
    (warnings are none), 1 where there is one.
    """
    from lrelu_bench.doctor.checks import checks
    from lrelu_bench.doctor.examination import examine
    from lrelu_bench.report import doctor as report

    if output is not None:
        report.require_ours(output)
    shown = not json and output is None
    console = Console(stderr=not shown)
    to_do = checks(offline)
    with report.progress(console, len(to_do)) as wait_for:
        found = examine(to_do, wait_for)
        every = report.show(found, console) if shown else list(found)
    if output is not None:
        print(report.write(every, json, output))
    elif json:
        print(report.as_json(every), end="")
    if report.has_problem(every):
        raise typer.Exit(1)
