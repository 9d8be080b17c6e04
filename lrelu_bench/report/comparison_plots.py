"""Pictures of a comparison: what each activation adds to its baseline, and how fast both learn."""

from collections import Counter
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lrelu_bench.atomic_file import write_atomically
from lrelu_bench.report.compare import CompareRow
from lrelu_bench.report.judging import comparisons_on_boards, config_of
from lrelu_bench.report.plot_style import INK, WIDTH, literal, own_style, rendered
from lrelu_bench.report.wording import Notes, data_name, n_cell, pair_n_cell
from lrelu_bench.results import load_epochs


def draw_comparison(rows: Sequence[CompareRow], folder: Path) -> list[Path]:
    """Write `differences.png` and `learning.png` of judged rows to a folder that is there; returns the files.

    Only rows of tested comparisons on data that has a leaderboard are drawn; without any, nothing is. Raises
    `BenchError` where the epochs of a run cannot be read or a file cannot be written.
    """
    pairs, notes = comparisons_on_boards(rows), Notes(rows, ())
    written: list[Path] = []
    if not pairs:
        return written
    for name, picture in (("differences", differences), ("learning", learning)):
        with own_style():
            content = rendered(picture(pairs, notes), "png")
        path = folder / f"{name}.png"
        write_atomically(path, content)
        written.append(path)
    return written


def differences(pairs: Sequence[tuple[CompareRow, CompareRow]], notes: Notes) -> Figure:
    """Each row's mean less its baseline's, percentage points, with Welch's 95 % interval; a line per row."""
    figure = Figure(figsize=(WIDTH, 0.9 + 0.28 * len(pairs)), layout="constrained")
    ax = figure.subplots()
    for place, (row, _) in enumerate(pairs):
        difference = row.verdict.difference if row.verdict else None
        if difference is None:
            continue
        ax.errorbar(
            difference.mean, place, xerr=difference.half_width, fmt="o", color=INK, markersize=4, capsize=2
        )
    ax.axvline(0, color="0.4", linewidth=0.8)
    usual, unusual = _usual_and_unusual([row for row, _ in pairs], notes)
    names = [
        f"{data_name(row)}, {row.epochs} ep, {row.arch}{unusual(row)}: {row.activation} "
        f"(n={pair_n_cell(row, other)})"
        for row, other in pairs
    ]
    ax.set_yticks(range(len(pairs)), [literal(name) for name in names], fontsize=8)
    ax.set_ylim(len(pairs) - 0.5, -0.5)
    ax.set_xlabel("points above relu, 95 % interval (Welch)")
    figure.supxlabel(literal(usual), fontsize=9)
    return figure


def learning(pairs: Sequence[tuple[CompareRow, CompareRow]], notes: Notes) -> Figure:
    """Accuracy after each epoch: the mean and the range of each row's runs; a panel per config."""
    panels: dict[tuple[Any, ...], list[CompareRow]] = {}
    for row, baseline in pairs:
        panels.setdefault(config_of(row), [baseline]).append(row)
    names = list(dict.fromkeys(row.activation for members in panels.values() for row in members))
    shades = mpl.colormaps["cividis"](np.linspace(0, 0.9, max(2, len(names) - 1)))
    colors = dict(zip(names, ["black", *shades], strict=False))
    usual, unusual = _usual_and_unusual([row for row, _ in pairs], notes)
    columns = 2
    count = ceil(len(panels) / columns)
    figure = Figure(figsize=(WIDTH, 0.6 + 2.2 * count), layout="constrained")
    grid = list(figure.subplots(count, columns, squeeze=False).flat)
    for ax in grid[len(panels) :]:
        ax.remove()
    for ax, members in zip(grid, panels.values(), strict=False):
        first = members[0]
        for row in members:
            # A diverged run has fewer epochs, and the last of them is no result.
            finished = [run for run in row.runs if run.result.status == "complete"]
            runs = [[100 * epoch.accuracy for epoch in load_epochs(run.folder)] for run in finished]
            epochs = np.arange(1, row.epochs + 1)
            ax.fill_between(
                epochs,
                np.min(runs, 0),
                np.max(runs, 0),
                color=colors[row.activation],
                alpha=0.15,
                linewidth=0,
            )
            ax.plot(
                epochs,
                np.mean(runs, 0),
                color=colors[row.activation],
                label=row.activation,
                linewidth=1.4,
                linestyle="--" if row is first else "-",
            )
        title = f"{data_name(first)}, {first.epochs} epochs, {first.arch}{unusual(first)} (n={n_cell(first)})"
        ax.set_title(literal(title), loc="left", fontsize=8)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = {
        label: handle
        for ax in figure.axes
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=4,
        title=literal(usual),
        title_fontsize=9,
    )
    figure.supylabel("accuracy after the epoch, %: mean and range of the runs")
    return figure


def _usual_and_unusual(rows: Sequence[CompareRow], notes: Notes) -> tuple[str, Callable[[CompareRow], str]]:
    """Most rows' size, protocol and precision in words, and what a row's label adds where its own differ."""

    def settings(row: CompareRow) -> tuple[str, ...]:
        return f"{row.size} px", notes.protocol(row), row.precision

    usual, _ = Counter(map(settings, rows)).most_common(1)[0]
    common = ", ".join(usual)
    alike = all(settings(row) == usual for row in rows)
    return common if alike else f"{common} where nothing else is said", lambda row: "".join(
        f", {one}" for one, most in zip(settings(row), usual, strict=True) if one != most
    )
