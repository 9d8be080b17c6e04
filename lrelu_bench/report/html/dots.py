"""Every run as a dot, with the mean and its interval below, in rows over one axis, as inline SVG."""

import math
from dataclasses import dataclass

from markupsafe import Markup

from lrelu_bench.report.html.charts import Frame
from lrelu_bench.report.html.scales import LETTER, Scale, bounds, lines, ticks
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
)


@dataclass(frozen=True)
class Dot:
    """One run: its value, what a pointer held over it reads, and the anchor that tells more."""

    value: float
    hint: str
    link: str


@dataclass(frozen=True)
class DotRow:
    """Runs of one kind: a dot each, mean and half width of the interval, and those that have no value."""

    name: str
    dots: tuple[Dot, ...]
    lost: tuple[Dot, ...]
    """Diverged runs."""
    mean: float | None
    half_width: float | None
    shown: str
    """The mean in words."""
    style: Style


@dataclass(frozen=True)
class DotGroup:
    """Rows under one heading, with the value that they are held against."""

    name: str
    rows: tuple[DotRow, ...]
    reference: float | None
    alike: bool
    """Whether the reference was measured as the rows were: drawn whole, else broken."""


@dataclass(frozen=True)
class DotPlot:
    """Groups of rows over one axis, in percent."""

    title: str
    description: str
    groups: tuple[DotGroup, ...]
    reference_name: str
    x_name: str


def dot_chart(plot: DotPlot, frame: Frame, key: str) -> Markup:
    """Draw every run as a dot, and below it the mean with its interval."""
    return _DotDrawing(plot, frame).picture(key)


class _DotDrawing:
    def __init__(self, plot: DotPlot, frame: Frame) -> None:
        self.plot, self.frame = plot, frame
        self.beside = frame.key == "right"
        self.lane = 46.0 if any(row.lost for group in plot.groups for row in group.rows) else 0.0
        self.left = (212.0 if self.beside else 6.0) + self.lane
        right = frame.width - (112.0 if self.beside else 8.0)
        values = [dot.value for group in plot.groups for row in group.rows for dot in row.dots]
        values += [group.reference for group in plot.groups if group.reference is not None]
        low, high = min(values, default=0.0), max(values, default=100.0)
        # An interval of two runs may be wider than the chart: it ends in an arrow there.
        room = 0.6 * max(high - low, 2.0)
        ends = [
            min(max(row.mean + sign * row.half_width, low - room), high + room)
            for group in plot.groups
            for row in group.rows
            if row.mean is not None and row.half_width is not None
            for sign in (-1, 1)
        ]
        self.x = Scale(*bounds([low, high, *ends], 2.0, (0.0, 100.0)), self.left + 8, right)

    def picture(self, key: str) -> Markup:
        """The whole chart."""
        top = 30.0 if self.plot.reference_name else 10.0
        y, rows = top, list[Markup]()
        references: list[Markup] = []
        for group in self.plot.groups:
            begin = y
            if group.name:
                text = lines(group.name, int(self.frame.width / 7.6), 3)
                rows.append(label(0, y + 7 + LINE_HEIGHT * len(text) / 2, text, "group", full=group.name))
                y += 14 + LINE_HEIGHT * len(text)
                begin = y
            for row in group.rows:
                drawn, tall = self._row(row, y)
                rows += drawn
                y += tall
            if group.reference is not None:
                at = self.x(group.reference)
                references.append(line(at, begin, at, y, "reference", None if group.alike else "5 4"))
        marks = ticks(self.x.low, self.x.high, 8 if self.beside else 5)
        parts = [line(self.x(value), top, self.x(value), y, "grid") for value, _ in marks]
        parts += [*references, *self._reference_name(), *rows]
        parts += x_axis(self.x, marks, y, self.plot.x_name)
        if self.lane:
            parts.append(label(self.left - self.lane + 17, y + 14, ["diverged"], "tick", "middle"))
        return picture(key, self.frame.width, y + 40, self.plot.title, self.plot.description, parts)

    def _reference_name(self) -> list[Markup]:
        values = [group.reference for group in self.plot.groups if group.reference is not None]
        if not values or not self.plot.reference_name:
            return []
        at, width = self.x(values[0]), self.frame.font * LETTER * len(self.plot.reference_name)
        if at + width / 2 > self.frame.width:
            return [label(min(at + 4, self.frame.width), 12, [self.plot.reference_name], "label", "end")]
        if at - width / 2 < 0:
            return [label(max(at - 4, 0), 12, [self.plot.reference_name])]
        return [label(at, 12, [self.plot.reference_name], "label", "middle")]

    def _row(self, row: DotRow, y: float) -> tuple[list[Markup], float]:
        letters = 30 if self.beside else int((self.frame.width - 100) / (self.frame.font * LETTER))
        text = lines(row.name, letters, 4)
        tall = LINE_HEIGHT * len(text)
        if self.beside:
            height = max(40.0, tall + 12)
            middle = y + height / 2
            parts = [label(0, middle, text, full=row.name)]
            parts.append(label(self.frame.width, middle, [row.shown], "value", "end"))
        else:
            height = tall + 48
            middle = y + tall + 26
            parts = [label(0, y + 10 + tall / 2, text, full=row.name)]
            parts.append(label(self.frame.width, y + 10 + tall / 2, [row.shown], "value", "end"))
        return [*parts, *self._interval(row, middle + 7), *self._dots(row, middle - 5)], height

    def _interval(self, row: DotRow, y: float) -> list[Markup]:
        if row.mean is None:
            return []
        parts, at = list[Markup](), self.x(row.mean)
        if row.half_width is not None:
            ends = [row.mean - row.half_width, row.mean + row.half_width]
            inside = [self.x(self.x.inside(end)) for end in ends]
            parts.append(line(inside[0], y, inside[1], y, f"interval {row.style.css}"))
            for end, tip, side in zip(ends, inside, (1, -1), strict=True):
                if self.x.inside(end) == end:
                    parts.append(line(tip, y - 4, tip, y + 4, f"interval {row.style.css}"))
                else:
                    back = number(tip + 5 * side)
                    arrow = f"M{back} {number(y - 4)}L{number(tip)} {number(y)}L{back} {number(y + 4)}"
                    parts.append(element("path", class_=f"arrow {row.style.css}", d=arrow))
        return [*parts, marker(row.style.marker, at, y, 4.4, f"mark {row.style.css}", f"mean {row.shown}")]

    def _dots(self, row: DotRow, y: float) -> list[Markup]:
        parts, last, step = list[Markup](), -math.inf, 0
        for dot in sorted(row.dots, key=lambda dot: dot.value):
            at = self.x(dot.value)
            # Runs that end alike stand above each other, three high.
            step = (step + 1) % 3 if at - last < 7 else 0
            last = at
            parts.append(
                _linked(dot, marker("circle", at, y - 5 * step, 3.2, f"dot {row.style.css}", dot.hint))
            )
        for i, dot in enumerate(row.lost):
            at = self.left - self.lane + 8 + 9 * (i % 3)
            parts.append(_linked(dot, marker("cross", at, y + 4 + 9 * (i // 3), 3.4, "lost", dot.hint)))
        return parts


def _linked(dot: Dot, drawn: Markup) -> Markup:
    # The same links stand in the table, where the keyboard reaches them; a stop at every dot would be a maze.
    return element("a", drawn, href=f"#{dot.link}", tabindex="-1") if dot.link else drawn
