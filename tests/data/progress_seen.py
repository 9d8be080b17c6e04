"""What a test saw of the progress of data."""

from __future__ import annotations


class Seen(list[tuple[str, int, int | None]]):
    """A `Progress` that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        self.append((stage, done, total))

    def say(self, line: str) -> None:
        self.lines.append(line)
