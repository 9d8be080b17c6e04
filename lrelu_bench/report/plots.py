"""Pictures of one run's telemetry: the same run gives the same bytes.

All depth colours are from cividis, which is even to the eye, safe for the colour-blind and ordered in grey.
"""

from collections.abc import Callable
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lrelu_bench.atomic_file import write_atomically
from lrelu_bench.report.plot_style import INK, WIDTH, PlotFormat, literal, own_style, rendered
from lrelu_bench.telemetry_file import NEAR_ZERO, Telemetry


def draw(telemetry: Telemetry, title: str, folder: Path, format: PlotFormat) -> list[Path]:
    """Write every picture of a run to `folder`, which is made where needed; returns the files.

    Raises `BenchError` where a file cannot be written.
    """
    pictures: dict[str, Callable[[Telemetry], Figure]] = {
        "shapes": shapes,
        "histograms": histograms,
        "outputs": outputs,
    }
    if len(telemetry.parameter):
        pictures = {"parameters": parameters, **pictures}
    written = []
    for name, picture in pictures.items():
        with own_style():
            figure = picture(telemetry)
            figure.suptitle(literal(title), fontsize=8, color="0.35", x=0.01, ha="left")
            content = rendered(figure, format)
        path = folder / f"{name}.{format}"
        write_atomically(path, content)
        written.append(path)
    return written


def parameters(telemetry: Telemetry) -> Figure:
    """Each learned parameter over time: its mean over channels, a line per depth."""
    panels = [
        (f"{literal(name)}, mean over channels", telemetry.param_mean[:, :, index])
        for index, name in enumerate(telemetry.parameter)
    ]
    return _over_time(telemetry, panels)


def outputs(telemetry: Telemetry) -> Figure:
    """The outputs' mean, standard deviation and near-zero share over time, a line per depth."""
    return _over_time(
        telemetry,
        [
            ("output mean", telemetry.mean),
            ("output standard deviation", telemetry.std),
            (f"share of |y| < {NEAR_ZERO:g}", telemetry.near_zero),
        ],
    )


def _over_time(telemetry: Telemetry, panels: list[tuple[str, NDArray[np.float32]]]) -> Figure:
    """Panels of (S, L) trajectories over the epochs, above the learning rate's schedule."""
    figure = Figure(figsize=(WIDTH, 0.9 + 2.1 * len(panels) + 0.7), layout="constrained")
    heights = [3.0] * len(panels) + [0.7]
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    colors = _depth_colors(len(telemetry.site))
    for ax, (label, trajectories) in zip(axes, panels, strict=False):
        for site, color in enumerate(colors):
            ax.plot(telemetry.epoch, trajectories[:, site], color=color, linewidth=1.2)
        ax.set_title(label, loc="left")
        _widen(ax)
    axes[-1].fill_between(telemetry.epoch, telemetry.lr, color="0.6", linewidth=0)
    axes[-1].set_ylim(bottom=0)
    axes[-1].set_title("learning rate", loc="left")
    axes[-1].set_xlabel("epoch")
    axes[-1].set_xlim(0, telemetry.epoch[-1])
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    _depth_bar(figure, list(axes[:-1]), telemetry)
    return figure


def _widen(ax: Axes) -> None:
    """A range of one per cent of the values at least: a parameter that stands still is a flat line."""
    low, high = ax.get_ylim()
    least = 0.01 * max(abs(low), abs(high))
    if high - low < least:
        middle = (low + high) / 2
        ax.set_ylim(middle - least / 2, middle + least / 2)


def shapes(telemetry: Telemetry) -> Figure:
    """Each site's y(x) at the start, in the middle and at the end of training."""
    figure, axes = _multiples(telemetry)
    last = len(telemetry.curves) - 1
    times = dict.fromkeys((0, (last + 1) // 2, last))
    inside = (telemetry.curve_x >= -4) & (telemetry.curve_x <= 4)
    x = telemetry.curve_x[inside]
    for site, ax in enumerate(axes):
        low, high = telemetry.curves[last, site, inside, 1:].T
        ax.fill_between(x, low, high, color=INK, alpha=0.25, linewidth=0, label="80 % of channels, end")
        # The earlier, the broader and lighter: what has not moved still shows all three.
        for time, (color, width) in zip(times, [("0.8", 4.5), ("0.55", 2.5), (INK, 1.0)], strict=False):
            label = "start" if time == 0 else f"epoch {time}"
            ax.plot(x, telemetry.curves[time, site, inside, 0], color=color, linewidth=width, label=label)
        ax.set_xlim(-4, 4)
        ax.set_xticks([-2, 0, 2])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.supylabel("y(x), mean over channels")
    return figure


def histograms(telemetry: Telemetry) -> Figure:
    """Histograms of each site's outputs over time in the style of fast.ai course-v3 lesson 10: log shares."""
    figure, axes = _multiples(telemetry)
    shares = telemetry.histogram / telemetry.histogram.sum(2, keepdims=True)
    width = float(telemetry.edges[1] - telemetry.edges[0])
    low, high = float(telemetry.edges[0]) - width, float(telemetry.edges[-1]) + width
    occupied = np.flatnonzero(shares.any(axis=(0, 1)))
    norm = LogNorm(1 / telemetry.histogram.sum(2).max(), 1)
    for site, ax in enumerate(axes):
        ax.imshow(
            np.ma.masked_equal(shares[:, site].T, 0),
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            extent=(0, float(telemetry.epoch[-1]), low, high),
            cmap="cividis_r",
            norm=norm,
        )
        ax.grid(visible=False)
        ax.set_ylim(low + width * occupied[0], low + width * (occupied[-1] + 1))
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    shown = ScalarMappable(norm, "cividis_r")
    figure.colorbar(shown, ax=axes, label=f"share of outputs per bin of {width:g}", shrink=0.6, aspect=40)
    figure.supxlabel("epoch")
    figure.supylabel(f"output y (beyond {telemetry.edges[0]:g} and {telemetry.edges[-1]:g}: one bin each)")
    return figure


def _multiples(telemetry: Telemetry) -> tuple[Figure, list[Axes]]:
    """A small panel per site on shared axes, in reading order of depth."""
    count = len(telemetry.site)
    columns = ceil(sqrt(count * 1.2))
    rows = ceil(count / columns)
    figure = Figure(figsize=(max(WIDTH, 1.6 * columns), 1.1 + 1.5 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    axes = list(grid.flat)
    for unused in axes[count:]:
        unused.remove()
    for site, (ax, path) in enumerate(zip(axes, telemetry.site, strict=False)):
        ax.set_title(f"{site + 1} · {literal(path)}", loc="left", fontsize=8)
    return figure, axes[:count]


def _depth_colors(count: int) -> list[Any]:
    """From dark at the input to light at the output, without the lightest, which paper swallows."""
    return list(mpl.colormaps["cividis"](np.linspace(0, 0.92, count)))


def _depth_bar(figure: Figure, axes: list[Axes], telemetry: Telemetry) -> None:
    """Which colour is which depth."""
    count = len(telemetry.site)
    norm = BoundaryNorm(np.arange(count + 1) + 0.5, count)
    bar = figure.colorbar(
        ScalarMappable(norm, ListedColormap(_depth_colors(count))), ax=axes, aspect=40, pad=0.02
    )
    shown = sorted({int(site) for site in np.linspace(0, count - 1, min(count, 10)).round()})
    bar.set_ticks(
        [site + 1 for site in shown], labels=[f"{i + 1} · {literal(telemetry.site[i])}" for i in shown]
    )
    bar.ax.minorticks_off()
    bar.ax.invert_yaxis()
    bar.ax.tick_params(labelsize=7, length=0)
