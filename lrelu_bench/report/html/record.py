"""The record of one cell over the years as a line of steps, and beside it our results, as inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from markupsafe import Markup

from lrelu_bench.report.html.charts import Frame, Line, names_at_ends, names_below
from lrelu_bench.report.html.scales import LETTER, Scale, bounds, day_ticks, ticks
from lrelu_bench.report.html.svg import Style, element, label, line, marker, number, picture, x_axis, y_axis


@dataclass(frozen=True)
class Step:
    """From this day on the record was this, percent."""

    day: date
    accuracy: float
    hint: str


@dataclass(frozen=True)
class Own:
    """A result of ours: its day, mean and half width of its interval, percent."""

    name: str
    day: date
    mean: float
    half_width: float | None
    style: Style


@dataclass(frozen=True)
class RecordPlot:
    """A record's steps up to the last day it was seen, and our results by their day."""

    title: str
    description: str
    steps: tuple[Step, ...]
    last: date
    reference: float | None
    """The record that our results are held against, where it is not the last one."""
    own: tuple[Own, ...]


_GAP = 40.0


def record_chart(plot: RecordPlot, frame: Frame, key: str) -> Markup:
    """Draw the steps on their dates, then our results in the order of theirs on a panel of its own."""
    return _Drawing(plot, frame).picture(key)


@dataclass(frozen=True)
class _Box:
    """What something takes of the picture, px; a line has no width or no height."""

    left: float
    top: float
    right: float
    bottom: float

    def covers(self, other: "_Box") -> bool:
        """Whether the two touch, or all but touch."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return across > -1 and down > -1


class _Drawing:
    def __init__(self, plot: RecordPlot, frame: Frame) -> None:
        self.plot, self.frame = plot, frame
        means = [own.mean for own in plot.own]
        values = [step.accuracy for step in plot.steps] + means
        low, high = min(values), max(values)
        room = 0.4 * max(high - low, 2.0)
        ends = [
            min(max(own.mean + sign * own.half_width, low - room), high + room)
            for own in plot.own
            if own.half_width is not None
            for sign in (-1, 1)
        ]
        extent = bounds([low, high, *ends], 4.0, (0.0, 100.0))
        self.y_marks = ticks(*extent, 6)
        left = 16 + frame.font * LETTER * max((len(shown) for _, shown in self.y_marks), default=0)
        stop = frame.width - frame.key_width - 8
        panel = 0.36 * (stop - left)
        self.bottom = frame.height - 40
        self.y = Scale(*extent, self.bottom, 30)
        days = plot.steps[0].day.toordinal(), max(plot.last, plot.steps[-1].day).toordinal()
        self.x = Scale(days[0], max(days[1], days[0] + 1), left, stop - panel - _GAP)
        self.slots = Scale(-0.75, max(len(plot.own), 1) - 0.25, stop - panel, stop)
        self.date_ticks = day_ticks(
            date.fromordinal(days[0]), date.fromordinal(days[1]), self.x.stop - self.x.start, frame.font
        )

    def picture(self, key: str) -> Markup:
        """The whole chart."""
        x, y, slots, frame = self.x, self.y, self.slots, self.frame
        panel = element(
            "rect",
            x=slots.start,
            y=y.stop - 6,
            width=slots.stop - slots.start,
            height=self.bottom - y.stop + 6,
            class_="panel",
        )
        parts = [panel, *y_axis(y, self.y_marks, x.start, slots.stop, "accuracy, %")]
        parts += x_axis(x, self.date_ticks, self.bottom)
        parts += x_axis(slots, (), self.bottom)
        parts += [label((slots.start + slots.stop) / 2, self.bottom + 14, [self._span()], "tick", "middle")]
        parts += [label(x.stop, self.bottom + 31, ["the board"], "axis-name", "end")]
        parts += [label(slots.stop, self.bottom + 31, ["these runs"], "axis-name", "end")]
        parts += [*self._steps(), *self._reference(), *self._own()]
        named = [Line(own.name, (float(i),), (own.mean,), own.style) for i, own in enumerate(self.plot.own)]
        if frame.key == "right":
            names, reach = names_at_ends(named, slots, y, frame, leaders=False)
            height = max(frame.height, reach)
        else:
            names, used = names_below(named, frame, frame.height + 6)
            height = frame.height + used
        return picture(key, frame.width, height, self.plot.title, self.plot.description, [*parts, *names])

    def _span(self) -> str:
        days = [own.day for own in self.plot.own]
        if not days:
            return ""
        first, last = min(days), max(days)
        if first == last or self.frame.key == "below":
            return f"{last:%b %Y}" if self.frame.key == "below" else last.isoformat()
        return (
            f"{first:%b %Y}"
            if (first.year, first.month) == (last.year, last.month)
            else f"{first:%b %Y} to {last:%b %Y}"
        )

    def _steps(self) -> list[Markup]:
        x, y, steps = self.x, self.y, self.plot.steps
        path = f"M{number(x(steps[0].day.toordinal()))} {number(y(steps[0].accuracy))}"
        for step in steps[1:]:
            path += f"H{number(x(step.day.toordinal()))}V{number(y(step.accuracy))}"
        path += f"H{number(x.stop)}"
        last = y(steps[-1].accuracy)
        parts = [element("path", d=path, class_="line record")]
        # What came after the last look at the board is not known.
        parts.append(line(x.stop, last, self.slots.stop, last, "line record", "2 4"))
        for step in steps:
            at = x(step.day.toordinal()), y(step.accuracy)
            parts.append(marker("circle", *at, 3, "mark record", step.hint))
        return parts + self._step_names(steps)

    def _step_names(self, steps: Sequence[Step]) -> list[Markup]:
        """Numbers of the last record, then the first, then those between, each where it covers nothing."""
        at = [(self.x(step.day.toordinal()), self.y(step.accuracy)) for step in steps]
        taken = [_Box(self.x.start, self.bottom - 2, self.frame.width, self.bottom)]
        for (x, y), (following, level) in zip(at, [*at[1:], (self.slots.stop, at[-1][1])], strict=True):
            taken += [_Box(x, y, following, y), _Box(following, min(y, level), following, max(y, level))]
        parts = []
        for i in dict.fromkeys([len(steps) - 1, 0, *range(len(steps) - 2, 0, -1)]):
            name = f"{steps[i].accuracy:g}"
            (x, y), wide = at[i], self.frame.font * LETTER * len(name)
            middle = min(max(x, self.x.start + wide / 2), self.x.stop - wide / 2)
            near = [one for j, one in enumerate(at) if abs(j - i) == 1 and abs(one[0] - x) < wide]
            # Of two steps that stand together, the higher has its number above and the lower below.
            above = [middle - wide / 2, x - 2] if all(level >= y for _, level in near) else []
            below = [middle - wide / 2, x - 2] if all(level <= y for _, level in near) else []
            places = [(x + 7, y), *((left, y - 12) for left in above), *((left, y + 14) for left in below)]
            for left, centre in places:
                box = _Box(left, centre - 6, left + wide, centre + 6)
                if left >= self.x.start - 4 and not any(map(box.covers, taken)):
                    taken.append(box)
                    parts.append(label(left, centre, [name], "value"))
                    break
        return parts

    def _reference(self) -> list[Markup]:
        if self.plot.reference is None or not self.plot.own:
            return []
        at = self.y(self.plot.reference)
        parts = [line(self.slots.start, at, self.slots.stop, at, "reference", "5 4")]
        return [*parts, label(self.slots.start - 4, at, [f"{self.plot.reference:g}"], "value", "end")]

    def _own(self) -> list[Markup]:
        parts = list[Markup]()
        for i, own in enumerate(self.plot.own):
            at = self.slots(i)
            if own.half_width is not None:
                ends = [self.y(self.y.inside(own.mean + sign * own.half_width)) for sign in (-1, 1)]
                parts.append(line(at, ends[0], at, ends[1], f"interval {own.style.css}"))
            hint = f"{own.name}, {own.day.isoformat()}: {own.mean:.1f} %"
            parts.append(marker(own.style.marker, at, self.y(own.mean), 4.4, f"mark {own.style.css}", hint))
        return parts
