"""What a check found."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at and what it is like."""

    check: str
    """What was looked at, in a word or two."""
    status: Status
    detail: str
    """One sentence without a full stop."""
    remedy: str | None = None
    """What to do; there for every problem and most warnings."""


def ok(check: str, detail: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", detail)


def warning(check: str, detail: str, remedy: str | None = None) -> Finding:
    """Runs work, but not as well as they could, or something is left over."""
    return Finding(check, "warning", detail, remedy)


def problem(check: str, detail: str, remedy: str) -> Finding:
    """Something a run needs does not work."""
    return Finding(check, "problem", detail, remedy)
