"""`lrelu-bench inspect`: the inside of one run, as tables with one line per activation site."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from lrelu_bench.errors import BenchError
from lrelu_bench.printable import visible
from lrelu_bench.report.labels import activation_label
from lrelu_bench.results import RunResult, load_result
from lrelu_bench.telemetry_file import NEAR_ZERO, Telemetry

_SPARKS, _ASCII_SPARKS = "▁▂▃▄▅▆▇█", "_.-=+*%#"
_SPARK_WIDTH = 12
_WIDTH_WITH_SPARKS = 80


@dataclass(frozen=True)
class InspectedRun:
    """A run with its telemetry."""

    folder: Path
    result: RunResult
    telemetry: Telemetry
    others: tuple[str, ...] = ()
    """The other seeds' folders beside it, where it was chosen among several."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load a run's folder, or of an experiment's folder the lowest seed.

        Raises `BenchError` where there is no run, or none with telemetry that can be read.
        """
        folder, others = _run_folder(path)
        return cls(folder, load_result(folder), Telemetry.load(folder), others)


def _run_folder(path: Path) -> tuple[Path, tuple[str, ...]]:
    if path.name == "result.json":
        path = path.parent
    if not path.exists():
        raise BenchError(f"{path}: does not exist; give a run's folder, such as results/EXPERIMENT/seed-0")
    if (path / "result.json").exists():
        return path, ()
    seeds = [
        one.parent for one in path.glob("seed-*/result.json") if re.fullmatch(r"seed-\d+", one.parent.name)
    ]
    if not seeds:
        raise BenchError(
            f"{path}: no run (neither result.json nor seed-<n> in it); "
            "give a run's folder, such as results/EXPERIMENT/seed-0"
        )
    first, *rest = sorted(seeds, key=lambda folder: int(folder.name.removeprefix("seed-")))
    return first, tuple(folder.name for folder in rest)


class InspectView:
    """The terminal view as a Rich renderable: header, outputs, a table per learned parameter, notes."""

    def __init__(self, run: InspectedRun) -> None:
        self.run = run

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it for this console's width and encoding."""
        draw = _Drawing(self.run, options)
        yield from draw.header()
        yield from draw.outputs()
        for parameter in range(len(self.run.telemetry.parameter)):
            yield from draw.parameter(parameter)
        yield from draw.notes()


class _Drawing:
    def __init__(self, run: InspectedRun, options: ConsoleOptions) -> None:
        self.run, self.telemetry = run, run.telemetry
        self.ascii = options.ascii_only
        self.sparks = options.max_width >= _WIDTH_WITH_SPARKS

    def header(self) -> Iterator[Text]:
        """What the run is and how it ended."""
        result, telemetry = self.run.result, self.telemetry
        accuracy = "" if result.final_accuracy is None else f", accuracy {100 * result.final_accuracy:.2f} %"
        epochs = f"{result.epochs_done} of {result.epochs} epochs"
        yield self.text(result.experiment, "bold")
        yield self.text(f"seed {result.seed}, {result.status}: {epochs}{accuracy}")
        yield self.text(
            f"{activation_label(result.activation)}, {result.arch}, {result.precision}; "
            f"{len(telemetry.step)} steps sampled, the last is step {telemetry.step[-1]}"
        )
        if self.run.others:
            yield self.text(
                f"the lowest seed of {1 + len(self.run.others)} here; also {', '.join(self.run.others)}"
            )

    def outputs(self) -> Iterator[Text | Table]:
        """The activations' outputs in the last sampled step."""
        telemetry = self.telemetry
        capped = not np.isnan(telemetry.capped).all()
        columns = ["ch", "mean", "std", "near 0 %", *(["capped %"] if capped else [])]
        lines = []
        for site, channels in enumerate(telemetry.channels):
            shares = [telemetry.near_zero[-1, site], *([telemetry.capped[-1, site]] if capped else [])]
            numbers = [_number(telemetry.mean[-1, site]), _number(telemetry.std[-1, site])]
            lines.append([str(channels), *numbers, *map(_percent, shares)])
        yield from self._table("outputs", columns, lines, telemetry.mean)

    def parameter(self, index: int) -> Iterator[Text | Table]:
        """One learned parameter: from start to end, over the channels of each site."""
        telemetry = self.telemetry
        at_bound = telemetry.at_bound[-1, :, index]
        bounded = not np.isnan(at_bound).all()
        columns = ["start", "end", "min", "max", "drift", *(["bound %"] if bounded else [])]
        lines = []
        for site, share in enumerate(at_bound):
            values = telemetry.of_parameter(site, index)
            if values is None:
                lines.append([""] * len(columns))
                continue
            start, end = values[[0, -1]].astype(np.float64)
            # Of a run that diverged, some are infinite.
            with np.errstate(invalid="ignore"):
                drift = np.abs(end - start).mean()
                numbers = [*map(_number, (start.mean(), end.mean(), end.min(), end.max(), drift))]
            lines.append([*numbers, *([_percent(share)] if bounded else [])])
        name = str(telemetry.parameter[index])
        yield from self._table(name, columns, lines, telemetry.param_mean[:, :, index])

    def _table(
        self,
        title: str,
        columns: Sequence[str],
        lines: Sequence[Sequence[str]],
        trajectories: NDArray[np.float32],
    ) -> Iterator[Text | Table]:
        yield Text()
        yield self.text(title, "bold cyan")
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        table.add_column("#", justify="right")
        table.add_column("site", overflow="fold")
        for name in columns:
            table.add_column(name, justify="right", overflow="fold", min_width=6 if name != "ch" else None)
        if self.sparks:
            table.add_column("over time", no_wrap=True)
        sparks = self._sparks(trajectories)
        for site, line in enumerate(lines):
            drawn = [self.text(str(site + 1), "dim"), self.text(str(self.telemetry.site[site]))]
            drawn += [self.text(cell) for cell in line]
            if self.sparks:
                drawn.append(self.text(sparks[site] if any(line) else "", "cyan"))
            table.add_row(*drawn)
        yield table

    def _sparks(self, trajectories: NDArray[np.float32]) -> list[str]:
        """A line per site, each column the mean of its part of the run; `!` is not finite.

        One height is the same change in all lines, each counted from its least.
        """
        levels = _ASCII_SPARKS if self.ascii else _SPARKS
        count = min(_SPARK_WIDTH, len(trajectories))
        parts = np.array_split(trajectories.astype(np.float64), count)
        means = np.ma.masked_invalid([part.mean(0) for part in parts])
        above = means - means.min(0)
        # What rounding alone moves is flat.
        full = max(float(np.ma.filled(above.max(), 0)), 1e-4 * float(np.ma.filled(abs(means).max(), 0)), 1e-9)
        steps = np.ma.filled((above / full * (len(levels) - 1)).round(), -1).astype(int)
        return ["".join("!" if step < 0 else levels[step] for step in line) for line in steps.T]

    def notes(self) -> Iterator[Text]:
        """What the columns mean."""
        telemetry = self.telemetry
        yield Text()
        yield self.text(
            f"outputs: of the last sampled training step. near 0: |y| < {NEAR_ZERO:g}."
            + ("" if np.isnan(telemetry.capped).all() else " capped: y at the cap, ties included."),
            "dim",
        )
        if len(telemetry.parameter):
            yield self.text(
                "start, end: mean over channels before training and after the last epoch; min, max: over "
                "channels at the end. drift: mean over channels of |end - start|."
                + ("" if np.isnan(telemetry.at_bound).all() else " bound %: share of channels at a bound."),
                "dim",
            )

        if self.sparks:
            yield self.text(
                "over time: the mean; one height is the same change in every line of a table.", "dim"
            )

    def text(self, text: str, style: str = "") -> Text:
        """Text that this terminal can show; square brackets in it mean nothing to Rich."""
        text = visible(text)
        shown = text.encode("ascii", "replace").decode() if self.ascii else text
        return Text(shown, style, overflow="fold")


def _number(value: float) -> str:
    if not np.isfinite(value):
        return f"{value:g}"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"


def _percent(share: float) -> str:
    return "" if np.isnan(share) else f"{100 * share:.1f}"
