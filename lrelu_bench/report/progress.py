"""Progress of long work: a live display on a terminal, sparse plain lines elsewhere."""

import errno
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from lrelu_bench.printable import visible
from lrelu_bench.results import Divergence, EpochRow

if TYPE_CHECKING:
    from lrelu_bench.training.loop import Step

STAGES = {
    "download": "downloading",
    "check": "checking",
    "decode": "decoding",
    "export": "exporting",
}
COUNTED = {"decode": "images", "export": "runs"}
"""What a stage counts; the others count bytes."""
PLAIN_EVERY_SECONDS = 10.0


class SteadyConsole(Console):
    """A console whose reader may leave (`| head`, a closed terminal): training goes on unheard and saved."""

    def say(self, line: str) -> None:
        """Print one line as it is: no markup, no colours, no wrapping, and nothing in it that acts."""
        self.out(visible(line), highlight=False)

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError as error:
            # A terminal that was closed says this where a pipe says that it is broken.
            if error.errno != errno.EIO:
                raise
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Send the rest nowhere, where Rich would end the program."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def epoch_line(row: EpochRow, epochs: int) -> str:
    """One epoch in one line."""
    return (
        f"epoch {row.epoch:>{len(str(epochs))}}/{epochs}  train loss {row.train_loss:.4f}  "
        f"valid loss {row.valid_loss:.4f}  accuracy {100 * row.accuracy:.2f} %  "
        f"{row.images_per_second:.1f} img/s  {row.train_seconds + row.valid_seconds:.0f} s"
    )


def divergence_line(divergence: Divergence) -> str:
    """Where an epoch broke, what went first and what was done, in one line."""
    what = {"loss": "the training loss", "valid_loss": "the validation loss"}.get(divergence.parameter)
    if what is None:
        what = f"{divergence.parameter} of activation {divergence.depth} ({divergence.layer})"
    elif divergence.layer is not None:
        what += f", from batch norm {divergence.layer} on,"
    good = f"the end of epoch {divergence.last_good_epoch}" if divergence.last_good_epoch else "the start"
    done = (
        f"stopped; the last good state is that of {good}"
        if divergence.action == "stop"
        else f"back to {good} with the activations' learning rate halved, "
        f"to {divergence.activation_lr_mult:g} times the schedule's"
    )
    return f"epoch {divergence.epoch} diverged: {what} was not finite at step {divergence.step}; {done}"


class PlainWatcher:
    """One line per epoch.

    Args:
        label: what begins each line, where several train at once.
    """

    def __init__(self, console: Console, label: str = "") -> None:
        self.console, self.label = console, label

    def step(self, step: "Step") -> None:
        """Steps go unmentioned."""

    def epoch(self, row: EpochRow, epochs: int) -> None:
        """Print the epoch's line."""
        self.note(epoch_line(row, epochs))

    def divergence(self, divergence: Divergence) -> None:
        """Print what broke."""
        self.note(divergence_line(divergence))

    def note(self, line: str) -> None:
        """Print a line."""
        self.console.out(f"{self.label}: {line}" if self.label else line, highlight=False)


class LiveWatcher(PlainWatcher):
    """A live bar with epoch, step, loss, images/s and time left, above it one line per finished epoch."""

    def __init__(self, progress: Progress, label: str = "") -> None:
        super().__init__(progress.console, label)
        self.progress = progress
        self.task = progress.add_task(label or "training", total=1.0, detail="first step")

    def step(self, step: "Step") -> None:
        """Move the bar."""
        detail = (
            f"epoch {step.epoch}/{step.epochs} step {step.step}/{step.steps}  "
            f"loss {step.loss:.3f}  {step.images_per_second:,.1f} img/s"
        )
        self.progress.update(self.task, completed=step.done, detail=detail)


class _Detail(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("detail", "")), overflow="ellipsis", no_wrap=True)


def _live(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        _Detail(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
    )


@contextmanager
def watch_training(console: Console, seeds: Sequence[int] = (0,)) -> Iterator[list[PlainWatcher]]:
    """What runs that train at once report their steps and epochs to, one for each seed."""
    labels = [f"seed {seed}" for seed in seeds] if len(seeds) > 1 else [""]
    if not console.is_terminal:
        yield [PlainWatcher(console, label) for label in labels]
        return
    with _live(console) as progress:
        yield [LiveWatcher(progress, label) for label in labels]


class DataProgress:
    """Progress of downloading, decoding and exporting; call it with (stage, done, total)."""

    def __init__(self, console: Console, progress: Progress | None) -> None:
        self.console, self.progress = console, progress
        self.stage, self.said = "", 0.0
        self.task: TaskID | None = None

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """`done` and `total` in bytes for downloads and checks, else in what `COUNTED` says."""
        if self.progress is None:
            self._line(stage, done, total)
            return
        if stage != self.stage:
            self.stage = stage
            self.task = self.progress.add_task(STAGES.get(stage, stage), total=total, detail="")
        if self.task is not None:
            self.progress.update(self.task, completed=done, total=total, detail=_amount(stage, done, total))

    def say(self, line: str) -> None:
        """Print a sentence, above the bar where there is one."""
        self.console.out(line, highlight=False)

    def _line(self, stage: str, done: int, total: int | None) -> None:
        finished = total is not None and done >= total
        if stage == self.stage and not finished and time.monotonic() - self.said < PLAIN_EVERY_SECONDS:
            return
        if stage == self.stage and finished and self.said == float("inf"):
            return
        self.stage, self.said = stage, float("inf") if finished else time.monotonic()
        self.console.out(f"{STAGES.get(stage, stage)} {_amount(stage, done, total)}", highlight=False)


def _amount(stage: str, done: int, total: int | None) -> str:
    if stage in COUNTED:
        what = COUNTED[stage]
        return f"{done:,} {what}" if total is None else f"{done:,} of {total:,} {what}"
    return f"{done / 1e6:.1f} MB" if total is None else f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"


@contextmanager
def watch_data(console: Console) -> Iterator[DataProgress]:
    """What downloads, decoding and exports report to."""
    if not console.is_terminal:
        yield DataProgress(console, None)
        return
    with _live(console) as progress:
        yield DataProgress(console, progress)
