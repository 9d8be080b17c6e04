"""A README's board against the history known so far, drawn: what is new, changed and gone."""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.text import Text

from lrelu_bench.leaderboard import Board, BoardRow
from lrelu_bench.leaderboard.update import Change, Update
from lrelu_bench.leaderboard.upstream import Readme
from lrelu_bench.report.board import cell_title, compared, gain_cell, measured
from lrelu_bench.report.wording import plain

_MOST_PROBLEMS = 20


class UpdateView:
    """What a README changes, as a Rich renderable."""

    def __init__(self, board: Board, path: Path, readme: Readme, update: Update) -> None:
        self.board, self.path, self.readme, self.update = board, path, readme, update

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw what was read, the changes by cell, and what was not read."""

        def text(words: str, style: str = "", indent: int = 0) -> Padding:
            # Brackets in an entry mean nothing to Rich.
            drawn = Text(plain(words, options.ascii_only), style, overflow="fold")
            return Padding(drawn, (0, 0, 0, indent), expand=False)

        yield text(self._read())
        yield Text()
        for change in self.update.changes:
            yield text(cell_title(change.row), "bold")
            for line, style in _lines(change):
                yield text(line, style, 2)
        if self.update.changes:
            yield Text()
        for problem in self._problems():
            yield text(problem, "bold red")
        for note in self._notes():
            yield text(note, "dim")

    def _read(self) -> str:
        readme, known = self.readme, self.board.source or "the package's history"
        commit = f", commit {readme.commit}" if readme.commit else ""
        rows = f"{len(readme.rows)} row{'s' * (len(readme.rows) != 1)}"
        return (
            f"{self.path}, {readme.day}{commit}: {rows}, {self.update.same} as on that day's board of "
            f"{known} ({self.board.oldest} to {self.board.newest})"
        )

    def _problems(self) -> Iterator[str]:
        yield from (f"! not read: {one}" for one in self.readme.problems[:_MOST_PROBLEMS])
        more = len(self.readme.problems) - _MOST_PROBLEMS
        if more > 0:
            yield f"! not read: {more} more"

    def _notes(self) -> Iterator[str]:
        if self.update.kept:
            yield (
                f"known rows that were not found: {self.update.kept}; as not all could be read, they are "
                "taken to stand"
            )
        if self.readme.left_out:
            yield f"other boards, left out: {', '.join(self.readme.left_out)}"


def _lines(change: Change) -> Iterator[tuple[str, str]]:
    """What was and what is, each with its accuracy, measurement and runs."""
    before, after = change.before, change.after
    if before is not None:
        word = "gone" if after is None else "was"
        yield f"{word} {_row(before)}", "dim" if after else "red"
    if after is not None:
        gain = after.accuracy - before.accuracy if before else 0.0
        moved = f" ({gain_cell(gain)})" if gain else ""
        yield f"{'now' if before else 'new'} {_row(after, moved)}", "green"


def _row(row: BoardRow, moved: str = "") -> str:
    return f"{row.accuracy} %{moved}: {measured(row)}; {row.runs_in_words}; {compared(row)}"
