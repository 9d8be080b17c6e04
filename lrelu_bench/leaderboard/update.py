"""A newer board against the history known so far: what differs, and the history with it in."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from lrelu_bench.leaderboard.history import Board, BoardRow, Cell
from lrelu_bench.leaderboard.upstream import Readme


@dataclass(frozen=True)
class Change:
    """How one row of a cell differs: new (nothing before), gone (nothing after), or another."""

    before: BoardRow | None
    after: BoardRow | None

    @property
    def row(self) -> BoardRow:
        """The row as it is now, or was."""
        row = self.after or self.before
        assert row is not None
        return row


@dataclass(frozen=True)
class Update:
    """A README held against a history."""

    changes: tuple[Change, ...]
    """By cell."""
    kept: int
    """How many known rows are taken to stand, because the README could not be read whole."""
    same: int
    """How many of the README's rows stood on the board of its day as they are."""
    rows: tuple[BoardRow, ...]
    """The history with the README in it, oldest rows first."""


def update(board: Board, readme: Readme) -> Update:
    """What a README changes in the history.

    No row is ever dropped or moved: one that stands goes on to its day, another gets dates of its own. What
    seems gone from a table that could not be read whole is taken to stand.
    """
    missing, listed = defaultdict[Cell, list[BoardRow]](list), defaultdict[Cell, list[BoardRow]](list)
    for row in board.standing(readme.day):
        missing[row.cell].append(row)
    for row in readme.rows:
        known = next((one for one in missing[row.cell] if _same(one, row)), None)
        if known is None:
            listed[row.cell].append(row)
        else:
            missing[row.cell].remove(known)
    still = [
        row
        for rows in missing.values()
        for row in rows
        if row.dataset in readme.unsure and not listed[row.cell]
    ]
    for row in still:
        missing[row.cell].remove(row)
    changes = [
        change
        for cell in sorted({*missing, *listed})
        for change in _paired(_by_accuracy(missing[cell]), _by_accuracy(listed[cell]))
    ]
    same = len(readme.rows) - sum(change.after is not None for change in changes)
    merged = _merged(board, [*readme.rows, *still], readme.day, readme.commit)
    return Update(tuple(changes), len(still), same, merged)


def _same(known: BoardRow, row: BoardRow) -> bool:
    """Whether two rows are one entry: a run count that one of them leaves open is no difference."""
    alike = all(getattr(known, name) == getattr(row, name) for name in ("cell", "accuracy", "entry", "url"))
    runs = {(one.runs_count, one.is_mean) for one in (known, row) if one.runs_count is not None}
    return alike and len(runs) < 2


def _by_accuracy(rows: Sequence[BoardRow]) -> list[BoardRow]:
    return sorted(rows, key=lambda row: -row.accuracy)


def _paired(before: Sequence[BoardRow], after: Sequence[BoardRow]) -> list[Change]:
    """Old rows beside new ones of their cell, the highest first; what is left over is gone or new."""
    count = max(len(before), len(after))
    filled = ([*rows, *[None] * (count - len(rows))] for rows in (before, after))
    return [Change(*pair) for pair in zip(*filled, strict=True)]


def _merged(board: Board, rows: Sequence[BoardRow], day: date, commit: str) -> tuple[BoardRow, ...]:
    history = list(board.rows)
    for row in rows:
        place = next((place for place, known in enumerate(history) if _goes_on(known, row, board, day)), None)
        if place is None:
            history.append(row)
            continue
        known = history[place]
        if day > known.last_seen:
            known = replace(known, last_seen=day, commits=(known.commits[0], commit))
        if day < known.first_seen:
            known = replace(known, first_seen=day, commits=(commit, known.commits[1]))
        history[place] = replace(known, runs=known.runs or row.runs)
    return tuple(sorted(history, key=lambda row: row.first_seen))


def _goes_on(known: BoardRow, row: BoardRow, board: Board, day: date) -> bool:
    """Whether a known row stood until that day: the same entry, and never seen gone in between."""
    between = (known.last_seen < seen < day or day < seen < known.first_seen for seen in board.days)
    return _same(known, row) and not any(between)
