"""A command line called in this process, watched: how it ends, what it says, writes, starts and takes."""

import io
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

from lrelu_bench import cli
from lrelu_bench.activations import kernels

SECONDS = 10.0
"""Of processor time, which does not turn on what else the machine does."""
WAIT = 60.0
"""Seconds that one command may take in all, most of them waiting."""
MEMORY = 10**9
"""Bytes that one command may take beyond what the process held before."""
OUTPUT = 4_000_000
"""Bytes that one command may say."""
_ADDRESS_SPACE = 6 * 10**9
"""Bytes beyond which an allocation fails before the machine does."""
_STARTED = ("git", "fc-list", "/sbin/ldconfig", sys.executable)
"""What asks a README's day, finds matplotlib's fonts, and compiles the kernels."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = (
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
)
_COMPILED = Path(kernels.__file__).parent / "__pycache__"
"""Where Numba keeps the kernels."""
_NEVER = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "socket.connect")
_OF_NUMBA = (("copyreg", "_reconstructor"), ("builtins", "object"))


class TookTooLongError(BaseException):
    """Not an `Exception`, so that no command mistakes it for one of its own."""


@dataclass(frozen=True)
class Outcome:
    """How one command line went."""

    arguments: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float
    """Of processor time."""
    memory: int
    """Peak of resident memory beyond that before, bytes; 0 where the system does not tell."""
    problems: tuple[str, ...]
    """What no input may cause, in words."""


class Watch:
    """What the process did, told by Python's audit events."""

    def __init__(self) -> None:
        self.on = False
        self.allowed: tuple[str, ...] = ()
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, int) or path is None:
                return
            wants = (isinstance(mode, str) and set(mode) & set("wax+")) or (flags or 0) & _WRITING
            if wants:
                # Told before it is opened: what follows no link writes nothing behind one.
                link = (flags or 0) & os.O_NOFOLLOW and Path(os.fsdecode(path)).is_symlink()
                self._written(event, Path(os.fsdecode(path)).parent if link else path)
        elif event in _CHANGES:
            # Removed relative to an open folder, as `shutil.rmtree` does, a path does not say where.
            if not (len(arguments) > 1 and isinstance(arguments[-1], int) and arguments[-1] >= 0):
                for path in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
                    self._written(event, path)
        elif event == "subprocess.Popen":
            if os.fsdecode(arguments[0]) not in _STARTED:
                self.seen.append(f"started {arguments[0]!r}")
        elif event == "pickle.find_class":
            # Numba's own cache of kernels that were compiled before.
            if not (arguments[0].startswith("numba.") or arguments in _OF_NUMBA):
                self.seen.append(f"unpickled {'.'.join(arguments)}")
        elif event in _NEVER:
            self.seen.append(f"{event} {arguments!r}"[:200])

    def _written(self, event: str, path: Any) -> None:
        place = os.path.realpath(os.fsdecode(path))
        if place != os.devnull and not place.startswith(self.allowed):
            self.seen.append(f"{event} outside of its output: {place!r}")


_watch: Watch | None = None


def _the_watch() -> Watch:
    # A hook cannot be taken away again, so there is one for all.
    global _watch  # noqa: PLW0603
    if _watch is None:
        _watch = Watch()
    return _watch


class Sandbox:
    """Calls command lines in the folder `home`; of files, they may write those below the `outputs`."""

    def __init__(self, home: Path, outputs: Sequence[Path], caches: Path) -> None:
        """`caches` is where libraries keep theirs, whatever the command."""
        self.home = home
        places = [os.path.realpath(path) for path in (*outputs, caches, _COMPILED)]
        self.allowed = tuple(f"{place}{end}" for place in places for end in ("", os.sep))
        self.environment = {
            "HOME": str(caches),
            "MPLCONFIGDIR": str(caches / "matplotlib"),
            "TMPDIR": str(caches),
            "LRELU_BENCH_DATA": str(home / "data"),
            "COLUMNS": "100",
        }

    def call(
        self, *arguments: str, codes: Sequence[int] = (0, 2), seconds: float = SECONDS, **environment: str
    ) -> Outcome:
        """One command line; `codes` are those that it may end with, within these seconds."""
        before = _resident()
        _forget_peak()
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in "12")
        watch = _the_watch()
        problems: list[str] = []
        here = Path.cwd()
        start = time.process_time()
        with (
            patch.dict(os.environ, self.environment | environment),
            patch.object(sys, "argv", ["lrelu-bench", *arguments]),
            warnings.catch_warnings(record=True) as warned,
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            warnings.simplefilter("always")
            os.chdir(self.home)
            watch.allowed, watch.seen = self.allowed, []
            try:
                with _limits(seconds):
                    watch.on = True
                    code = _ended()
            except TookTooLongError as error:
                code = -1
                where = "".join(traceback.format_tb(error.__traceback__)[-4:])
                problems.append(f"took over {seconds:g} s, or waited over {WAIT:g} s; was at\n{where}")
            except BaseException:
                code = -1
                problems.append(f"traceback\n{traceback.format_exc()[-2500:]}")
            finally:
                watch.on = False
                os.chdir(here)
        took = time.process_time() - start
        said, complained = (stream.buffer.getvalue().decode() for stream in (out, err))
        memory = max(0, _peak() - before)
        problems += [f"warning: {one.message}" for one in warned] + watch.seen
        problems += _problems(code, codes, said, complained)
        if memory > MEMORY:
            problems.append(f"took {memory / 1e6:.0f} MB")
        return Outcome(arguments, code, said, complained, took, memory, tuple(dict.fromkeys(problems)))


def _ended() -> int:
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _problems(code: int, codes: Sequence[int], out: str, err: str) -> Iterator[str]:
    """What is wrong with the exit code and with what was said."""
    if code != -1 and code not in codes:
        yield f"exit code {code}: {err[-300:]!r}"
    if code == 2 and not err.strip():
        yield "exit code 2 without a word"
    if code == 2 and err.startswith("error: ") and err.count("\nerror: "):
        yield f"more than one message: {err[:300]!r}"
    if "Traceback (most" in out + err:
        yield f"a traceback was printed: {(out + err)[-500:]!r}"
    if len(out) + len(err) > OUTPUT:
        yield f"said {len(out) + len(err):,} letters"
    acting = {letter for letter in out + err if not letter.isprintable() and letter != "\n"}
    if acting:
        yield f"said what drives a terminal: {sorted(acting)[:5]!r}"


@contextmanager
def _limits(seconds: float) -> Iterator[None]:
    """Time and address space; what is over is an exception."""

    def late(*_: int | FrameType | None) -> None:
        raise TookTooLongError

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if _PROC else 0
    previous = [signal.signal(number, late) for number in (signal.SIGALRM, signal.SIGPROF)]
    if held:
        resource.setrlimit(resource.RLIMIT_AS, (held + _ADDRESS_SPACE, hard))
    # Again and again: the first may fall into a cleanup that goes on waiting.
    signal.setitimer(signal.ITIMER_REAL, max(WAIT, seconds), 1)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for number, handler in zip((signal.SIGALRM, signal.SIGPROF), previous, strict=True):
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


_PROC = Path("/proc/self/clear_refs").exists()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() if _PROC else 0


def _peak() -> int:
    """Most resident memory since the last `_forget_peak`, bytes."""
    if not _PROC:
        return 0
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _forget_peak() -> None:
    if _PROC:
        Path("/proc/self/clear_refs").write_text("5")
