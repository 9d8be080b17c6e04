"""From a sweep file to its cells and units: pure, so that the same file is the same plan everywhere."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from lrelu_bench.config import Experiment
from lrelu_bench.config_file import checked, put
from lrelu_bench.errors import BenchError
from lrelu_bench.strict_yaml import Document, Place, show
from lrelu_bench.sweep.sweep_file import MAX_LINES, Change, Condition, Override, Sweep, load_sweep, refused

MAX_UNITS = 100_000

Where = Mapping[str, Any]
"""A cell's coordinates: by each axis in the file's order, the value as the file gives it."""


@dataclass(frozen=True)
class PlannedUnit:
    """One experiment with one seed, wherever it will be trained; no two units of a plan are the same."""

    experiment: Experiment
    seed: int


@dataclass(frozen=True)
class Cell:
    """One experiment of the grid. Its `experiment.seeds` are the cell's."""

    experiment: Experiment
    seeds: tuple[int, ...]
    where: Where
    also: tuple[Where, ...] = ()
    """Other coordinates that are the same experiment."""

    @cached_property
    def units(self) -> tuple[PlannedUnit, ...]:
        """One per seed, in the seeds' order."""
        return tuple(PlannedUnit(self.experiment, seed) for seed in self.seeds)


@dataclass(frozen=True)
class SweepPlan:
    """The cells of a sweep in nesting order: the first axis varies slowest."""

    name: str
    """The sweep file as it was named."""
    cells: tuple[Cell, ...]

    @cached_property
    def units(self) -> tuple[PlannedUnit, ...]:
        """Every unit once: all cells' first seeds, then all cells' second seeds, and so on.

        So a sweep that is stopped early has something of every cell, and of all about as much: `compare`
        then shows the whole grid with wide intervals, not a few finished cells beside empty ones.
        """
        rounds = max(len(cell.seeds) for cell in self.cells)
        return tuple(
            cell.units[number] for number in range(rounds) for cell in self.cells if number < len(cell.seeds)
        )

    @cached_property
    def remarks(self) -> tuple[str, ...]:
        """A sentence on each cell that stands at several coordinates."""
        return tuple(_remark(cell) for cell in self.cells if cell.also)


def _remark(cell: Cell) -> str:
    seeds = f"seed{'s' * (len(cell.seeds) != 1)} {', '.join(map(str, cell.seeds))}"
    places = " and ".join(f"({coordinates(where)})" for where in (cell.where, *cell.also))
    return f"{places} are the same experiment, planned once with {seeds}"


def coordinates(where: Where) -> str:
    """A cell's coordinates in words: `arch=xresnet18, epochs=5`."""
    return ", ".join(f"{name}={_plainly(value)}" for name, value in where.items())


def _plainly(value: Any) -> str:
    return value if isinstance(value, str) and value.isprintable() and len(value) <= 80 else show(value)


def load_plan(path: Path) -> SweepPlan:
    """The plan of a sweep file; raises `BenchError` as `load_sweep` and `plan` do."""
    return plan(load_sweep(path))


def plan(sweep: Sweep) -> SweepPlan:
    """Every cell of the grid that is not excluded, with its overrides; equal ones merged, their seeds united.

    Raises `BenchError` where cells are no valid experiments (every reason once, with the cells it is about),
    an override matches no cell, none is left, or there are over 100,000 units.
    """
    grid = product(*(range(len(axis.values)) for axis in sweep.axes))
    points = [point for point in grid if not any(_matches(one, point) for one in sweep.excludes)]
    if not points:
        raise BenchError(f"{sweep.name}: exclude leaves no cell; remove an entry")
    _require_matches(sweep, points)
    refusals = _Refusals(sweep)
    cells: dict[str, Cell] = {}
    for point in points:
        cell = _cell(sweep, point, refusals)
        if cell is None:
            continue
        digest = cell.experiment.digest
        cells[digest] = _merged(cells[digest], cell) if digest in cells else cell
    refusals.raise_any(points)
    count = sum(len(cell.seeds) for cell in cells.values())
    if count > MAX_UNITS:
        raise BenchError(f"{sweep.name}: {count:,} runs are planned; at most {MAX_UNITS:,} may be, split it")
    return SweepPlan(sweep.name, tuple(cells.values()))


Point = tuple[int, ...]
"""Of each axis, the number of its value."""


def _matches(condition: Condition, point: Point) -> bool:
    return all(point[axis] in values for axis, values in condition.items())


def _require_matches(sweep: Sweep, points: Sequence[Point]) -> None:
    lines = [
        f"{one.place.text}: this override matches no cell, because exclude leaves none of them; remove one"
        for one in sweep.overrides
        if not any(_matches(one.when, point) for point in points)
    ]
    if lines:
        raise refused(sweep.name, lines)


def _where(sweep: Sweep, point: Point) -> dict[str, Any]:
    return {axis.name: axis.values[at].data for axis, at in zip(sweep.axes, point, strict=True)}


def _cell(sweep: Sweep, point: Point, refusals: "_Refusals") -> Cell | None:
    """The cell at a point; None, with what is wrong added to `refusals`, where it is no experiment."""
    overrides = [one for one in sweep.overrides if _matches(one.when, point)]
    document = _config(sweep, point, overrides)
    seeds = next((one.seeds for one in reversed(overrides) if one.seeds is not None), sweep.seeds)
    experiment, problems = checked(document)
    if experiment is None or problems:
        refusals.add(point, problems)
        return None
    seeds = seeds if seeds is not None else experiment.seeds
    return Cell(experiment.model_copy(update={"seeds": seeds}), seeds, _where(sweep, point))


def _config(sweep: Sweep, point: Point, overrides: Sequence[Override]) -> Document:
    """The cell's config: the base, over it the file's keys, the axes' values and the overrides."""
    document = deepcopy(sweep.base)
    at_axes = (
        Change(axis.key, axis.values[at], axis.values[at].places[()])
        for axis, at in zip(sweep.axes, point, strict=True)
    )
    changes = [*sweep.changes, *at_axes, *(change for one in overrides for change in one.changes)]
    for change in changes:
        # What is set below a key later must not change the value for the next cell.
        put(document, change.key, deepcopy(change.value), change.place)
    return document


def _merged(first: Cell, second: Cell) -> Cell:
    seeds = tuple(dict.fromkeys((*first.seeds, *second.seeds)))
    experiment = first.experiment.model_copy(update={"seeds": seeds})
    return replace(first, experiment=experiment, seeds=seeds, also=(*first.also, second.where))


Problem = tuple[Place, str]


@dataclass
class _Refusals:
    """What is wrong with cells: each reason once, however many it is about."""

    sweep: Sweep
    points: dict[Problem, list[Point]] = field(default_factory=dict)

    def add(self, point: Point, problems: Sequence[Problem]) -> None:
        for problem in dict.fromkeys(problems):
            self.points.setdefault(problem, []).append(point)

    def raise_any(self, of: Sequence[Point]) -> None:
        if not self.points:
            return
        lines = []
        for number, (place, sentence) in enumerate(sorted(self.points)):
            # Looking for what cells have in common takes its time, and the others are not shown.
            cells = self._cells(self.points[place, sentence], of) if number < MAX_LINES else ""
            lines.append(f"{place.text}: {sentence}{cells}")
        if len(of) == 1:
            raise refused(self.sweep.name, lines)
        bad = len({point for points in self.points.values() for point in points})
        head = f"of {len(of):,} cells, {bad:,} cannot be trained; correct the values, or exclude the cells"
        raise refused(self.sweep.name, lines, head)

    def _cells(self, points: Sequence[Point], of: Sequence[Point]) -> str:
        """Which cells a reason is about: what they have in common, and one of them where others have it."""
        if len(points) == len(of):
            return " (every cell)" if len(of) > 1 else ""
        if len(points) == 1:
            return f" (cell {coordinates(_where(self.sweep, points[0]))})"
        common = {number: at for number, at in enumerate(points[0]) if all(p[number] == at for p in points)}
        axes = self.sweep.axes
        shared = coordinates({axes[n].name: axes[n].values[at].data for n, at in common.items()})
        if sum(all(point[n] == at for n, at in common.items()) for point in of) == len(points):
            return f" (the {len(points):,} cells with {shared})"
        first = coordinates(_where(self.sweep, points[0]))
        return f" ({len(points):,} cells{f' with {shared}' if shared else ''}, the first {first})"
