"""The page's table of verdicts over cells."""

from collections.abc import Sequence
from dataclasses import dataclass

from lrelu_bench.report.compare import CompareRow, pooled_rows
from lrelu_bench.report.html.looks import LOOKS
from lrelu_bench.report.wording import (
    counted,
    pooled_above_cell,
    pooled_difference_cell,
    pooled_images_cell,
    pooled_runs_cell,
)


@dataclass(frozen=True)
class PoolView:
    """One line of the table."""

    activation: str
    protocol: str
    cells: str
    left_out: str
    """Empty where no cell is left out for diverged runs."""
    runs: str
    versus: str
    above: str
    word: str
    look: str
    sign: str
    reason: str
    images: str


def pool_views(rows: Sequence[CompareRow]) -> list[PoolView]:
    """Every pool of the comparison in the words of the table."""
    views = []
    for one in pooled_rows(rows):
        look, sign = LOOKS[one.evidence.word]
        gone = one.diverged_cells
        views.append(
            PoolView(
                activation=one.activation,
                protocol=one.protocol,
                cells=str(one.evidence.cells),
                left_out=f"{counted(gone, 'cell')} with diverged runs left out" if gone else "",
                runs=pooled_runs_cell(one),
                versus=pooled_difference_cell(one),
                above=pooled_above_cell(one),
                word=one.evidence.word,
                look=look,
                sign=sign,
                reason=one.evidence.reason,
                images=pooled_images_cell(one),
            )
        )
    return views
