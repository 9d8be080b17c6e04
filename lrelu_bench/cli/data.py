"""The commands of `lrelu-bench data`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lrelu_bench.errors import BenchError

app = typer.Typer(help="The image data: where it is, and its state.", no_args_is_help=True)

ArchiveArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="An archive of `lrelu-bench data list`, mnist or mnist-t10k.")
]


@app.command("list")
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


@app.command("fetch")
def data_fetch(name: ArchiveArgument) -> None:
    """Download an archive, check it, and decode it into the cache; MNIST's files are just checked."""
    from lrelu_bench.data import mnist
    from lrelu_bench.data.archives import data_home
    from lrelu_bench.data.cache import fetch
    from lrelu_bench.data.catalog import archive_named
    from lrelu_bench.report.progress import watch_data

    if name in mnist.COUNTS:
        with watch_data(Console()) as progress:
            mnist.fetch(name, data_home(), progress)
        print(mnist.state(data_home()))
        return
    with watch_data(Console()) as progress:
        images = fetch(archive_named(name), data_home(), progress)
    print(f"{name}: ready, {len(images):,} images in {images.folder}")


@app.command("import")
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


@app.command("verify")
def data_verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Default: all that are here.")
    ] = None,
) -> None:
    """Read archives, caches and MNIST's files again and compare them with what was recorded or published."""
    from lrelu_bench.data import mnist
    from lrelu_bench.data.archives import archive_path, cache_folder, data_home, verify
    from lrelu_bench.data.catalog import ARCHIVES, archive_named
    from lrelu_bench.report.progress import watch_data

    home = data_home()
    here = [archive_named(name) for name in names or () if name not in mnist.COUNTS]
    digits = [
        name for name in mnist.COUNTS if name in (names or ()) or (not names and mnist.is_here(name, home))
    ]
    if not names:
        here = [a for a in ARCHIVES.values() if archive_path(a, home).exists() or cache_folder(a, home)]
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
        raise BenchError(*dict.fromkeys(problems))
