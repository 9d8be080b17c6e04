"""The command line: Typer commands, nothing else. Heavy imports happen inside the commands that need them."""

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from lrelu_bench.cli import data, doctor, experiments, judging, leaderboard, sweep
from lrelu_bench.errors import BenchError
from lrelu_bench.printable import visible

app = typer.Typer(
    name="lrelu-bench",
    help="Does a learned ReLU beat the Imagenette/Imagewoof leaderboard? Train, compare, and see how sure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    experiments.run,
    sweep.sweep,
    judging.compare,
    judging.report,
    judging.claims,
    judging.inspect,
    judging.export,
    experiments.validate,
    doctor.doctor,
):
    app.command()(command)
app.command("list")(experiments.list_)
app.add_typer(data.app, name="data")
app.add_typer(experiments.config_app, name="config")
app.add_typer(leaderboard.app, name="leaderboard")


def main() -> None:
    """Run the command line; errors a user can cause end in one sentence and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A path or a name that the terminal's encoding lacks is shown escaped, never an error.
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output left; Python would complain again while it closes stdout.
        sys.stdout = None
        sys.exit(1)
    except OSError as error:
        # Whatever a command does not foresee of disks and permissions still ends in a sentence.
        named = visible(str(error.filename or "output"))
        print(f"error: {named}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)


def _version(asked: bool) -> None:
    if asked:
        from lrelu_bench.environment import package_versions, torch_cuda

        found = package_versions()
        cuda = torch_cuda()
        built = f"built for CUDA {cuda}" if cuda else "CPU only"
        print(
            f"lrelu-bench {found['lrelu-bench']} (torch {found['torch']}, {built}; Python {found['python']})"
        )
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Versions, torch's included.")
    ] = False,
) -> None:
    pass
