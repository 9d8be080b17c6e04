"""Rows in the columns of the leaderboard's own README, ready for a pull request to it.

Its rules are at https://github.com/fastai/imagenette: listed cells only, above the row in more than 80 % of
the runs, ideally a mean of five, and a link to what was done with the exact commit.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from shlex import quote

from lrelu_bench.evidence.verdicts import FEWEST_RUNS
from lrelu_bench.printable import visible
from lrelu_bench.report.compare import BOARD_SHARE, CompareRow
from lrelu_bench.report.wording import Notes, comparison_cell, counted, escaped, files

_HEADER = ("| Size (px) | Epochs | URL | Accuracy | # Runs |", "|--|--|--|--|--|")


def pull_request(rows: Sequence[CompareRow], notes: Notes) -> str:
    """Rows of today's cells (v2), with what each lacks and how to repeat it; empty where there is none.

    `notes` are those of the comparison above it: they number the custom protocols.
    """
    listed = [row for row in rows if row.version == "v2" and row.board is not None and row.mean is not None]
    if not listed:
        return ""
    blocks = ["## For a pull request to the leaderboard\n\nPut a link to your write-up in the place of LINK."]
    for dataset, own in groupby(listed, key=lambda row: row.dataset):
        some = list(own)
        table = "\n".join([*_HEADER, *map(_line, some)])
        remarks = "\n".join(_remark(row, notes) for row in some)
        blocks.append(f"### {dataset.capitalize()} Leaderboard\n\n{table}\n\n{remarks}")
    return "\n\n".join(blocks) + "\n"


def seeds_in_words(seeds: Sequence[int]) -> str:
    """Seeds as `run --seeds` reads them: `0-2,5`."""
    ordered = sorted(set(seeds))
    spans: list[list[int]] = []
    for seed in ordered:
        if spans and seed == spans[-1][-1] + 1:
            spans[-1][1:] = [seed]
        else:
            spans.append([seed])
    return ",".join("-".join(map(str, span)) for span in spans)


def command(row: CompareRow) -> str:
    """The command that trains the row's runs again, from the config that they left."""
    config = row.runs[0].folder / "config.yaml"
    return f"lrelu-bench run {quote(str(config))} --seeds {seeds_in_words(row.seeds)} --output repeated"


def _line(row: CompareRow) -> str:
    commits = {run.result.commit for run in row.runs}
    known = commits.pop() if len(commits) == 1 else None
    made_by = f"lrelu-bench {known[:7]}" if known and known.isalnum() else "lrelu-bench"
    # In a link's text, parentheses might end it.
    entry = escaped(f"{row.arch} + {row.activation} ({made_by})").replace("(", "\\(").replace(")", "\\)")
    n = len(row.measured)
    return f"|{row.size}|{row.epochs}|[{entry}](LINK)|{row.mean:.2f}%|{n}{', mean' if n > 1 else ''}|"


def _remark(row: CompareRow, notes: Notes) -> str:
    board = row.board
    assert board is not None
    assert row.above_board is not None
    enough = row.above_board / row.n > BOARD_SHARE and row.n >= FEWEST_RUNS
    rule = "asks for more than 80 %" if row.n >= FEWEST_RUNS else "asks for more than 80 % of several runs"
    lacks = "" if enough else f" (not an entry: the board {rule})"
    diverged = f", {len(row.diverged)} diverged" if row.diverged else ""
    above = f"{row.above_board} of {row.n} runs above {board.accuracy:g} %{diverged}{lacks}"
    cell = f"{row.arch} + {row.activation}, {row.size} px, {row.epochs} epochs"
    measured = f"{notes.protocol(row)}, {files(row)}, {row.precision}: {comparison_cell(row)}"
    return f"- {escaped(f'{cell}: {above}; {measured}. Commit {_commits(row)}')}: {_code(command(row))}"


def _commits(row: CompareRow) -> str:
    """The code versions of the runs in words, each with its number of runs where there are several."""
    counts = Counter(run.result.commit for run in row.runs)
    words = {commit: _commit(commit) for commit in counts}
    if len(counts) == 1:
        return "".join(words.values())
    return ", ".join(f"{words[commit]} ({counted(count, 'run')})" for commit, count in counts.items())


def _commit(commit: str | None) -> str:
    if not commit:
        return "not recorded"
    clean, dirty, _ = commit.partition("+")
    return f"{clean} with changes that were not committed" if dirty else clean


def _code(text: str) -> str:
    """A code span, whatever backticks are in the text."""
    text = visible(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    padding = " " if "`" in text else ""
    return f"{fence}{padding}{text}{padding}{fence}"
