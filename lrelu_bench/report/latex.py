"""The comparison as a LaTeX table in the style of booktabs, for papers."""

import re
from collections.abc import Sequence
from itertools import groupby

from lrelu_bench.printable import visible
from lrelu_bench.report.compare import CompareRow
from lrelu_bench.report.wording import (
    NOTHING,
    Notes,
    accuracy_cell,
    baseline_difference_cell,
    board_line,
    n_cell,
    section_title,
)

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    # Behind a line's end either of these would be an argument of it.
    "[": "{[}",
    "*": "{*}",
    "±": r"$\pm$",
    "−": r"$-$",
    "·": r"$\cdot$",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


_COLUMNS = r"@{}lrrrp{0.36\textwidth}@{}"
_OF_OTHER_FORMATS = ("vs board:", "(", "'beats'", "Exact permutation", "Over images")
"""How notes begin that are about columns this table does not have."""


def latex(rows: Sequence[CompareRow], skipped: Sequence[str]) -> str:
    """One `table*` with a block per cell of the board, in it a group per net and protocol, and the notes.

    Needs the package booktabs; compiles with pdfLaTeX (T1 fonts), XeLaTeX and LuaLaTeX. Ends in a newline.
    """
    notes = Notes(rows, skipped)
    baseline = next((row.baseline for row in rows if row.baseline), None)
    versus = f"vs {baseline}" if baseline else "Difference"
    blocks = [_block(list(some), notes) for _, some in groupby(rows, key=lambda row: row.section)]
    lines = [
        r"% \usepackage{booktabs}, and with pdfLaTeX \usepackage[T1]{fontenc}",
        r"\begin{table*}",
        r"  \centering\footnotesize",
        r"  \caption{Accuracy after the last epoch.}",
        rf"  \begin{{tabular}}{{{_COLUMNS}}}",
        r"    \toprule",
        _line("Activation", "n", "Accuracy %", versus, "Verdict"),
        *(line for block in blocks for line in block),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"  \par\medskip\raggedright",
        *(rf"  {escaped(note)}\\" for note in notes.lines if not note.startswith(_OF_OTHER_FORMATS)),
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _block(rows: Sequence[CompareRow], notes: Notes) -> list[str]:
    lines = [r"    \midrule", _heading(r"\emph", section_title(rows[0]))]
    if rows[0].board:
        lines.append(_heading(r"\quad", board_line(rows[0])))
    for _, group in groupby(rows, key=lambda row: row.setting):
        some = list(group)
        lines += [_heading(r"\quad", notes.setting(some[0])), *map(_row, some)]
    return lines


def _heading(command: str, text: str) -> str:
    return rf"    \multicolumn{{5}}{{@{{}}l}}{{{command}{{{escaped(text)}}}}} \\"


def _row(row: CompareRow) -> str:
    verdict = row.verdict.in_words if row.verdict else NOTHING
    return _line(row.activation, n_cell(row), accuracy_cell(row), baseline_difference_cell(row), verdict)


def _line(*cells: str) -> str:
    return rf"    {' & '.join(map(escaped, cells))} \\"


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is; letters beyond Latin-1 that pdfLaTeX may not know become `?`."""
    # Two hyphens would be set as a dash.
    words = re.split("(?<=-)(?=-)", visible(text))
    return "{}".join("".join(_SPECIAL.get(letter) or _letter(letter) for letter in word) for word in words)


def _letter(letter: str) -> str:
    return letter if letter.isascii() or letter.encode("latin-1", "ignore") else "?"
