"""The public leaderboard as dated rows, keyed by cell: data set, version, size and epochs.

Numbers of v1 and v2 never meet, because the two versions validate on different images.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path

from lrelu_bench.leaderboard import table
from lrelu_bench.leaderboard.entries import NOT_STATED, net_and_protocol

POSTS_DAY = date(2019, 4, 16)
"""The day of the posts: a v1 result is held against the row that held its cell on this day."""

DATASETS = ("imagenette", "imagewoof")
"""The data sets that there is a board of."""

VERSIONS = ("v1", "v2")

BOARD_VARIABLE = "LRELU_BENCH_BOARD"
"""Environment variable naming a history that is read in place of the package's."""

Cell = tuple[str, str, int, int]
"""What rows compete in: data set, version, size in px, epochs."""


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
    """The entry's name as listed; most v1 rows say only `link`."""
    url: str
    runs: str
    """How many runs the row averages, in the board's words; empty where it does not say."""
    params: str
    """Arguments of the script, listed by v1 alone."""
    gpus: str
    """How many GPUs it trained on, in the board's words; v1 alone."""
    first_seen: date
    last_seen: date
    commits: tuple[str, str]
    """Commits of the board's README at which the row was first and last seen."""

    @property
    def cell(self) -> Cell:
        """What the row competes in."""
        return self.dataset, self.version, self.size, self.epochs

    @property
    def net(self) -> str:
        """The net, or `not stated`."""
        return self._measured[0]

    @property
    def protocol(self) -> str:
        """One of this package's protocols, `own recipe`, or `not stated`."""
        return self._measured[1]

    @cached_property
    def _measured(self) -> tuple[str, str]:
        return net_and_protocol(self.version, self.url, self.params)

    @property
    def name(self) -> str:
        """The entry, or where the board says no more than `link`, the repository it links to."""
        if self.entry.lower() not in ("", "link"):
            return self.entry
        path = self.url.partition("://")[2].split("/")
        return "/".join(path[1:3]) if len(path) > 2 else NOT_STATED

    @property
    def measured_with(self) -> str:
        """What the number belongs to, in short: the net of v1's script, else the entry."""
        return self.net if self.protocol == "leaderboard-2019" else self.name

    @property
    def runs_count(self) -> int | None:
        """How many runs; None where the board does not say."""
        found = re.search(r"(?<![0-9])[0-9]{1,6}(?![0-9])", self.runs)
        return int(found.group()) if found else None

    @property
    def is_mean(self) -> bool:
        """Whether the board calls the number a mean."""
        return "mean" in self.runs.lower()

    @property
    def runs_in_words(self) -> str:
        """`1 run`, `mean of 5 runs` or `runs not stated`."""
        if self.runs_count is None:
            return "runs not stated"
        words = f"{self.runs_count} run{'s' * (self.runs_count != 1)}"
        return f"mean of {words}" if self.is_mean else words

    def unlike(self, arch: str, protocol: str) -> tuple[str, ...]:
        """What the row was measured with where a run was not: net, protocol. Empty: like for like.

        `arch` and `protocol` (its label: `custom` where the run leaves it) are the run's. A row whose net
        or protocol is not stated is like for like with nothing.
        """
        net = () if self.net == arch else (self.name if self.net == NOT_STATED else self.net,)
        if self.protocol == protocol or (net and self.protocol == NOT_STATED):
            return net
        theirs = "protocol not stated" if self.protocol == NOT_STATED else self.protocol
        return *net, theirs


@dataclass(frozen=True)
class Record:
    """The best row of a cell from one day on."""

    day: date
    row: BoardRow
    gain: float | None
    """Percentage points over the record before, negative where it fell; None for the first."""


class Board:
    """The leaderboard's history; `load_board` reads the one in force.

    A row stands from the first to the last day a commit listed it, and where its cell has no other, until
    the next day that any row was seen: the README stands until it is edited.
    """

    def __init__(self, rows: Iterable[BoardRow], source: str | None = None) -> None:
        """The history's rows, at least one; `source` is the file they come from, None the package's."""
        self.rows = tuple(rows)
        self.source = source
        self.days = tuple(sorted({day for row in self.rows for day in (row.first_seen, row.last_seen)}))
        """Every day on which the board is known to have been seen."""
        self.oldest, self.newest = self.days[0], self.days[-1]
        """The first and last day of the history: rows seen on the last are today's."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell that ever had a row, in order."""
        return tuple(sorted({row.cell for row in self.rows}))

    def seen(self, day: date) -> date | None:
        """The last day, up to this one, on which the board was seen; None before the first."""
        return max((known for known in self.days if known <= day), default=None)

    def standing(self, day: date) -> tuple[BoardRow, ...]:
        """The rows that stood on a day."""
        listed = [row for row in self.rows if row.first_seen <= day <= row.last_seen]
        taken = {row.cell for row in listed}
        seen = self.seen(day)
        return *listed, *(row for row in self.rows if row.last_seen == seen and row.cell not in taken)

    def holder(self, cell: Cell, day: date) -> BoardRow | None:
        """The row that held a cell on a day: the highest of those standing. None: no row stood."""
        rows = [row for row in self.standing(day) if row.cell == cell]
        # Of equals, the one that is to stay: upstream renames entries.
        return max(rows, key=lambda row: (row.accuracy, row.last_seen), default=None)

    def records(self, cell: Cell, until: date = date.max) -> tuple[Record, ...]:
        """How the record of a cell moved up to a day, oldest first.

        A record falls where upstream withdrew, corrected or moved the row that held it. What was beaten on
        the day it came is there, too.
        """
        rows = [row for row in self.rows if row.cell == cell]
        # A row that was last seen on a day is gone on the next, or when the board is next seen.
        gone = {row.last_seen + timedelta(1) for row in rows if row.last_seen < date.max}
        gone |= {min((day for day in self.days if day > row.last_seen), default=date.max) for row in rows}
        records: list[Record] = []
        for day in sorted({row.first_seen for row in rows} | gone):
            if day > until:
                break
            arrivals = [row for row in rows if row.first_seen == day]
            holder = self.holder(cell, day)
            for row in (*arrivals, *([holder] if holder else [])):
                before = records[-1].row.accuracy if records else None
                if before is None or row.accuracy > before or (row is holder and row.accuracy < before):
                    gain = None if before is None else round(row.accuracy - before, 6)
                    records.append(Record(day, row, gain))
        return tuple(records)

    def row_of(self, dataset: str, version: str, size: int, epochs: int) -> BoardRow | None:
        """The row a result is held against: v1, the record of 2019-04-16; v2, today's. None: no such cell.

        Where several rows of a cell stood on that day, the record is the highest of them.
        """
        return self.holder((dataset, version, size, epochs), POSTS_DAY if version == "v1" else self.newest)


def load_board() -> Board:
    """The history in force: the file that `LRELU_BENCH_BOARD` names, else the package's.

    Raises `BenchError` naming the file, line and column where that file is no history.
    """
    named = os.environ.get(BOARD_VARIABLE, "")
    return read_board(Path(named)) if named else _shipped()


@lru_cache
def _shipped() -> Board:
    name = "leaderboard_history.csv"
    text = resources.files("lrelu_bench.reference").joinpath(name).read_text(encoding="utf-8")
    return Board(_rows(text, name))


def read_board(path: Path) -> Board:
    """A history from a file, as `leaderboard import --output` writes it.

    Raises `BenchError` naming the file, line and column where it is none.
    """
    return _parsed(table.text_of(path, f"give {BOARD_VARIABLE} a history's file"), str(path))


@lru_cache(maxsize=4)
def _parsed(text: str, source: str) -> Board:
    return Board(_rows(text, source), source)


def _rows(text: str, source: str) -> tuple[BoardRow, ...]:
    return tuple(_row(line) for line in table.lines_of(text, source))


def _row(line: table.Line) -> BoardRow:
    first, last = line.day("first_seen"), line.day("last_seen")
    if first > last:
        raise line.error("last_seen", f"a day not before first_seen ({first})")
    return BoardRow(
        dataset=line.one_of("dataset", DATASETS),
        version=line.one_of("version", VERSIONS),
        size=line.count("size_px"),
        epochs=line.count("epochs"),
        accuracy=line.percentage("accuracy_pct"),
        entry=line.text("entry"),
        url=line.text("url"),
        runs=line.text("runs"),
        params=line.text("params"),
        gpus=line.text("gpus"),
        first_seen=first,
        last_seen=last,
        commits=(line.text("first_commit"), line.text("last_commit")),
    )


def as_csv(rows: Iterable[BoardRow]) -> str:
    """A history as the text that `read_board` reads."""
    return table.as_csv(
        (
            *(*row.cell, row.accuracy, row.entry, row.url, row.runs, row.params, row.gpus),
            *(row.first_seen.isoformat(), row.commits[0], row.last_seen.isoformat(), row.commits[1]),
        )
        for row in rows
    )
