"""The command line: Typer commands, nothing else. Heavy imports happen inside the commands that need them."""

import json
import math
import sys
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console

from lrelu_bench import cli_leaderboard
from lrelu_bench.errors import BenchError
from lrelu_bench.shipped import DEFAULT, config_path

if TYPE_CHECKING:
    from lrelu_bench.report.render import Format

app = typer.Typer(
    name="lrelu-bench",
    help="Does a learned ReLU beat the Imagenette/Imagewoof leaderboard? Train, compare, and see how sure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="The image data: where it is, and its state.", no_args_is_help=True)
config_app = typer.Typer(help="Look at configs.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(config_app, name="config")
app.add_typer(cli_leaderboard.app, name="leaderboard")


class Device(StrEnum):
    """Where to train."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class CompareFormat(StrEnum):
    """How to write a comparison."""

    TABLE = "table"
    MD = "md"
    LATEX = "latex"
    CSV = "csv"
    JSON = "json"


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


class Kind(StrEnum):
    """What to list."""

    ARCHS = "archs"
    ACTIVATIONS = "activations"
    DATASETS = "datasets"
    PROTOCOLS = "protocols"


ConfigArgument = Annotated[
    str,
    typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a shipped config.", show_default=True),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change one value; repeatable.")
]
ArchiveArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="An archive of `lrelu-bench data list`, mnist or mnist-t10k.")
]


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
        print(f"error: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
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


@app.command()
def run(
    config: ConfigArgument = DEFAULT,
    changes: SetOption = None,
    seed: Annotated[int | None, typer.Option(min=0, help="One seed, in place of the config's.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Several: 0-4 or 0,2,5-7.", metavar="SEEDS")] = None,
    device: Annotated[Device, typer.Option(help="Where to train.")] = Device.AUTO,
    output: Annotated[Path, typer.Option(help="The folder that holds all results.")] = Path("results"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; train nothing.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Train again; the run there is replaced when the new one is finished."),
    ] = False,
) -> None:
    """Train an experiment, one run per seed, and show its row beside the leaderboard's."""
    from lrelu_bench.config_file import load_experiment, parse_seeds

    if seed is not None and seeds is not None:
        raise BenchError(f"--seed {seed} and --seeds {seeds} exclude each other; give one")
    chosen = parse_seeds(seeds) if seeds is not None else None if seed is None else (seed,)
    experiment = load_experiment(config_path(config), changes or (), chosen)

    from lrelu_bench import session
    from lrelu_bench.report.progress import SteadyConsole

    if dry_run:
        session.show_plan(experiment, device.value, output)
    else:
        session.run_all(experiment, device.value, output, force, SteadyConsole())


@app.command()
def compare(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="Run, experiment or results folders.")
    ],
    format: Annotated[CompareFormat, typer.Option(help="How to write it.")] = CompareFormat.TABLE,
    baseline: Annotated[
        str,
        typer.Option(metavar="ACTIVATION", help="What the others are held against, as the table names it."),
    ] = "relu",
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
    from lrelu_bench.report import compare as comparing
    from lrelu_bench.report import gate
    from lrelu_bench.report.judging import judged
    from lrelu_bench.report.render import CompareTable, render

    found, skipped = comparing.collect(results)
    rows = judged(comparing.rows(found), skipped, baseline)
    if format is CompareFormat.TABLE:
        Console().print(CompareTable(rows, skipped))
    else:
        print(render(rows, skipped, cast("Format", format.value)), end="")
    if format is CompareFormat.CSV:
        for sentence in skipped:
            print(f"skipped: {sentence}", file=sys.stderr)
    unmet = [] if fail_below is None else [*gate.below(rows, fail_below)]
    if require is Require.BETTER:
        unmet += gate.not_better(rows)
    for sentence in unmet:
        print(f"not met: {sentence}", file=sys.stderr)
    if unmet:
        raise typer.Exit(gate.EXIT_CODE)


@app.command()
def claims(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="Run, experiment or results folders.")
    ],
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


@app.command()
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
            console.out(str(path), highlight=False)


@app.command()
def export(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="Run, experiment or results folders.")
    ],
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


@app.command()
def validate(
    configs: Annotated[list[str], typer.Argument(metavar="CONFIG...", help="YAML files or shipped names.")],
    changes: SetOption = None,
) -> None:
    """Check configs; every problem is named with its file, line and key."""
    from lrelu_bench.config_file import load_experiment
    from lrelu_bench.report.announce import remarks

    problems = []
    for config in configs:
        try:
            experiment = load_experiment(config_path(config), changes or ())
        except BenchError as error:
            problems.append(str(error))
            continue
        print(f"{config}: good ({experiment.slug})")
        for line in remarks(experiment):
            print(f"  {line}")
    if problems:
        raise BenchError("\n".join(problems))


@config_app.command("show")
def config_show(config: ConfigArgument, changes: SetOption = None) -> None:
    """The config with every value written out; itself a valid config."""
    from lrelu_bench.config_file import dump_experiment, load_experiment

    print(dump_experiment(load_experiment(config_path(config), changes or ())), end="")


@config_app.command("schema")
def config_schema() -> None:
    """JSON Schema of config files, for editors."""
    from lrelu_bench.config_file import json_schema

    print(json.dumps(json_schema(), indent=2))


@app.command("list")
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


@data_app.command("list")
def data_list() -> None:
    """Every archive and MNIST: where they are on this machine, and their state."""
    from lrelu_bench.data import mnist
    from lrelu_bench.data.archives import data_home, state
    from lrelu_bench.data.catalog import ARCHIVES
    from lrelu_bench.report.listing import archives

    console = Console()
    console.out(f"data folder: {data_home()} (LRELU_BENCH_DATA)", highlight=False)
    console.print(archives([state(archive, data_home()) for archive in ARCHIVES.values()]))
    console.out(mnist.state(data_home()), highlight=False)


@data_app.command("fetch")
def data_fetch(name: ArchiveArgument) -> None:
    """Download an archive, check it, and decode it into the cache; MNIST's files are just checked."""
    from lrelu_bench.data import mnist
    from lrelu_bench.data.archives import data_home
    from lrelu_bench.data.cache import ensure
    from lrelu_bench.data.catalog import archive_named
    from lrelu_bench.report.progress import watch_data

    if name in mnist.COUNTS:
        with watch_data(Console()) as progress:
            mnist.fetch(name, data_home(), progress)
        print(mnist.state(data_home()))
        return
    with watch_data(Console()) as progress:
        images = ensure(archive_named(name), data_home(), progress)
    print(f"{name}: ready, {len(images):,} images in {images.folder}")


@data_app.command("import")
def data_import(
    name: ArchiveArgument,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="The archive on this machine, or for MNIST a folder with its .gz files; it stays as it is.",
        ),
    ],
    digest: Annotated[
        str | None, typer.Option(help="What the file must be, e.g. sha256:1a2b...", metavar="ALGORITHM:HEX")
    ] = None,
) -> None:
    """Take a local archive; its digest is recorded, and results say whether its bytes are official."""
    from lrelu_bench.data import mnist
    from lrelu_bench.data.archives import data_home, recorded
    from lrelu_bench.data.cache import adopt
    from lrelu_bench.data.catalog import archive_named
    from lrelu_bench.report.progress import watch_data

    if name in mnist.COUNTS:
        if digest is not None:
            raise BenchError(f"--digest {digest}: MNIST's official digests are always checked; leave it out")
        print(f"took {', '.join(mnist.import_files(file, data_home()))}\n{mnist.state(data_home())}")
        return
    archive = archive_named(name)
    before = recorded(archive, data_home())
    with watch_data(Console()) as progress:
        record, images = adopt(archive, file, data_home(), progress, digest)
    if before is not None and before.sha256 != record.sha256:
        print(f"{name}: replaced the archive that was here (sha256:{before.sha256})")
    official = "the official bytes" if record.official else "not the official bytes; results will say so"
    print(f"{name}: ready, {len(images):,} images in {images.folder} (sha256:{record.sha256}; {official})")


@data_app.command("verify")
def data_verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Default: all that are here.")
    ] = None,
) -> None:
    """Read archives, caches and MNIST's files again and compare them with what was recorded or published."""
    from lrelu_bench.data import mnist
    from lrelu_bench.data.archives import data_home, state, verify
    from lrelu_bench.data.catalog import ARCHIVES, archive_named
    from lrelu_bench.report.progress import watch_data

    home = data_home()
    here = [archive_named(name) for name in names or () if name not in mnist.COUNTS]
    digits = [
        name for name in mnist.COUNTS if name in (names or ()) or (not names and mnist.is_here(name, home))
    ]
    if not names:
        here = [a for a in ARCHIVES.values() if state(a, home).status in ("archive", "ready")]
    if not here and not digits:
        print(f"nothing to verify: no data under {home}")
    problems = []
    for archive in here:
        with watch_data(Console()) as progress:
            found = verify(archive, home, progress)
        print(f"{archive.name}: {'good' if not found else 'bad'}")
        problems += found
    for name in digits:
        found = mnist.problems(name, home)
        print(f"{name}: {'good' if not found else 'bad'}")
        problems += found
    if problems:
        raise BenchError("\n".join(dict.fromkeys(problems)))
