"""The commands on experiments: run one, and look at configs and what they may name."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console

from lrelu_bench.errors import BenchError
from lrelu_bench.printable import visible
from lrelu_bench.shipped import DEFAULT, config_path
from lrelu_bench.stopping import CHECKPOINT_MINUTES

config_app = typer.Typer(help="Look at configs.", no_args_is_help=True)


class Device(StrEnum):
    """Where to train."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Kind(StrEnum):
    """What to list."""

    ARCHS = "archs"
    ACTIVATIONS = "activations"
    DATASETS = "datasets"
    PROTOCOLS = "protocols"


class SchemaOf(StrEnum):
    """What a JSON Schema describes."""

    CONFIG = "config"
    RESULT = "result"
    EPOCHS = "epochs"
    ENVIRONMENT = "environment"


ConfigArgument = Annotated[
    str,
    typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a shipped config.", show_default=True),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change one value; repeatable.")
]


def run(
    config: ConfigArgument = DEFAULT,
    changes: SetOption = None,
    seed: Annotated[int | None, typer.Option(min=0, help="One seed, in place of the config's.")] = None,
    # Typer 0.27 would name it after its metavar.
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="Several: 0-4 or 0,2,5-7.", metavar="SEEDS")
    ] = None,
    device: Annotated[Device, typer.Option(help="Where to train.")] = Device.AUTO,
    output: Annotated[Path, typer.Option(help="The folder that holds all results.")] = Path("results"),
    parallel_seeds: Annotated[
        int, typer.Option(min=1, max=16, metavar="K", help="Seeds that train at once on one GPU, 16 at most.")
    ] = 1,
    cuda_graph: Annotated[
        bool | None,
        typer.Option(
            "--cuda-graph/--no-cuda-graph",
            help="Start a step's kernels as one. Default: on CUDA, where possible, but not with a class of "
            "yours, whose forward must then do the same every time.",
            show_default=False,
        ),
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Train through torch.compile, which takes a while to begin.")
    ] = False,
    checkpoint_minutes: Annotated[
        float,
        typer.Option(
            min=0, metavar="M", help="Save the state this often within an epoch, too; 0: after each step."
        ),
    ] = CHECKPOINT_MINUTES,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for a seed that another process trains, then take it up.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; train nothing.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Train again; the run there is replaced when the new one is finished. What is begun goes on "
            "where it is this run's, and is discarded where it is another's.",
        ),
    ] = False,
) -> None:
    """Train an experiment, one run per seed, and show its row beside the leaderboard's.

    Ctrl-C saves after the step under way; the same command goes on from there.
    """
    from lrelu_bench.config_file import load_experiment, parse_seeds

    if seed is not None and seeds is not None:
        raise BenchError(f"--seed {seed} and --seeds {seeds} exclude each other; give one")
    chosen = parse_seeds(seeds) if seeds is not None else None if seed is None else (seed,)
    experiment = load_experiment(config_path(config), changes or (), chosen)

    from lrelu_bench import session
    from lrelu_bench.report.progress import SteadyConsole

    execution = session.Execution(
        device.value, cuda_graph, compiled, parallel_seeds, checkpoint_minutes, wait
    )
    if dry_run:
        session.show_plan(experiment, execution, output, force)
    else:
        session.run_all(experiment, execution, output, force, SteadyConsole())


def validate(
    configs: Annotated[list[str], typer.Argument(metavar="CONFIG...", help="YAML files or shipped names.")],
    changes: SetOption = None,
) -> None:
    """Check configs; every problem is named with its file, line and key."""
    from lrelu_bench.config_file import load_experiment
    from lrelu_bench.report.announce import remarks

    problems: list[str] = []
    for config in configs:
        try:
            experiment = load_experiment(config_path(config), changes or ())
        except BenchError as error:
            problems += error.lines
            continue
        print(f"{visible(config)}: good ({experiment.slug})")
        for line in remarks(experiment):
            print(f"  {visible(line)}")
    if problems:
        raise BenchError(*problems)


@config_app.command("show")
def config_show(config: ConfigArgument, changes: SetOption = None) -> None:
    """The config with every value written out; itself a valid config."""
    from lrelu_bench.config_file import dump_experiment, load_experiment

    print(dump_experiment(load_experiment(config_path(config), changes or ())), end="")


@config_app.command("schema")
def config_schema(
    of: Annotated[
        SchemaOf, typer.Option(help="Whose: a config's, or one of a run's files'.")
    ] = SchemaOf.CONFIG,
) -> None:
    """JSON Schema of config files, for editors, and of what a run writes, for readers."""
    if of is SchemaOf.CONFIG:
        from lrelu_bench.config_file import json_schema

        print(json.dumps(json_schema(), indent=2))
    else:
        from lrelu_bench.schemas import Written, schema_text

        print(schema_text(cast("Written", of.value)), end="")


def list_(kind: Annotated[Kind, typer.Argument(help="What to list.", metavar="KIND")]) -> None:
    """List archs, activations, datasets or protocols."""
    from lrelu_bench.report import listing

    drawn = {
        Kind.ARCHS: listing.archs,
        Kind.ACTIVATIONS: listing.activations,
        Kind.DATASETS: listing.datasets,
        Kind.PROTOCOLS: listing.protocols,
    }
    Console().print(drawn[kind]())
