"""Text from elsewhere in a CSV file: a spreadsheet that opens it computes nothing and starts nothing."""

from typing import Any

# The last four are what a Japanese keyboard gives, and spreadsheets take them for the first four.
_FORMULA = tuple("=+-@\t\r'＝＋－＠")


def guarded(value: Any) -> Any:
    """A cell's value; before text that a spreadsheet would take for a formula stands an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def unguarded(text: str) -> str:
    """The text that `guarded` was given."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text
