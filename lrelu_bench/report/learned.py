"""What the parameters of published runs came to: a table with a line per cell, activation and parameter."""

from collections.abc import Iterator, Sequence

import numpy as np

from lrelu_bench.report.compare import CompareRow
from lrelu_bench.report.markdown import table
from lrelu_bench.report.tables import TextTable
from lrelu_bench.report.wording import NOTHING, SETTING, Notes, setting_cells
from lrelu_bench.telemetry_file import FILE, Floats, Telemetry


def learned_table(rows: Sequence[CompareRow]) -> str:
    """Each learned parameter at the start and after the last epoch, of the finished runs with telemetry.

    Raises `BenchError` where a run's telemetry is there and cannot be read.
    """
    notes = Notes(rows, ())
    body = [(*setting_cells(row, notes), *parameter) for row in rows for parameter in _parameters(row)]
    numeric = ("n", "Start", "Means of sites", "Channels", "Sites below 0")
    header = (*SETTING, "Parameter", *numeric)
    return table(TextTable(header, frozenset(("Epochs", *numeric)), tuple(body)))


def _parameters(row: CompareRow) -> Iterator[tuple[str, ...]]:
    """Of one row: parameter, runs, start, range of its sites' means and of its channels, sites below 0."""
    finished = [run.folder for run in row.runs if run.result.status == "complete"]
    seen = [Telemetry.load(folder) for folder in finished if (folder / FILE).exists()]
    names = dict.fromkeys(str(name) for one in seen for name in one.parameter)
    for name in names:
        runs = [courses for one in seen if (courses := _courses(one, name))]
        if not runs:
            continue
        ends = [np.array([values[-1].mean() for values in courses]) for courses in runs]
        below, sites = [int((means < 0).sum()) for means in ends], len(ends[0])
        channels = [values[-1] for courses in runs for values in courses]
        yield (
            name,
            str(len(runs)),
            _span([values[0] for courses in runs for values in courses]),
            _span(ends),
            _span(channels) if any(values.size > 1 for values in channels) else NOTHING,
            f"{_counts(below)} of {sites}",
        )


def _courses(seen: Telemetry, name: str) -> list[Floats]:
    """A parameter's values by site that has it: each (E + 1, channels)."""
    found = (
        seen.of_parameter(site, parameter)
        for site in range(len(seen.site))
        for parameter in np.flatnonzero(seen.parameter == name).tolist()
    )
    return [values for values in found if values is not None]


def _span(values: Sequence[Floats]) -> str:
    ends = (float(edge(list(map(edge, values)))) for edge in (np.min, np.max))
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    low, high = (f"{round(end, 3) + 0.0:.3f}".replace("-", "−") for end in ends)
    return low if low == high else f"{low} to {high}"


def _counts(found: Sequence[int]) -> str:
    low, high = min(found), max(found)
    return str(low) if low == high else f"{low} to {high}"
