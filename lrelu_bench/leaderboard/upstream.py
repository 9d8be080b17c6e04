"""The board as upstream's README lists it: Markdown tables, read tolerantly, and when they were committed.

Upstream is https://github.com/fastai/imagenette. Its README changed its columns and headings over the
years, has `78,84%` and `&pm;` in its cells, and tables of other boards beside these two.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from html import unescape
from pathlib import Path

from lrelu_bench.errors import BenchError
from lrelu_bench.leaderboard.history import DATASETS, BoardRow
from lrelu_bench.leaderboard.table import text_of

V2_DAY = date(2020, 1, 14)
"""The day of the first v2 board; needed only where a table's columns do not tell."""

MAX_ROWS = 500

_REMEDY = "give the README.md of a checkout of https://github.com/fastai/imagenette"
_NO_TABLE = "no table below a heading 'Imagenette Leaderboard' or 'Imagewoof Leaderboard'"
_BLANK = {"", "-", "–", "—", "na", "n/a", "tbd", "?"}
_ACCURACY = re.compile(
    r"([0-9]{1,3}(?:[.,][0-9]{1,6})?) ?%?(?: ?(?:±|\+/-|\+-) ?[0-9]{1,3}(?:[.,][0-9]{1,6})? ?%?)?"
)
_COUNT = re.compile(r"([0-9]{1,5}) ?(?:px|epochs?)?", re.IGNORECASE)
_LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]*)\)")
_BARE_LINK = re.compile(r"<?(https?://[^\s<>|]+)>?")
_COLUMNS = {
    "size": "size",
    "epoch": "epochs",
    "acc": "accuracy",
    "url": "url",
    "link": "url",
    "entry": "url",
    "#run": "runs",
    "run": "runs",
    "param": "params",
    "gpu": "gpus",
}
"""How a column's heading begins, without spaces, and what it holds."""


@dataclass(frozen=True)
class Readme:
    """What a README lists, and what of it could not be read."""

    rows: tuple[BoardRow, ...]
    problems: tuple[str, ...]
    """One sentence for each line that was not read, with its number."""
    unsure: frozenset[str]
    """Data sets of which a table or a line of it was not read: what seems gone from them may not be."""
    day: date
    commit: str
    """The README's; empty where it is not known."""
    left_out: tuple[str, ...]
    """Headings of tables of other boards, such as those with label noise."""


def read_readme(path: Path, day: date | None = None, commit: str | None = None) -> Readme:
    """The rows that a README lists, of the day and commit given or else known to git (see `provenance`).

    Raises `BenchError` where the file cannot be read, is no text, has no row of either board, or nothing says
    of which day it is.
    """
    text = text_of(path, _REMEDY)
    readme = parse_readme(text, *provenance(path, day, commit))
    if len(readme.rows) > MAX_ROWS:
        raise BenchError(f"{path}: over {MAX_ROWS:,} rows, which no board has; {_REMEDY}")
    if not readme.rows:
        problem = next((one for one in readme.problems if one.startswith("line")), _NO_TABLE)
        raise BenchError(f"{path}: no row of the board ({problem}); {_REMEDY}")
    return readme


def parse_readme(text: str, day: date, commit: str) -> Readme:
    """The rows in a README's text."""
    rows: list[BoardRow] = []
    problems: list[str] = []
    unsure: set[str] = set()
    left_out: list[str] = []
    found: set[str] = set()
    for heading, head, lines in _tables(text):
        columns = _columns(head)
        if not {"size", "epochs", "accuracy"} <= set(columns):
            continue
        dataset = _dataset(heading)
        if dataset is None:
            left_out.append(heading)
            continue
        found.add(dataset)
        version = _version(columns, day)
        for number, cells in lines:
            try:
                values = _values(columns, len(head), cells)
                row = values and _row(dataset, version, values, day, commit)
            except ValueError as error:
                problems.append(f"line {number}: {error}")
                unsure.add(dataset)
                continue
            if row:
                rows.append(row)
    for dataset in DATASETS:
        if dataset not in found:
            problems.append(f"no table below a heading '{dataset.capitalize()} Leaderboard'")
            unsure.add(dataset)
    unique, others = tuple(dict.fromkeys(rows)), tuple(dict.fromkeys(left_out))
    return Readme(unique, tuple(problems), frozenset(unsure), day, commit, others)


_Lines = list[tuple[int, list[str]]]


def _tables(text: str) -> Iterator[tuple[str, list[str], _Lines]]:
    """Every table: the heading above it, the cells of its head, and its numbered lines of cells."""
    heading, block, fenced = "", _Lines(), False
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate([*lines, ""], 1):
        bare = line.strip()
        if bare.startswith(("```", "~~~")):
            fenced = not fenced
        if "|" in bare and not fenced:
            block.append((number, _cells(bare)))
            continue
        if block:
            # The head stands above the rule; where the rule was forgotten, it is the first line.
            rule = next((place for place, (_, cells) in enumerate(block) if place and _is_rule(cells)), 0)
            yield heading, block[max(rule - 1, 0)][1], block[rule + 1 :]
        block = []
        if bare.startswith("#") and not fenced:
            heading = bare.strip("# ")


def _cells(line: str) -> list[str]:
    cells = [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", line)]
    if line.startswith("|"):
        cells = cells[1:]
    if cells and not cells[-1]:
        cells = cells[:-1]
    return cells


def _is_rule(cells: Sequence[str]) -> bool:
    return any(cells) and not any(cell.strip(":- ") for cell in cells)


def _columns(head: Sequence[str]) -> dict[str, int]:
    """Where each kind of value stands."""
    columns: dict[str, int] = {}
    for place, cell in enumerate(head):
        name = "".join(_plain(cell).lower().split())
        kind = next((kind for start, kind in _COLUMNS.items() if name.startswith(start)), None)
        if kind is not None:
            columns.setdefault(kind, place)
    return columns


def _dataset(heading: str) -> str | None:
    """The board below a heading such as `Imagewoof Leaderboard` or, in 2019, `Imagewoof`."""
    name = _plain(heading).lower().rstrip(":").removesuffix("leaderboard").strip()
    return name if name in DATASETS else None


def _version(columns: dict[str, int], day: date) -> str:
    """Only v1's tables list the script's arguments, only v2's the runs."""
    if "params" in columns or "gpus" in columns:
        return "v1"
    return "v2" if "runs" in columns or day >= V2_DAY else "v1"


def _values(columns: dict[str, int], width: int, cells: Sequence[str]) -> dict[str, str]:
    """The line's cells by kind, those that are missing empty; empty for a cell nobody has entered yet.

    Raises `ValueError` where the line has more cells than there are columns: then none can be trusted.
    """
    if len(cells) > width:
        raise ValueError(f"{len(cells)} cells in a table of {width} columns")
    values = {kind: cells[place] if place < len(cells) else "" for kind, place in columns.items()}
    return {} if _plain(values["accuracy"]).lower() in _BLANK else values


def _row(dataset: str, version: str, values: dict[str, str], day: date, commit: str) -> BoardRow:
    entry, url = _entry(values.get("url", ""))
    return BoardRow(
        dataset=dataset,
        version=version,
        size=_count("size", values["size"]),
        epochs=_count("epochs", values["epochs"]),
        accuracy=_accuracy(values["accuracy"]),
        entry=entry,
        url=url,
        runs=_words(values.get("runs", "")).replace(",mean", ", mean"),
        params=_words(values.get("params", "").strip("` ")),
        gpus=_words(values.get("gpus", "")),
        first_seen=day,
        last_seen=day,
        commits=(commit, commit),
    )


def _count(name: str, cell: str) -> int:
    found = _COUNT.fullmatch(_plain(cell))
    if not found or not int(found[1]):
        raise ValueError(f"{name} is {_shown(cell)}, not a whole number from 1 on")
    return int(found[1])


def _accuracy(cell: str) -> float:
    """Percent; a decimal comma and a spread behind the number are fine, a share is not."""
    found = _ACCURACY.fullmatch(_plain(cell))
    accuracy = float(found[1].replace(",", ".")) if found else 0.0
    if not 1 < accuracy <= 100:
        raise ValueError(f"accuracy is {_shown(cell)}, not a percentage")
    return accuracy


def _entry(cell: str) -> tuple[str, str]:
    """The entry's name and its first link."""
    link = _LINK.search(cell)
    if link:
        return _plain(_LINK.sub(r"\1", cell)), link[2]
    bare = _BARE_LINK.search(cell)
    if bare:
        return _plain(_BARE_LINK.sub("", cell)) or "link", bare[1]
    name = _words(cell)
    return name, ""


def _words(cell: str) -> str:
    """The cell's text; empty where it says that there is nothing."""
    text = _plain(cell)
    return "" if text.lower() in _BLANK else text


def _plain(cell: str) -> str:
    """Text without entities, bold, code marks and doubled spaces."""
    return " ".join(unescape(cell).replace("**", "").split()).strip("*` ")


def _shown(cell: str) -> str:
    return ascii(cell if len(cell) <= 40 else f"{cell[:40]}...")


def provenance(path: Path, day: date | None, commit: str | None) -> tuple[date, str]:
    """The README's day and commit: as given, else those of its last commit in the checkout it lies in.

    Raises `BenchError` where neither tells, where git's commit is another than the one given, and for a day
    that has not come yet.
    """
    if commit is not None and not re.fullmatch(r"[0-9a-f]{4,40}", commit):
        raise BenchError(f"--commit {commit}: not a commit; give 4 to 40 digits such as 02394868")
    if day is not None:
        # A day's slack: the reader's clock may be behind the committer's.
        if day > date.today() + timedelta(1):
            raise BenchError(f"--date {day}: has not come yet; give the day of the README")
        return day, commit or ""
    known = _git_says(path)
    if known is None:
        raise BenchError(
            f"{path}: git does not say when it was committed (no checkout, or edited since); "
            "give its day as --date YYYY-MM-DD, and if you know it, its --commit"
        )
    if commit is not None and not commit.startswith(known[1]) and not known[1].startswith(commit):
        raise BenchError(
            f"--commit {commit}: git says that {path} is of {known[1]}; leave --commit out or give --date too"
        )
    return known


def _git_says(path: Path) -> tuple[date, str] | None:
    """Day and commit of the last change to a file, if it is committed as it is."""
    path = path.resolve()

    def git(*arguments: str) -> bytes:
        # A checkout that somebody packed brings its settings, and some of them name programs to start.
        command = ["git", "-C", str(path.parent), "-c", "log.showSignature=false", "--no-optional-locks"]
        env = os.environ | {"GIT_NO_LAZY_FETCH": "1"}
        done = subprocess.run([*command, *arguments], capture_output=True, check=True, timeout=60, env=env)
        return done.stdout

    try:
        # `git status` would run the checkout's filters.
        committed = git("cat-file", "blob", f"HEAD:./{path.name}")
        if _lines(committed) != _lines(path.read_bytes()):
            return None
        told = git("log", "-1", "--abbrev=7", "--format=%cI%n%h", "--", f":(literal){path.name}")
        day, commit = told.decode("ascii").split()
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return date.fromisoformat(day[:10]), commit


def _lines(content: bytes) -> list[bytes]:
    """Without how they end, which git changes in a checkout."""
    return content.splitlines()
