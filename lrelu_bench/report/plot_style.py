"""How every picture looks, and how it becomes bytes: the same figure gives the same ones."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lrelu_bench.printable import visible

PlotFormat = Literal["png", "svg"]

_STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "figure.labelsize": 9,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "lrelu-bench",
    "svg.fonttype": "path",
}
INK = "#00224e"  # cividis at its darkest
WIDTH = 7.5
_DPI = 150


@contextmanager
def own_style() -> Iterator[None]:
    """Matplotlib's defaults and ours, whatever the user's settings; theirs come back afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def rendered(figure: Figure, format: PlotFormat) -> bytes:
    """The file's bytes, without a date or a version."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    # A date or a version in the file would make each picture another.
    metadata = {"Software": None} if format == "png" else {"Date": None, "Creator": None}
    with warnings.catch_warnings():
        # A letter of a name that the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(buffer, format=format, dpi=_DPI, metadata=metadata)
    return buffer.getvalue()


def literal(text: str) -> str:
    """Text from a file as Matplotlib draws it: no formula, and no control character."""
    return visible(text).replace("$", r"\$")
