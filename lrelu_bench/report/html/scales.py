"""Where things go in a chart: ticks, positions, and labels that do not overlap. Numbers, nothing drawn."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

Ticks = tuple[tuple[float, str], ...]
"""Positions in the data's unit, each with what is written there."""

Ends = tuple[float, float]

LETTER = 0.6
"""Width of a letter over the font's size: an upper estimate, because the reader's font is not known here."""


@dataclass(frozen=True)
class Scale:
    """A straight line from data to pixels."""

    low: float
    high: float
    start: float
    """Pixel of `low`."""
    stop: float
    """Pixel of `high`; below `start` on an axis that points up."""

    def __call__(self, value: float) -> float:
        """The pixel of a value, beyond the ends where the value is."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    def inside(self, value: float) -> float:
        """The nearest value that is on the scale."""
        return min(max(value, self.low), self.high)


def bounds(values: Sequence[float], least: float, within: Ends | None = None) -> Ends:
    """The ends of an axis that shows all values with air around them, at least `least` from end to end.

    `within` are ends that it may touch but not pass. Raises `ValueError` for no values.
    """
    low, high = min(values), max(values)
    air = max(0.06 * (high - low), (least - (high - low)) / 2)
    low, high = low - air, high + air
    if within is not None:
        low, high = max(low, within[0]), min(high, within[1])
    return low, high


def ticks(low: float, high: float, most: int) -> Ticks:
    """Round numbers (1, 2 or 5 times a power of ten) inside an axis, no more than `most`."""
    step = _step((high - low) / max(most - 1, 1))
    digits = max(0, -math.floor(math.log10(step)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if last - first + 1 > most:
        return ticks(low, high, most - 1) if most > 2 else ()
    return tuple((i * step, f"{i * step + 0.0:.{digits}f}".replace("-", "−")) for i in range(first, last + 1))


def whole_ticks(low: int, high: int, most: int) -> Ticks:
    """Whole numbers at round steps, both ends of the axis among them."""
    step = max(1, round(_step((high - low) / max(most - 1, 1))))
    # One that stands too near an end would run into its number.
    inner = [
        i for i in range(math.ceil(low / step) * step, high + 1, step) if min(i - low, high - i) >= 0.6 * step
    ]
    return tuple((float(i), f"{i:,}") for i in dict.fromkeys([low, *inner, high]))


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    return next((m * power for m in (1, 2, 5) if m * power >= rough * (1 - 1e-9)), 10 * power)


def day_ticks(first: date, last: date, width: float, font: float) -> Ticks:
    """Starts of months, quarters or years, else the ends, as close as their names fit into so many px."""
    for step, text in _STEPS:
        found = []
        for month in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
            day = date(month // 12, month % 12 + 1, 1)
            if month % step == 0 and first <= day <= last:
                found.append((float(day.toordinal()), text(day)))
        needed = font * LETTER * (len(text(first)) + 2)
        if len(found) > 1 and (len(found) - 1) * needed <= width:
            return tuple(found)
    return tuple((float(day.toordinal()), f"{day:%b %Y}") for day in dict.fromkeys([first, last]))


_STEPS: tuple[tuple[int, Callable[[date], str]], ...] = (
    *((months, lambda day: f"{day:%b %Y}") for months in (1, 2, 3, 6)),
    *((months, lambda day: f"{day:%Y}") for months in (12, 24, 60)),
)


def lines(text: str, letters: int, most: int) -> list[str]:
    """The text in lines of so many letters, broken at spaces and brackets, the rest behind an ellipsis."""
    found: list[str] = []
    for piece in re.findall(r"\(?[^ (]* ?", text):
        if found and len(found[-1]) + len(piece.rstrip()) <= letters:
            found[-1] += piece
        else:
            found += [piece[i : i + letters] for i in range(0, len(piece), letters)]
    found = [line.strip() for line in found if line.strip()] or [""]
    if len(found) > most:
        found = [*found[: most - 1], f"{found[most - 1][: letters - 1]}…"]
    return found


def spread(wanted: Sequence[float], heights: Sequence[float], low: float, high: float) -> list[float]:
    """Centres as near to the wanted ones as may be, in their order, without overlap and between the ends.

    Where they do not fit, they run over the high end.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed, edge = dict[int, float](), low
    for index in order:
        placed[index] = max(wanted[index], edge + heights[index] / 2)
        edge = placed[index] + heights[index] / 2
    edge = max(high, low + sum(heights))
    for index in reversed(order):
        placed[index] = min(placed[index], edge - heights[index] / 2)
        edge = placed[index] - heights[index] / 2
    return [placed[index] for index in range(len(wanted))]


def thinned(count: int, most: int) -> list[int]:
    """Evenly spread indices, the first and the last among them, no more than `most`."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})
