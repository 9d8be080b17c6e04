"""The doctor's report: lines as they are found, plain text for a file, JSON for programs."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap

from rich.console import Console
from rich.text import Text

from lrelu_bench import __version__
from lrelu_bench.atomic_file import write_atomically
from lrelu_bench.doctor.examination import Check
from lrelu_bench.doctor.finding import Finding
from lrelu_bench.errors import BenchError

Found = tuple[str, Finding]
"""An area and a finding of it."""

TITLE = f"lrelu-bench doctor {__version__}"
_MARKS = ("lrelu-bench doctor ", '{\n "doctor": ')
"""How the files begin that `write` may replace."""
_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}
_STATUS, _CHECK = 9, 19
_NARROW, _NARROWEST = 66, 40


def show(found: Iterable[Found], console: Console) -> list[Found]:
    """Print each finding as it comes, wrapped on a terminal and one line each elsewhere; returns them all."""
    width = max(console.width, _NARROWEST) if console.is_terminal else None

    def say(line: str, style: str = "", status: str = "") -> None:
        if width is None:
            console.out(_plain(line, console.options.ascii_only), highlight=False)
        else:
            text = Text(_plain(line, console.options.ascii_only), style, no_wrap=True, overflow="fold")
            text.stylize(_STYLES.get(status, ""), 2, 2 + len(status))
            console.print(text)

    kept: list[Found] = []
    say(TITLE, "bold")
    for area, finding in found:
        if not kept or kept[-1][0] != area:
            say("")
            say(area, "bold")
        status: str = finding.status
        for line in _lines(finding, width, kept[-1][1] if kept else None):
            say(line, status=status)
            status = ""
        kept.append((area, finding))
    say("")
    say(summary(kept), "bold")
    return kept


@contextmanager
def progress(console: Console, total: int) -> Iterator[Callable[[Check], None]]:
    """Gives what to call with the check that is waited for: a terminal shows it, nothing else does."""
    if not console.is_terminal:
        yield lambda check: None
        return
    with console.status("") as status:
        begun = 0

        def wait_for(check: Check) -> None:
            nonlocal begun
            begun += 1
            status.update(Text(f"{begun} of {total}: {check.area}, {check.name}"))

        yield wait_for


def write(found: Sequence[Found], json_: bool, path: Path) -> str:
    """Write the report to a file that `require_ours` let pass; returns what was written and found."""
    write_atomically(path, as_json(found) if json_ else as_text(found))
    return f"{path}: {summary(found)}"


def require_ours(path: Path) -> None:
    """Raises `BenchError` where something is at `path` that is no report of the doctor's."""
    if path.exists() and not path.is_file():
        raise BenchError(f"{path}: is no plain file; leave --output out to write to a terminal or a pipe")
    try:
        with path.open("rb") as file:
            beginning = file.read(100).decode(errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise BenchError(f"{path}: cannot be replaced ({error.strerror}); name another file") from error
    if beginning and not beginning.startswith(_MARKS):
        raise BenchError(f"{path}: is there already and no report of lrelu-bench doctor; name another file")


def as_text(found: Sequence[Found]) -> str:
    """The report as a pipe gets it."""
    lines: list[str] = [TITLE]
    for place, (area, finding) in enumerate(found):
        if place == 0 or found[place - 1][0] != area:
            lines += ["", area]
        lines += _lines(finding, None, found[place - 1][1] if place else None)
    return "\n".join(_plain(line, ascii_only=False) for line in [*lines, "", summary(found)]) + "\n"


def as_json(found: Sequence[Found]) -> str:
    """The findings, and how many are problems and warnings."""
    counts = Counter(finding.status for _, finding in found)
    findings = [
        {
            "area": area,
            "check": finding.check,
            "status": finding.status,
            "detail": finding.detail,
            "remedy": finding.remedy,
        }
        for area, finding in found
    ]
    report = {
        "doctor": __version__,
        "problems": counts["problem"],
        "warnings": counts["warning"],
        "findings": findings,
    }
    return json.dumps(report, indent=1) + "\n"


def has_problem(found: Sequence[Found]) -> bool:
    """Whether something a run needs does not work."""
    return any(finding.status == "problem" for _, finding in found)


def summary(found: Sequence[Found]) -> str:
    """What all findings come to, in a line."""
    counts = Counter(finding.status for _, finding in found)
    words = [
        f"{counts[status] or 'no'} {status}{'s' * (counts[status] != 1)}" for status in ("problem", "warning")
    ]
    return f"{len(found)} findings: {', '.join(words)}"


def _lines(finding: Finding, width: int | None, before: Finding | None) -> Iterator[str]:
    """A finding and its remedy, wrapped to `width` columns; None: a line each."""
    head = f"  {finding.status:<{_STATUS}}{finding.check:<{_CHECK}} "
    column = 4 if width is not None and width < _NARROW else len("  ") + _STATUS + _CHECK + 1
    texts = [(head, finding.detail, column)]
    if finding.remedy is not None:
        remedy = "as above" if before and before.remedy == finding.remedy else finding.remedy
        texts.append((" " * column + "→ ", remedy, column + 2))
    for first, text, next_column in texts:
        line = " ".join(text.split())
        if width is None:
            yield f"{first}{line}"
        else:
            yield from wrap(
                line, width, initial_indent=first, subsequent_indent=" " * next_column, break_on_hyphens=False
            ) or [first.rstrip()]


def _plain(text: str, ascii_only: bool) -> str:
    """Text without what drives a terminal, and without what this one cannot show."""
    # Not `wording.plain`: what that module needs may be what is broken.
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text.replace("→", "->").encode("ascii", "replace").decode() if ascii_only else text
