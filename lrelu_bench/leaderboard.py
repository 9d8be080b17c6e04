"""The public leaderboard as dated rows, keyed by cell: data set, version, size and epochs.

Numbers of v1 and v2 never meet, because the two versions validate on different images.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib import resources

POSTS_DAY = date(2019, 4, 16)
"""The day of the posts: a v1 result is held against the row that held its cell on this day."""

DATASETS = ("imagenette", "imagewoof")
"""The data sets that there is a board of."""

V1_ARCH = "xresnet50"
V1_PROTOCOL = "leaderboard-2019"
"""What every v1 row of April 2019 was measured with (fastai 1 `examples/train_imagenette.py`)."""


@dataclass(frozen=True)
class BoardRow:
    """One row of the leaderboard, as its README listed it between two dates."""

    dataset: str
    version: str
    size: int
    """Side of the images the net saw, px."""
    epochs: int
    accuracy: float
    """Percent, as listed."""
    entry: str
    """The entry's name; the v1 board of April 2019 listed only a link to the script."""
    url: str
    runs: str
    """How many runs the row averages, in the board's words; empty where it does not say."""
    params: str
    gpus: str
    first_seen: date
    last_seen: date
    commits: tuple[str, str]
    """Commits of the board's README at which the row was first and last seen."""

    @property
    def cell(self) -> tuple[str, str, int, int]:
        """What the row competes in."""
        return self.dataset, self.version, self.size, self.epochs

    @property
    def measured_with(self) -> str:
        """The net (v1 of April 2019) or the entry's name: what the number belongs to."""
        return V1_ARCH if self.version == "v1" and self.first_seen <= POSTS_DAY else self.entry

    @property
    def runs_in_words(self) -> str:
        """`1 run`, `mean of 5 runs` or `runs not stated`."""
        number, _, mean = self.runs.partition(",")
        if not number:
            return "runs not stated"
        return f"mean of {number} runs" if mean.strip() == "mean" else f"{number} run{'s' * (number != '1')}"


class Board:
    """The leaderboard's history; `load_board` reads the one in the package."""

    def __init__(self, rows: tuple[BoardRow, ...]) -> None:
        self.rows = rows
        self.newest = max(row.last_seen for row in rows)
        """The last day of the history: rows seen then are today's."""

    def row_of(self, dataset: str, version: str, size: int, epochs: int) -> BoardRow | None:
        """The row a result is held against: v1, the record of 2019-04-16; v2, today's. None: no such cell.

        Where several rows of a cell stood on that day, the record is the highest of them.
        """
        day = POSTS_DAY if version == "v1" else self.newest
        cell = (dataset, version, size, epochs)
        standing = [row for row in self.rows if row.cell == cell and row.first_seen <= day <= row.last_seen]
        return max(standing, key=lambda row: row.accuracy, default=None)


@lru_cache
def load_board() -> Board:
    """The board as the package carries it (`reference/leaderboard_history.csv`)."""
    return Board(
        tuple(
            BoardRow(
                dataset=line["dataset"],
                version=line["version"],
                size=int(line["size_px"]),
                epochs=int(line["epochs"]),
                accuracy=float(line["accuracy_pct"]),
                entry=line["entry"],
                url=line["url"],
                runs=line["runs"],
                params=line["params"],
                gpus=line["gpus"],
                first_seen=date.fromisoformat(line["first_seen"]),
                last_seen=date.fromisoformat(line["last_seen"]),
                commits=(line["first_commit"], line["last_commit"]),
            )
            for line in _lines("leaderboard_history.csv")
        )
    )


def _lines(name: str) -> Iterator[dict[str, str]]:
    text = resources.files("lrelu_bench.reference").joinpath(name).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())
