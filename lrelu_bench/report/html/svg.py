"""Pieces of a picture: elements with all escaped, markers, axes, blocks of text. Colours are the CSS's."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from lrelu_bench.printable import visible
from lrelu_bench.report.html.scales import Scale, Ticks

LINE_HEIGHT = 15.0


@dataclass(frozen=True)
class Style:
    """What tells one line or row from another: a class for the colour, and dash and marker beside it."""

    css: str
    dash: str = ""
    marker: str = "circle"


def element(name: str, *children: Markup | str, **attributes: str | float | None) -> Markup:
    """`<name attribute="value">children</name>`: plain text is escaped, numbers are rounded.

    `class_` is class, `_` in other names is `-`; an attribute that is None is left out.
    """
    written = [
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    ]
    inner = "".join(child if isinstance(child, Markup) else text(child) for child in children)
    return Markup(f"<{name}{''.join(written)}>{inner}</{name}>" if inner else f"<{name}{''.join(written)}/>")


def text(plain: str) -> Markup:
    """Text from anywhere, safe in HTML and SVG."""
    return escape(visible(plain))


def _value(value: str | float) -> str:
    return text(value) if isinstance(value, str) else number(value)


def number(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


def label(
    x: float, y: float, rows: Sequence[str], css: str = "label", anchor: str | None = None, full: str = ""
) -> Markup:
    """Lines of text centred on y; `full` is what a pointer held over them reads."""
    top = y - LINE_HEIGHT * (len(rows) - 1) / 2 + 4
    spans = [element("tspan", row, x=x, y=top + LINE_HEIGHT * i) for i, row in enumerate(rows)]
    hint = [element("title", full)] if full and full != " ".join(rows) else []
    return element("text", *hint, *spans, class_=css, text_anchor=anchor)


_SHAPES = {
    "circle": "M{-r} 0a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 {-d} 0Z",
    "square": "M{-s} {-s}H{s}V{s}H{-s}Z",
    "triangle": "M0 {-t}L{t} {s}H{-t}Z",
    "diamond": "M0 {-t}L{t} 0L0 {t}L{-t} 0Z",
    "wedge": "M0 {t}L{t} {-s}H{-t}Z",
    "cross": "M{-s} {-s}L{s} {s}M{-s} {s}L{s} {-s}",
}


def marker(shape: str, x: float, y: float, radius: float, css: str, hint: str = "") -> Markup:
    """A shape around a point; `hint` is what a pointer held over it reads."""
    r = radius
    names = {"r": r, "d": 2 * r, "s": 0.88 * r, "t": 1.25 * r}
    path = _SHAPES[shape]
    for key, value in names.items():
        path = path.replace(f"{{-{key}}}", number(-value)).replace(f"{{{key}}}", number(value))
    title = [element("title", hint)] if hint else []
    return element("path", *title, class_=css, d=path, transform=f"translate({number(x)} {number(y)})")


def line(x1: float, y1: float, x2: float, y2: float, css: str, dash: str | None = None) -> Markup:
    """A straight stroke."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=css, stroke_dasharray=dash)


def picture(
    key: str,
    width: float,
    height: float,
    title: str,
    description: str,
    parts: Iterable[Markup],
    css: str = "",
) -> Markup:
    """A whole SVG with its name and its description for who cannot see it; `key` is unique on the page."""
    return element(
        "svg",
        element("title", title, id=f"{key}-t"),
        element("desc", description, id=f"{key}-d"),
        *parts,
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        height=height,
        role="img",
        aria_labelledby=f"{key}-t {key}-d",
        class_=css or None,
    )


def y_axis(scale: Scale, marks: Ticks, left: float, right: float, name: str = "") -> list[Markup]:
    """A faint line across the chart for each tick, its number at the left; the name stands on top."""
    parts = [line(left, scale(value), right, scale(value), "grid") for value, _ in marks]
    parts += [label(left - 8, scale(value), [shown], "tick", "end") for value, shown in marks]
    if name:
        parts.append(label(0, 6, [name], "axis-name"))
    return parts


def x_axis(scale: Scale, marks: Ticks, y: float, name: str = "") -> list[Markup]:
    """The line below a chart with its ticks and numbers; the name stands under its end."""
    parts = [line(scale.start, y, scale.stop, y, "axis")]
    for value, shown in marks:
        x = scale(value)
        parts += [line(x, y, x, y + 4, "axis"), label(x, y + 14, [shown], "tick", "middle")]
    if name:
        parts.append(label(scale.stop, y + 31, [name], "axis-name", "end"))
    return parts
