"""What long work on data reports to: amounts while it goes on, and now and then a sentence."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Who is told how far the work is."""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """`done` of `total` (None: not known), in bytes, or in images where the stage is "decode"."""

    def say(self, line: str) -> None:
        """One sentence that should not be missed."""


def say(progress: Progress | None, line: str) -> None:
    """Tell `progress`, if there is anybody to tell."""
    if progress is not None:
        progress.say(line)
