"""The comparison in Markdown: for a README, and with rows ready for a pull request to the leaderboard."""

from collections.abc import Sequence

from lrelu_bench.report.compare import CompareRow
from lrelu_bench.report.tables import TextTable, pooled_table, result_tables, verdict_table
from lrelu_bench.report.wording import Notes, board_line, escaped, section_title


def markdown(rows: Sequence[CompareRow], skipped: Sequence[str]) -> str:
    """The verdicts, every row's statistics and what a reader must know, ending in a newline."""
    notes = Notes(rows, skipped)
    verdicts = verdict_table(rows, notes)
    first = [one for one in (verdicts, pooled_table(rows)) if one is not None]
    tables = [*first, *result_tables(rows, notes)]
    cells = dict.fromkeys(f"{section_title(row)}: {board_line(row)}" for row in rows if row.board)
    lines = [f"- {escaped(note)}" for note in [*cells, *notes.lines]]
    return "\n\n".join([*map(table, tables), "\n".join(lines)]) + "\n"


def pooled_markdown(rows: Sequence[CompareRow]) -> str:
    """The table of verdicts over cells alone, ending in a newline; empty where nothing is pooled."""
    pooled = pooled_table(rows)
    return "" if pooled is None else f"{table(pooled)}\n"


def table(content: TextTable) -> str:
    """One table, without a newline at its end."""
    rule = ["---:" if name in content.numeric else "---" for name in content.header]
    body = [list(map(escaped, cells)) for cells in content.body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (map(escaped, content.header), rule, *body))
