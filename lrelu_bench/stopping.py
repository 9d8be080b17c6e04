"""Ctrl-C and its like: a request to stop after the step that is under way; a second one stops at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
CHECKPOINT_MINUTES = 5.0
"""How much training a crash may cost, where nobody asked to stop, unless a user says otherwise."""


class Stop:
    """Whether somebody asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def asked(self) -> bool:
        """Whether to stop."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that such a signal ended."""
        return 128 + (self.signal or signal.SIGINT)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """While the block runs, the first SIGINT, SIGTERM or SIGHUP sets the `Stop`.

    The second raises `KeyboardInterrupt`. Outside of a program's main thread, signals do what they did.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.signal = number

    before: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}
    # What whoever started the program had it ignore, such as SIGHUP under nohup, stays ignored.
    heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    try:
        for number in heard:
            signal.signal(number, handle)
        yield stop
    finally:
        for number in heard:
            signal.signal(number, before[number])
