"""The moments of a run at which something may happen to it, counted as they pass.

`Moments.install` puts itself between the run and the calls below, in a process that is made for that one run:
nothing is ever put back.
"""

import errno
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

KINDS = ("decode", "step", "evaluation", "write", "sync", "rename", "delete")


class Moments:
    """Calls `act(kind, file)` at moment number `at` (from 1), and counts them all.

    Args:
        act: what happens; `file` is what is being written to, half of the data there already, or None.
        kinds: what counts.
    """

    def __init__(
        self, at: int | None, act: Callable[[str, Any], None], kinds: tuple[str, ...] = KINDS
    ) -> None:
        self.at, self.act, self.kinds = at, act, kinds
        self.count, self.passed = 0, Counter[str]()

    def moment(self, kind: str, file: Any = None) -> None:
        if kind not in self.kinds:
            return
        self.count += 1
        self.passed[kind] += 1
        if self.count == self.at:
            self.act(kind, file)

    def install(self) -> None:
        """Stand in between from now on."""
        from lrelu_bench.data.procedural import ProceduralImages
        from lrelu_bench.training.objective import Objective
        from lrelu_bench.training.step import EagerStepper

        self._before(ProceduralImages, "image", "decode")
        self._before(EagerStepper, "step", "step")
        self._before(Objective, "valid_loss", "evaluation")
        self._before(os, "fsync", "sync")
        self._before(os, "replace", "rename")
        self._before(os, "rename", "rename")
        self._before(os, "unlink", "delete")
        self._before(os, "rmdir", "delete")
        fdopen = os.fdopen
        os.fdopen = lambda handle, *rest, **how: _Watched(fdopen(handle, *rest, **how), self)  # type: ignore[assignment]

    def _before(self, place: Any, name: str, kind: str) -> None:
        real = getattr(place, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            self.moment(kind)
            return real(*arguments, **named)

        setattr(place, name, watched)


class _Watched:
    """A file each of whose writes is a moment, with half of the data written."""

    def __init__(self, file: Any, moments: Moments) -> None:
        self._file, self._moments = file, moments

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B") if not isinstance(data, str) else data
        half = len(view) // 2
        self._file.write(view[:half])
        self._moments.moment("write", self._file)
        self._file.write(view[half:])
        return len(view)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_Watched":
        return self

    def __exit__(self, *why: Any) -> None:
        self._file.close()


def kill(kind: str, file: Any) -> None:
    """What a power cut does to a process: nothing more is done, and what was written so far is there."""
    if file is not None:
        file.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def ask(number: int) -> Callable[[str, Any], None]:
    """The signal `number`, sent to the process itself."""
    return lambda kind, file: os.kill(os.getpid(), number)


def ask_twice(kind: str, file: Any) -> None:
    """An impatient Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)


def disk_full(kind: str, file: Any) -> None:
    """No room from now on."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def permission_lost(kind: str, file: Any) -> None:
    """The folder is somebody else's from now on."""

    def denied(*arguments: Any, **named: Any) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    tempfile.mkstemp = denied  # type: ignore[assignment]
    os.replace = denied  # type: ignore[assignment]


def clock_jumps(kind: str, file: Any) -> None:
    """The wall clock goes back a year."""
    real = time.time
    time.time = lambda: real() - 365 * 86400


def out_of_memory(kind: str, file: Any) -> None:
    """An allocation fails."""
    raise MemoryError("cannot allocate")


ASKED = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
"""The signals that ask a run to stop, and its exit code then."""
