"""What to show of the leaderboard on a day, and in which words: plain values, nothing drawn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from lrelu_bench.errors import BenchError
from lrelu_bench.leaderboard import BOARD_VARIABLE, NOT_STATED, VERSIONS, Board, BoardRow, Cell, Record
from lrelu_bench.protocols import PROTOCOL_SENTENCES
from lrelu_bench.report.listing import ARCH_SENTENCES


@dataclass(frozen=True)
class CellSelection:
    """Which cells to show; None is all of them."""

    dataset: str | None = None
    version: str | None = None
    size: int | None = None
    """px"""
    epochs: int | None = None

    def fits(self, cell: Cell) -> bool:
        """Whether the cell is one of these."""
        asked = (self.dataset, self.version, self.size, self.epochs)
        return all(want in (None, has) for want, has in zip(asked, cell, strict=True))

    @property
    def in_words(self) -> str:
        """`imagewoof v1, 128 px, 5 epochs`; empty for all."""
        data = " ".join(part for part in (self.dataset, self.version) if part)
        size = "" if self.size is None else f"{self.size} px"
        return ", ".join(part for part in (data, size, _epochs(self.epochs)) if part)


@dataclass(frozen=True)
class HeldCell:
    """A cell on a day: the row that held it, and its records up to then, oldest first."""

    row: BoardRow
    records: tuple[Record, ...]

    @property
    def since(self) -> date:
        """The day of the last record."""
        return self.records[-1].day


class BoardView:
    """The board of one day, as far as it was asked for."""

    def __init__(self, board: Board, selection: CellSelection, asked: date | None = None) -> None:
        """The board of the day, or without one, the newest that has any of the cells.

        Raises `BenchError` where the history begins later, or has none of the cells then or ever.
        """
        self.board = board
        self.cells = [cell for cell in board.cells if selection.fits(cell)]
        if not self.cells:
            raise BenchError(f"the board has no cell of {selection.in_words}; {_what_there_is(board)}")
        rows = [row for row in board.rows if row.cell in self.cells]
        self.day = max(row.last_seen for row in rows) if asked is None else asked
        seen = board.seen(self.day)
        if seen is None:
            raise BenchError(
                f"--date {self.day}: the history of the board begins on {board.oldest}; "
                "give that day or a later one"
            )
        self.seen = seen
        holders = [board.holder(cell, self.day) for cell in self.cells]
        self.held = [HeldCell(row, board.records(row.cell, self.day)) for row in holders if row is not None]
        if not self.held:
            first, last = min(row.first_seen for row in rows), max(row.last_seen for row in rows)
            raise BenchError(
                f"--date {self.day}: no row of {selection.in_words} stood on the board that day; they were "
                f"listed from {first} to {last}"
            )

    @property
    def title(self) -> str:
        """Which day's board it is, and when that was last seen."""
        as_seen = f"as last seen on {self.seen}"
        if self.seen == self.board.newest and self.day >= self.seen:
            return f"The board {as_seen}"
        return f"The board of {self.day}" + ("" if self.seen == self.day else f", {as_seen}")

    def notes(self) -> Iterator[str]:
        """What a reader must know besides the numbers."""
        yield from self._other_versions()
        if self.day > self.board.newest:
            yield (
                f"Nothing later than {self.board.newest} is known; "
                "`lrelu-bench leaderboard import README.md` reads a newer board."
            )
        rows = [one.row for one in self.held]
        if any(map(is_comparable, rows)):
            yield (
                "like for like: with a run of that net under that protocol alone; any other run stands "
                "beside the row as reference."
            )
        if not all(map(is_comparable, rows)):
            yield (
                "reference: no run of this package has the row's net and protocol, so a difference from it "
                "is context, not evidence."
            )
        yield "Since: the first day of this accuracy; Commit: the README's that first listed the row."
        if any(record.gain is not None and record.gain < 0 for one in self.held for record in one.records):
            yield "A record falls where upstream withdrew, corrected or moved the row that held it."
        if self.board.source is not None:
            yield f"The board is that of {self.board.source} ({BOARD_VARIABLE}), not the package's."

    def _other_versions(self) -> Iterator[str]:
        shown = {one.row.version for one in self.held}
        for version in VERSIONS:
            rows = [row for row in self.board.rows if row.version == version and row.cell in self.cells]
            if rows and version not in shown:
                first, last = min(row.first_seen for row in rows), max(row.last_seen for row in rows)
                past = first <= self.day
                when = f"was listed from {first} to {last}" if past else f"is listed from {first} on"
                yield f"{version} is not on it: it {when} (see --date {last if past else first})."


def is_comparable(row: BoardRow) -> bool:
    """Whether a run of this package can be like for like with the row."""
    return row.net in ARCH_SENTENCES and row.protocol in PROTOCOL_SENTENCES


def compared(row: BoardRow) -> str:
    """`like for like` or `reference`."""
    return "like for like" if is_comparable(row) else "reference"


def measured(row: BoardRow) -> str:
    """The entry with its net and protocol: `depthwise(x6) (net and protocol not stated)`."""
    if row.measured_with == row.net:
        return f"{row.net}, {row.protocol}"
    if row.net == row.protocol == NOT_STATED:
        return f"{row.name} (net and protocol not stated)"
    net = "net not stated" if row.net == NOT_STATED else row.net
    return f"{row.name} ({net}, {'protocol not stated' if row.protocol == NOT_STATED else row.protocol})"


def board_title(row: BoardRow) -> str:
    """`Imagewoof v1`."""
    return f"{row.dataset.capitalize()} {row.version}"


def cell_title(row: BoardRow) -> str:
    """`Imagewoof v1 · 128 px · 5 epochs`."""
    return f"{board_title(row)} · {row.size} px · {_epochs(row.epochs)}"


def runs_cell(row: BoardRow) -> str:
    """`1`, `mean of 5` or `not stated`."""
    return NOT_STATED if row.runs_count is None else f"{'mean of ' * row.is_mean}{row.runs_count}"


def gain_cell(gain: float | None) -> str:
    """Percentage points over the record before, signed; empty for the first."""
    return "" if gain is None else f"{gain:+.2f}".replace("-", "−")


def moves(records: Sequence[Record]) -> list[str]:
    """How a record moved, step by step: `71.9 (2020-01-14) →`; nothing where it never did."""
    if len(records) < 2:
        return []
    *steps, last = (f"{record.row.accuracy} ({record.day})" for record in records)
    return [*(f"{step} →" for step in steps), last]


def _epochs(epochs: int | None) -> str:
    return "" if epochs is None else f"{epochs} epoch{'s' * (epochs != 1)}"


def _what_there_is(board: Board) -> str:
    sizes, epochs = {cell[2] for cell in board.cells}, {cell[3] for cell in board.cells}
    return f"it has {_listed(sizes)} px at {_listed(epochs)} epochs, not each in either version"


def _listed(numbers: set[int]) -> str:
    *others, last = map(str, sorted(numbers))
    return f"{', '.join(others)} and {last}" if others else last
