"""Running checks: all at once, none of which can hang or break the others."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from lrelu_bench.doctor.finding import Finding, problem
from lrelu_bench.errors import BenchError

LIMIT_SECONDS = 30.0
"""After which a check counts as hanging: a network disk that is gone answers never."""


@dataclass(frozen=True)
class Check:
    """One question to this machine; what answers may yield several findings."""

    area: str
    """The heading it stands under."""
    name: str
    find: Callable[[], Iterable[Finding]]
    limit: float = LIMIT_SECONDS
    """Seconds it may take."""


_Found = queue.SimpleQueue[Finding | None]
"""None comes last."""


def examine(
    checks: Sequence[Check], on_wait: Callable[[Check], None] = lambda check: None
) -> Iterator[tuple[str, Finding]]:
    """Areas and findings in the order of the checks, as they come in.

    A check that raises or does not answer in time is itself a problem found. `on_wait` is called with the
    check whose findings come next.
    """
    started = [(check, _start(check)) for check in checks]
    began = time.monotonic()
    for check, found in started:
        on_wait(check)
        for finding in _arriving(check, found, began + check.limit):
            yield check.area, finding


def _start(check: Check) -> _Found:
    found: _Found = queue.SimpleQueue()
    # A daemon: the program ends whether or not a check that hangs ever comes back.
    threading.Thread(target=_answer, args=(check, found), name=check.name, daemon=True).start()
    return found


def _answer(check: Check, found: _Found) -> None:
    try:
        for finding in check.find():
            found.put(finding)
    except ImportError as error:
        remedy = "mend the installation: pip install --upgrade --force-reinstall lrelu-bench"
        found.put(problem(check.name, f"could not be checked: {error}", remedy))
    except BenchError as error:
        found.put(problem(check.name, str(error), "correct what is named here"))
    except Exception as error:
        what = f"could not be checked: {type(error).__name__}: {error}"
        found.put(problem(check.name, what, "tell the authors of lrelu-bench, with this line"))
    finally:
        found.put(None)


def _arriving(check: Check, found: _Found, deadline: float) -> Iterator[Finding]:
    while True:
        try:
            finding = found.get(timeout=max(deadline - time.monotonic(), 0))
        except queue.Empty:
            yield problem(
                check.name,
                f"no answer within {check.limit:g} s",
                "look whether a disk or the network hangs, and try again",
            )
            return
        if finding is None:
            return
        yield finding
