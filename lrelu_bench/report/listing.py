"""The tables of `list` and `data list`: what there is to choose from."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lrelu_bench.activations import ACTIVATIONS
from lrelu_bench.data import mnist
from lrelu_bench.data.archives import ArchiveState
from lrelu_bench.data.catalog import ARCHIVES, CLASSES
from lrelu_bench.data.procedural import CLASS_NAMES, ProceduralImages
from lrelu_bench.protocols import PROTOCOL_SENTENCES

ARCH_SENTENCES = {
    "xresnet18": "8 blocks of two 3x3 convolutions; 11.2 M parameters, 19 activation sites",
    "xresnet34": "16 blocks of two 3x3 convolutions; 21.3 M parameters, 35 activation sites",
    "xresnet50": "16 bottleneck blocks; 23.5 M parameters, 51 activation sites",
    "course_cnn": "MNIST alone: 4 convolutions of stride 2; 15,682 parameters, 4 activation sites",
}


def table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> Table:
    """A plain table; cells are text, never markup."""
    drawn = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for line in lines:
        drawn.add_row(*(Text(cell) for cell in line))
    return drawn


def activations() -> Text:
    """Every activation in three lines: what it learns, its formula, its options and source."""
    drawn = Text()
    for name, spec in ACTIVATIONS.items():
        learned = (
            f"learns {', '.join(spec.learned)} per {' or '.join(spec.granularity)}" if spec.learned else ""
        )
        options = " ".join(f"{key}={'-' if v is None else format(v, 'g')}" for key, v in spec.keys.items())
        drawn.append(f"{name:<17}", style="bold").append(f"{learned}\n")
        drawn.append(f"    {spec.formula}\n    {options + '; ' if options else ''}{spec.reference}\n")
    drawn.rstrip()
    return drawn


def archs() -> Table:
    """Every net."""
    return table(["name", "what it is"], ARCH_SENTENCES.items())


def protocols() -> Table:
    """Every protocol."""
    return table(["name", "what it is"], PROTOCOL_SENTENCES.items())


def datasets() -> Table:
    """Every data set with its image counts and classes."""
    lines = []
    for dataset, classes in CLASSES.items():
        counts = {
            a.version: f"{a.version} {a.train:,} / {a.val:,}"
            for a in ARCHIVES.values()
            if a.dataset == dataset
        }
        lines.append((dataset, "\n".join(counts.values()), ", ".join(name for _, name in classes)))
    drawn = (ProceduralImages.TRAIN_PER_CLASS, ProceduralImages.VALID_PER_CLASS)
    both = " / ".join(f"{len(CLASS_NAMES) * n:,}" for n in drawn)
    lines.append(("procedural", both, ", ".join(CLASS_NAMES)))
    for dataset, (train, valid) in mnist.COUNTS.items():
        lines.append((dataset, f"{train:,} / {valid:,}", ", ".join(mnist.CLASSES)))
    return table(["name", "train / validation", "classes"], lines)


def archives(states: Sequence[ArchiveState]) -> RenderableType:
    """Where each archive stands on this machine, and a line on each that is here."""

    def line(state: ArchiveState) -> tuple[str, ...]:
        size = f"{state.bytes / 1e6:.1f} MB" if state.bytes else "-"
        bytes_are = "-" if state.digest is None else "official" if state.official else "not official"
        counts = f"{state.archive.train:,} / {state.archive.val:,}"
        return state.archive.name, counts, state.status, size, bytes_are

    columns = ["archive", "train / validation", "state", "size", "bytes"]
    remarks = [Text(f"{s.archive.name}: {s.detail}") for s in states if s.status != "absent"]
    return Group(table(columns, map(line, states)), *remarks)
