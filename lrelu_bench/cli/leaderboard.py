"""The commands of `lrelu-bench leaderboard`."""

import os
from datetime import date
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console

from lrelu_bench.errors import BenchError
from lrelu_bench.printable import visible

if TYPE_CHECKING:
    from lrelu_bench.report.render import Format

app = typer.Typer()


class BoardFormat(StrEnum):
    """How to write a board."""

    TABLE = "table"
    MD = "md"
    CSV = "csv"
    JSON = "json"


class DatasetName(StrEnum):
    """The data sets that there is a board of."""

    IMAGENETTE = "imagenette"
    IMAGEWOOF = "imagewoof"


class Version(StrEnum):
    """Which split: v1 until 2019, v2 from 2020 on."""

    V1 = "v1"
    V2 = "v2"


@app.callback(invoke_without_command=True)
def leaderboard(
    context: typer.Context,
    day: Annotated[
        str | None, typer.Option("--date", metavar="YYYY-MM-DD", help="Any day; default: the newest board.")
    ] = None,
    dataset: Annotated[DatasetName | None, typer.Option(help="One data set's board.")] = None,
    version: Annotated[Version | None, typer.Option(help="The board of v1 (2019) or v2.")] = None,
    size: Annotated[int | None, typer.Option(help="Cells of one image size.", metavar="PX")] = None,
    epochs: Annotated[int | None, typer.Option(help="Cells of one length.")] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Every record of each cell, with its date and gain.")
    ] = False,
    format: Annotated[BoardFormat, typer.Option(help="How to write it.")] = BoardFormat.TABLE,
) -> None:
    """The public leaderboard of any day, and how each record moved."""
    if context.invoked_subcommand is not None:
        own: dict[str, object] = {
            "--date": day,
            "--dataset": dataset,
            "--version": version,
            "--size": size,
            "--epochs": epochs,
        }
        if any(own.values()) or history:
            given = [name for name, value in own.items() if value] or ["--history"]
            raise BenchError(f"{', '.join(given)} before import does nothing; put import's options behind it")
        return
    from lrelu_bench.leaderboard import load_board
    from lrelu_bench.report.board import BoardView, CellSelection
    from lrelu_bench.report.board_table import BoardTable, render_board

    selection = CellSelection(dataset and dataset.value, version and version.value, size, epochs)
    view = BoardView(load_board(), selection, None if day is None else _day(day))
    if format is BoardFormat.TABLE:
        Console().print(BoardTable(view, history))
    else:
        print(render_board(view, history, cast("Format", format.value)), end="")


@app.command("import")
def leaderboard_import(
    readme: Annotated[Path, typer.Argument(metavar="README.md", help="Of a checkout of fastai/imagenette.")],
    day: Annotated[
        str | None,
        typer.Option("--date", metavar="YYYY-MM-DD", help="Its day; default: that of its last commit."),
    ] = None,
    commit: Annotated[str | None, typer.Option(help="Its commit, where there is no checkout.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the history with it in to this new CSV file.")
    ] = None,
) -> None:
    """Read a newer board and show what differs from the history; nothing is written without --output."""
    from lrelu_bench.atomic_file import write_atomically
    from lrelu_bench.leaderboard import BOARD_VARIABLE, load_board
    from lrelu_bench.leaderboard.history import as_csv
    from lrelu_bench.leaderboard.update import update
    from lrelu_bench.leaderboard.upstream import read_readme
    from lrelu_bench.report.board_update import UpdateView

    board = load_board()
    if output is not None and os.path.lexists(output):
        raise BenchError(f"--output {output}: exists and is never overwritten; name a new file, or remove it")
    listed = read_readme(readme, None if day is None else _day(day), commit)
    found = update(board, listed)
    Console().print(UpdateView(board, readme, listed, found))
    if output is not None:
        write_atomically(output, as_csv(found.rows))
    print(
        visible(
            f"wrote {output}; it is read in place of the package's history with "
            f"{BOARD_VARIABLE}={quote(str(output))}"
        )
        if output is not None
        else "nothing is written; --output FILE writes the history with this board in to a new file"
    )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BenchError(f"--date {text}: not a date; give one such as 2019-04-16") from None
