"""Text from elsewhere in a CSV file: a spreadsheet that opens it computes nothing and starts nothing."""

from typing import Any

from lrelu_bench.printable import visible

# The last four are what a Japanese keyboard gives, and spreadsheets take them for the first four.
_FORMULA = tuple("=+-@\t\r'＝＋－＠")


def guarded(value: Any) -> Any:
    """A cell's value; before text that a spreadsheet would take for a formula stands an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def printable(value: Any) -> Any:
    """The same for a cell that is never read back, and may be on a terminal: nothing in it acts there."""
    return guarded(visible(value) if isinstance(value, str) else value)


def unguarded(text: str) -> str:
    """The text that `guarded` was given."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text
