"""The commands on finished runs: judge, report, look inside, hand on."""

import math
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console

from lrelu_bench.errors import BenchError
from lrelu_bench.printable import visible

if TYPE_CHECKING:
    from lrelu_bench.report.render import Format


class CompareFormat(StrEnum):
    """How to write a comparison."""

    TABLE = "table"
    MD = "md"
    LATEX = "latex"
    CSV = "csv"
    JSON = "json"
    HTML = "html"


class Require(StrEnum):
    """What verdicts may be required to be."""

    BETTER = "better"


class ClaimsFormat(StrEnum):
    """How to write assessed claims."""

    TABLE = "table"
    MD = "md"
    JSON = "json"


class PictureFormat(StrEnum):
    """What to draw pictures as."""

    PNG = "png"
    SVG = "svg"


class Tracker(StrEnum):
    """Whose files to write."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"


ResultsArgument = Annotated[
    list[Path], typer.Argument(metavar="RESULTS...", help="Run, experiment or results folders.")
]
BaselineOption = Annotated[
    str, typer.Option(metavar="ACTIVATION", help="What the others are held against, as the table names it.")
]
ReplaceOption = Annotated[
    bool, typer.Option("--force", help="Replace FILE even where lrelu-bench did not write it.")
]


def compare(
    results: ResultsArgument,
    format: Annotated[CompareFormat, typer.Option(help="How to write it.")] = CompareFormat.TABLE,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to this file, not to the terminal."),
    ] = None,
    force: ReplaceOption = False,
    baseline: BaselineOption = "relu",
    fail_below: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            min=0,
            max=100,
            help="Exit 4 if a row's mean accuracy is below this, or a run diverged.",
        ),
    ] = None,
    require: Annotated[
        Require | None, typer.Option(help="Exit 4 unless every verdict is this.", metavar="better")
    ] = None,
) -> None:
    """Judge finished runs: against a baseline, beside the leaderboard and the posts' claims."""
    if fail_below is not None and math.isnan(fail_below):
        # Older versions of Typer take it for a number between 0 and 100, and no accuracy is below it.
        raise BenchError("--fail-below nan: not a number; give percent, such as 61.5")
    from lrelu_bench.report import gate
    from lrelu_bench.report.output import judged_runs, write
    from lrelu_bench.report.render import CompareTable, render

    if format is CompareFormat.HTML and output is None and sys.stdout.isatty():
        raise BenchError("--format html: a page is of no use on a terminal; add -o report.html")
    rows, skipped = judged_runs(results, baseline)
    if output is not None:
        print(visible(write(rows, skipped, format.value, output, force)))
    elif format is CompareFormat.TABLE:
        Console().print(CompareTable(rows, skipped))
    else:
        print(render(rows, skipped, cast("Format", format.value)), end="")
    if format is CompareFormat.CSV:
        for sentence in skipped:
            print(f"skipped: {visible(sentence)}", file=sys.stderr)
    unmet = [] if fail_below is None else [*gate.below(rows, fail_below)]
    if require is Require.BETTER:
        unmet += gate.not_better(rows)
    for sentence in unmet:
        print(f"not met: {visible(sentence)}", file=sys.stderr)
    if unmet:
        raise typer.Exit(gate.EXIT_CODE)


def report(
    results: ResultsArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The page to write.")] = Path(
        "report.html"
    ),
    force: ReplaceOption = False,
    baseline: BaselineOption = "relu",
) -> None:
    """Write the comparison as one HTML page that loads nothing: verdicts, charts, every run's origin."""
    from lrelu_bench.report.output import judged_runs, write

    rows, skipped = judged_runs(results, baseline)
    print(visible(write(rows, skipped, "html", output, force)))


def claims(
    results: ResultsArgument,
    file: Annotated[
        Path | None,
        typer.Option(
            "--claims",
            metavar="FILE",
            help="Claims of your own (YAML, see the README), not the posts'.",
        ),
    ] = None,
    format: Annotated[ClaimsFormat, typer.Option(help="How to write it.")] = ClaimsFormat.TABLE,
) -> None:
    """Judge the posts' claims, or your own: reproduced, partly, not reproduced or not yet run, and why."""
    from lrelu_bench.claims import load_claims, posted_claims
    from lrelu_bench.report import claims_view, compare
    from lrelu_bench.report.claims import assess

    to_judge = posted_claims() if file is None else load_claims(file)
    found, skipped = compare.collect(results)
    rows = compare.rows(found)
    assessed = [assess(claim, rows) for claim in to_judge]
    if format is ClaimsFormat.TABLE:
        Console().print(claims_view.ClaimsView(assessed, skipped))
    elif format is ClaimsFormat.MD:
        print(claims_view.claims_markdown(assessed, skipped), end="")
    else:
        print(claims_view.claims_json(assessed, skipped), end="")


def inspect(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or an experiment's.")],
    plot: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Draw pictures into this folder as well.")
    ] = None,
    format: Annotated[PictureFormat, typer.Option(help="What to draw pictures as.")] = PictureFormat.PNG,
) -> None:
    """Look inside a run: what its activations put out and learned, by layer and over time."""
    from lrelu_bench.report.inspect import InspectedRun, InspectView

    inspected = InspectedRun.load(run)
    console = Console()
    console.print(InspectView(inspected))
    if plot is not None:
        from lrelu_bench.report import plots

        title = f"{inspected.result.experiment}, seed {inspected.result.seed}"
        for path in plots.draw(inspected.telemetry, title, plot, format.value):
            console.out(visible(str(path)), highlight=False)


def export(
    results: ResultsArgument,
    tracker: Annotated[Tracker, typer.Option(help="Whose files to write; each needs its extra.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="The folder that holds the exported runs.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace exports that are there; nothing else is touched.")
    ] = False,
) -> None:
    """Write finished runs as TensorBoard's event files or W&B's offline runs; without any network."""
    from lrelu_bench.export.session import export as export_
    from lrelu_bench.report.progress import SteadyConsole

    export_(results, tracker.value, output, force, SteadyConsole())
