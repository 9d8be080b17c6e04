"""Which cells are pooled, for a verdict on an activation over all of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lrelu_bench.evidence.bootstrap import PairOnImages, images_and_seeds_intervals
from lrelu_bench.evidence.pooled import FEWEST_CELLS, fits, pool
from lrelu_bench.evidence.verdicts import Sides
from lrelu_bench.report.compare import CompareRow, PooledRow
from lrelu_bench.report.labels import in_force


@dataclass(frozen=True)
class Cell:
    """A row that has a baseline, with what is compared."""

    row: CompareRow
    sides: Sides
    predicted: PairOnImages | None


def over_cells(cells: Sequence[Cell], baseline: str) -> list[PooledRow | None]:
    """What each cell's row comes to with the other cells of its protocol and activation.

    Pooled is what keeps its protocol to the letter, differs in data, size, epochs, net or precision, has the
    runs that a verdict needs and none that diverged. None where fewer than two cells do. All pools are one
    family for Holm's correction.
    """
    alike: dict[tuple[str, ...], list[int]] = {}
    diverged: dict[tuple[str, ...], int] = {}
    for index, cell in enumerate(cells):
        if cell.row.protocol_label == "custom":
            continue
        key = _key(cell.row)
        if fits(cell.sides):
            alike.setdefault(key, []).append(index)
        elif cell.sides.diverged_in_words:
            diverged[key] = diverged.get(key, 0) + 1
    pools = {key: some for key, some in alike.items() if len(some) >= FEWEST_CELLS}
    verdicts = pool([[cells[index].sides for index in some] for some in pools.values()])
    intervals = _intervals([[cells[index].predicted for index in some] for some in pools.values()])
    found: list[PooledRow | None] = [None] * len(cells)
    for (key, some), verdict, interval in zip(pools.items(), verdicts, intervals, strict=True):
        row = cells[some[0]].row
        one = PooledRow(
            protocol=row.protocol_label,
            activation=row.activation,
            baseline=baseline,
            diverged_cells=diverged.get(key, 0),
            evidence=replace(verdict, images_interval=interval),
        )
        for index in some:
            found[index] = one
    return found


def _key(row: CompareRow) -> tuple[str, ...]:
    # Options may differ by less than a name shows.
    options: dict[str, Any] = in_force(row.runs[0].result.activation)
    return row.protocol_label, row.activation, json.dumps(options, sort_keys=True)


def _intervals(pools: Sequence[Sequence[PairOnImages | None]]) -> list[tuple[float, float] | None]:
    """The bootstrap's intervals; None where a run of the pool kept no predictions."""
    there = [[one for one in some if one is not None] for some in pools]
    whole = [len(some) == len(all_of) for some, all_of in zip(there, pools, strict=True)]
    kept = [some for some, is_whole in zip(there, whole, strict=True) if is_whole]
    found = iter(images_and_seeds_intervals(kept))
    return [next(found) if is_whole else None for is_whole in whole]
