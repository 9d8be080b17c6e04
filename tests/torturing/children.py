"""A command of lrelu-bench in a process of its own, forked from this one: torch is imported already."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lrelu_bench.data.procedural import ProceduralImages


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    code: int
    """Exit code; of a killed one, minus the signal."""
    output: str
    """What it printed, both streams."""


_HEAVY = (
    "torch._dynamo",
    "lrelu_bench.activations.kernels.loops",
    "lrelu_bench.runner",
    "lrelu_bench.session",
    "lrelu_bench.report.render",
)


@cache
def warm() -> "ProceduralImages":
    """Import and draw once what each child would again; a fork would lose threads that computing starts."""
    for name in _HEAVY:
        import_module(name)
    from lrelu_bench import environment
    from lrelu_bench.data.procedural import ProceduralImages

    environment.source_commit()
    environment.code_digest()
    images = ProceduralImages()
    images.draw(np.arange(len(images)))
    return images


def run(arguments: Sequence[str], folder: Path, prepare: Callable[[], Callable[[], None] | None]) -> Ended:
    """Run `lrelu-bench` with these arguments in `folder`.

    Args:
        prepare: called in the child before; what it gives is called there at the end.
    """
    warm()
    log = folder / ".child.log"
    child = os.fork()
    if child == 0:
        code = 70
        try:
            with log.open("wb", buffering=0) as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            os.chdir(folder)
            sys.path.insert(0, str(folder))
            sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
            sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
            code = _command(arguments, prepare)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    output = log.read_text(errors="replace") if log.exists() else ""
    log.unlink(missing_ok=True)
    return Ended(os.waitstatus_to_exitcode(status), output)


def _command(arguments: Sequence[str], prepare: Callable[[], Callable[[], None] | None]) -> int:
    from lrelu_bench import cli, stopping

    for name in stopping.SIGNALS:
        # Whatever this process ignores, as one in the background does, its children hear.
        signal.signal(name, signal.default_int_handler if name == signal.SIGINT else signal.SIG_DFL)
    images = warm()
    # The same object over again, whose making takes longer than the runs.
    type(images).__new__ = lambda kind: images  # type: ignore[assignment, method-assign]
    type(images).__init__ = lambda self: None  # type: ignore[method-assign]
    os.environ["LRELU_BENCH_DATA"] = str(Path.cwd() / ".data")
    at_end = prepare()
    sys.argv = ["lrelu-bench", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        if at_end is not None:
            at_end()
    return 0
