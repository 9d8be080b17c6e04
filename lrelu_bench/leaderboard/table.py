"""The history's file: a CSV table whose every fault is named with its file, line and column."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from lrelu_bench import plain_file
from lrelu_bench.csv_cells import guarded, unguarded
from lrelu_bench.errors import BenchError

COLUMNS = (
    *("dataset", "version", "size_px", "epochs", "accuracy_pct", "entry", "url", "runs", "params", "gpus"),
    *("first_seen", "first_commit", "last_seen", "last_commit"),
)


MAX_BYTES = 1_000_000
"""Of a history or a README; upstream's are of some 30 kB."""
MAX_LINES = 1000
"""Of a history; the package's has some 120."""


@dataclass(frozen=True)
class Line:
    """One line of the file; its readers raise `BenchError` for a value that is none."""

    where: str
    """File and line."""
    values: dict[str, str]

    def error(self, column: str, expected: str) -> BenchError:
        """The sentence for a column whose value is not what is expected."""
        return BenchError(
            f"{self.where}: {column} is {_shown(self.values[column])}, not {expected}; mend the line, or "
            "write the file anew with `lrelu-bench leaderboard import README.md --output FILE`"
        )

    def text(self, column: str) -> str:
        """Any text."""
        return unguarded(self.values[column])

    def one_of(self, column: str, names: Sequence[str]) -> str:
        """One of the names."""
        if self.values[column] not in names:
            raise self.error(column, " or ".join(names))
        return self.values[column]

    def count(self, column: str) -> int:
        """A whole number from 1 on."""
        text = self.values[column]
        if not (text.isascii() and text.isdigit() and len(text) < 7 and int(text)):
            raise self.error(column, "a whole number from 1 on")
        return int(text)

    def percentage(self, column: str) -> float:
        """A number above 0 and up to 100."""
        try:
            number = float(self.values[column])
        except ValueError:
            number = math.nan
        if not 0 < number <= 100:
            raise self.error(column, "a percentage")
        return number

    def day(self, column: str) -> date:
        """A date as YEAR-MONTH-DAY."""
        try:
            return date.fromisoformat(self.values[column])
        except ValueError:
            raise self.error(column, "a date such as 2019-04-16") from None


def text_of(path: Path, remedy: str) -> str:
    """A text file's content; raises `BenchError` where it cannot be read or is no text."""
    return plain_file.read_text(path, MAX_BYTES, remedy)


def lines_of(text: str, source: str) -> Iterator[Line]:
    """The lines of a history's file; raises `BenchError` where it is none or holds no row."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise BenchError(
                f"{source}:1: no column {', '.join(missing)}, so not a history of the leaderboard; write one "
                "with `lrelu-bench leaderboard import README.md --output FILE`"
            )
        found = False
        for values in reader:
            if not values:
                continue
            if len(values) != len(header):
                raise BenchError(
                    f"{source}:{reader.line_num}: {len(values)} values, but the header names {len(header)} "
                    "columns; mend the line"
                )
            if reader.line_num > MAX_LINES:
                raise BenchError(f"{source}: over {MAX_LINES:,} lines, which no history of the board has")
            found = True
            yield Line(f"{source}:{reader.line_num}", dict(zip(header, values, strict=True)))
    except csv.Error as error:
        raise BenchError(f"{source}:{reader.line_num}: damaged, not CSV ({error}); mend the line") from error
    if not found:
        raise BenchError(f"{source}: holds no row of the leaderboard; give a file that does")


def as_csv(rows: Iterable[Sequence[object]]) -> str:
    """Rows of values, in the order of `COLUMNS`, as the file's text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([guarded(value) for value in row] for row in rows)
    return text.getvalue()


def _shown(value: str) -> str:
    return repr(value if len(value) <= 40 else f"{value[:40]}...")
