"""Lines with bands over a common x, as inline SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from lrelu_bench.report.html.scales import LETTER, Ends, Scale, Ticks, lines, spread, ticks
from lrelu_bench.report.html.svg import (
    LINE_HEIGHT,
    Style,
    element,
    label,
    line,
    marker,
    number,
    picture,
    x_axis,
    y_axis,
)


@dataclass(frozen=True)
class Frame:
    """A chart's size in px and where the names of its lines stand."""

    width: float
    height: float
    key: Literal["right", "below"] = "right"
    key_width: float = 0.0
    """What the names take at the right."""
    named_axes: bool = True
    font: float = 12.5
    """px; the CSS's."""


WIDE = Frame(720, 320, key_width=205)
NARROW = Frame(350, 260, key="below")
SMALL = Frame(270, 168, key_width=52, named_axes=False, font=11.5)


@dataclass(frozen=True)
class Line:
    """One line of a chart, and the band around it."""

    name: str
    """Empty for a line that is not named."""
    x: tuple[float, ...]
    y: tuple[float, ...]
    """NaN where there is none: the line is broken there."""
    style: Style
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None


@dataclass(frozen=True)
class LinePlot:
    """Lines over a common x."""

    title: str
    description: str
    x: Ends
    x_ticks: Ticks
    x_name: str
    y: Ends
    y_name: str
    lines: tuple[Line, ...]


def line_chart(plot: LinePlot, frame: Frame, key: str) -> Markup:
    """Draw lines with bands, each named at its end, or below where there is no room beside."""
    top = 24.0 if frame.named_axes else 8.0
    foot = 40.0 if frame.named_axes else 24.0
    y_marks = ticks(*plot.y, 6 if frame.named_axes else 4)
    left = 16 + frame.font * LETTER * max((len(shown) for _, shown in y_marks), default=0)
    bottom = frame.height - foot
    x = Scale(*plot.x, left, frame.width - frame.key_width - 8)
    y = Scale(*plot.y, bottom, top)
    parts = y_axis(y, y_marks, left, x.stop, plot.y_name if frame.named_axes else "")
    parts += x_axis(x, plot.x_ticks, bottom, plot.x_name if frame.named_axes else "")
    parts += [_band(one, x, y) for one in plot.lines if one.low is not None]
    parts += [_stroke(one, x, y) for one in plot.lines]
    height = frame.height
    if frame.key == "right":
        names, reach = names_at_ends(plot.lines, x, y, frame)
        height = max(height, reach)
        parts += names
    else:
        names, used = names_below(plot.lines, frame, frame.height + 6)
        height += used
        parts += names
    return picture(key, frame.width, height, plot.title, plot.description, parts)


def _points(xs: Sequence[float], ys: Sequence[float], x: Scale, y: Scale) -> str:
    """A path through the points; it starts anew behind one that is not a number."""
    path, pen = [], "M"
    for at, value in zip(xs, ys, strict=True):
        if math.isfinite(value):
            path.append(f"{pen}{number(x(at))} {number(y(y.inside(value)))}")
            pen = "L"
        else:
            pen = "M"
    return "".join(path)


def _stroke(one: Line, x: Scale, y: Scale) -> Markup:
    dash = one.style.dash or None
    return element(
        "path", class_=f"line {one.style.css}", d=_points(one.x, one.y, x, y), stroke_dasharray=dash
    )


def _band(one: Line, x: Scale, y: Scale) -> Markup:
    corners = [
        (at, low, high)
        for at, low, high in zip(one.x, one.low or (), one.high or (), strict=True)
        if math.isfinite(low) and math.isfinite(high)
    ]
    if len(corners) < 2:
        return Markup()
    xs = [at for at, _, _ in corners]
    upper = _points(xs, [high for _, _, high in corners], x, y)
    lower = _points(xs[::-1], [low for _, low, _ in corners[::-1]], x, y)
    return element("path", class_=f"band {one.style.css}", d=f"{upper}L{lower[1:]}Z")


def _end(one: Line) -> tuple[float, float] | None:
    """The line's last point."""
    finite = [(at, value) for at, value in zip(one.x, one.y, strict=True) if math.isfinite(value)]
    return finite[-1] if finite else None


def names_at_ends(
    named: Sequence[Line], x: Scale, y: Scale, frame: Frame, leaders: bool = True
) -> tuple[list[Markup], float]:
    """Each line's name beside its end, moved where names would overlap; and how far down they go.

    A thin line leads to each name, or else the line's marker stands before it.
    """
    ends = [(one, _end(one)) for one in named if one.name]
    shown = [(one, end) for one, end in ends if end is not None]
    marked = [
        marker(one.style.marker, x(at), y(y.inside(v)), 3.6, f"mark {one.style.css}")
        for one, (at, v) in shown
    ]
    letters = int((frame.key_width - (22 if frame.named_axes else 8)) / (frame.font * LETTER))
    texts = [lines(one.name, letters, 4) for one, _ in shown]
    heights = [LINE_HEIGHT * len(text) + 3 for text in texts]
    wanted = [y(y.inside(value)) for _, (_, value) in shown]
    places = spread(wanted, heights, 0, y.start + 12)
    parts = [*marked] if frame.named_axes else []
    for (one, (at, _)), text, place, want in zip(shown, texts, places, wanted, strict=True):
        begin = x.stop + (22 if frame.named_axes else 8)
        if frame.named_axes:
            if leaders:
                parts.append(line(x(at) + 6, want, begin - 4, place, "leader"))
            else:
                parts.append(marker(one.style.marker, begin - 10, place, 3.6, f"mark {one.style.css}"))
        parts.append(label(begin, place, text, full=one.name))
    reach = max((place + tall / 2 for place, tall in zip(places, heights, strict=True)), default=0.0)
    return parts, reach + 4


def names_below(named: Sequence[Line], frame: Frame, top: float) -> tuple[list[Markup], float]:
    """A line of the key for each name, and the height they take."""
    letters = int((frame.width - 50) / (frame.font * LETTER))
    parts, used = list[Markup](), 0.0
    for one in named:
        if not one.name:
            continue
        text = lines(one.name, letters, 3)
        middle = top + used + LINE_HEIGHT * len(text) / 2
        parts += [
            line(4, middle, 34, middle, f"line {one.style.css}", one.style.dash or None),
            marker(one.style.marker, 19, middle, 3.6, f"mark {one.style.css}"),
            label(44, middle, text, full=one.name),
        ]
        used += LINE_HEIGHT * len(text) + 6
    return parts, used + 6
