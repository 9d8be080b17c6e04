"""What learned activations learned: each parameter's course by depth, a small chart per parameter."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lrelu_bench.report.compare import CompareRow
from lrelu_bench.report.html.charts import SMALL, Line, LinePlot, line_chart
from lrelu_bench.report.html.figures import Keys, Panels, Table
from lrelu_bench.report.html.files import RunFiles
from lrelu_bench.report.html.scales import Ends, bounds, thinned, whole_ticks
from lrelu_bench.report.html.svg import Style
from lrelu_bench.report.wording import NOTHING, section_title
from lrelu_bench.results import Run
from lrelu_bench.telemetry_file import Telemetry

DEPTHS = 8
"""How many colours there are from the input to the output."""
_POINTS = 25


def trajectories(row: CompareRow, files: RunFiles, keys: Keys) -> Panels | None:
    """The parameters of one run of the row over training; None where nothing learns or was recorded."""
    if not any(run.result.activation_parameters for run in row.runs):
        return None
    found = _representative(row, files)
    if found is None:
        return None
    run, telemetry = found
    # Of a run that diverged, some are infinite, and their mean may be no number.
    with np.errstate(invalid="ignore"):
        table = _table(telemetry)
        panels = tuple(
            (str(name), line_chart(_plot(row, telemetry, i), SMALL, keys.next()))
            for i, name in enumerate(telemetry.parameter)
        )
    if not panels:
        return None
    first, last = f"1 ({telemetry.site[0]})", f"{len(telemetry.site)} ({telemetry.site[-1]})"
    chosen = f"Seed {run.result.seed}" + (f" of {row.n} runs" if row.n > 1 else "")
    caption = (
        f"{chosen}. Value against epochs, a line per activation site, mean over its channels, from first: "
        f"{first} to last: {last}; at these two, the band from the least to the greatest channel."
    )
    return Panels(row.activation, caption, panels, table)


def _representative(row: CompareRow, files: RunFiles) -> tuple[Run, Telemetry] | None:
    """The lowest seed that finished and whose telemetry can be read, else the lowest that diverged."""
    for run in sorted(row.runs, key=lambda run: run.result.status == "diverged"):
        telemetry = files.telemetry(run)
        if telemetry is not None:
            return run, telemetry
    return None


def _plot(row: CompareRow, telemetry: Telemetry, index: int) -> LinePlot:
    name, sites = str(telemetry.parameter[index]), len(telemetry.site)
    chosen = thinned(len(telemetry.step), _POINTS)
    x = (0.0, *(float(telemetry.epoch[i]) for i in chosen))
    lines = []
    for site in range(sites):
        values = telemetry.of_parameter(site, index)
        if values is None:
            continue
        end = {0: "first", sites - 1: "last"}.get(site, "")
        start = values[0].astype(np.float64)
        mean, low, high = (
            (float(first), *(float(v) for v in course[chosen, site, index]))
            for first, course in (
                (start.mean(), telemetry.param_mean),
                (start.min(), telemetry.param_min),
                (start.max(), telemetry.param_max),
            )
        )
        style = Style(f"d{round((DEPTHS - 1) * site / max(sites - 1, 1))}")
        lines.append(Line(end, x, mean, style, low if end else None, high if end else None))
    epochs = max(1, math.ceil(float(telemetry.epoch[-1]) - 1e-6))
    ends = "; ".join(f"{line.name} site: {line.y[0]:.3f} to {line.y[-1]:.3f}" for line in lines if line.name)
    return LinePlot(
        f"{name} of {row.activation}, {section_title(row)}",
        ends,
        (0, epochs),
        whole_ticks(0, epochs, 4),
        "epoch",
        _extent(lines),
        name,
        tuple(lines),
    )


def _extent(lines: Sequence[Line]) -> Ends:
    """An axis of one per cent of the values at least: a parameter that stands still is a flat line."""
    values = [v for line in lines for part in (line.y, line.low or (), line.high or ()) for v in part]
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    return bounds(finite, max(0.01 * max(map(abs, finite)), 1e-6))


def _table(telemetry: Telemetry) -> Table:
    header = [
        "Site",
        *(f"{name}, {what}" for name in telemetry.parameter for what in ("start", "end", "range")),
    ]
    body = []
    for site, path in enumerate(telemetry.site):
        cells = [f"{site + 1} · {path}"]
        for index in range(len(telemetry.parameter)):
            values = telemetry.of_parameter(site, index)
            cells += [NOTHING] * 3 if values is None else _cells(values)
        body.append(tuple(cells))
    return Table(tuple(header), tuple(body))


def _cells(values: NDArray[np.float32]) -> list[str]:
    start, end = values[0].astype(np.float64), values[-1].astype(np.float64)
    return [f"{start.mean():.3f}", f"{end.mean():.3f}", f"{end.min():.3f} to {end.max():.3f}"]
