"""The comparison as a LaTeX table in the style of booktabs, for papers."""

from collections.abc import Sequence
from itertools import groupby

from lrelu_bench.report.compare import CompareRow
from lrelu_bench.report.wording import (
    NOTHING,
    Notes,
    accuracy_cell,
    baseline_difference_cell,
    board_line,
    n_cell,
    printable,
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
    "±": r"$\pm$",
    "−": r"$-$",
    "·": r"$\cdot$",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


_COLUMNS = "@{}lllrrrl@{}"


def latex(rows: Sequence[CompareRow], skipped: Sequence[str]) -> str:
    """One `table*` with a block per cell of the board, the notes below; needs the package booktabs.

    Compiles with pdfLaTeX (T1 fonts), XeLaTeX and LuaLaTeX. Ends in a newline.
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
        _line("Net", "Protocol", "Activation", "n", "Accuracy %", versus, "Verdict"),
        *(line for block in blocks for line in block),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"  \par\medskip\raggedright",
        # The board stands in the blocks' titles, without a difference.
        *(rf"  {escaped(note)}\\" for note in notes.lines if not note.startswith("vs board:")),
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _block(rows: Sequence[CompareRow], notes: Notes) -> list[str]:
    title = section_title(rows[0])
    if rows[0].board:
        title += f"; {board_line(rows[0])}"
        if all(row.comparison == "reference" for row in rows):
            title += ": reference"
    return [
        r"    \midrule",
        rf"    \multicolumn{{7}}{{@{{}}l}}{{\emph{{{escaped(title)}}}}} \\",
        *(
            _line(
                row.arch,
                notes.protocol(row),
                row.activation,
                n_cell(row),
                accuracy_cell(row),
                baseline_difference_cell(row),
                row.verdict.word if row.verdict else NOTHING,
            )
            for row in rows
        ),
    ]


def _line(*cells: str) -> str:
    return rf"    {' & '.join(map(escaped, cells))} \\"


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is; letters beyond Latin-1 that pdfLaTeX may not know become `?`."""
    return "".join(_SPECIAL.get(letter) or _letter(letter) for letter in printable(text))


def _letter(letter: str) -> str:
    return letter if letter.isascii() or letter.encode("latin-1", "ignore") else "?"
