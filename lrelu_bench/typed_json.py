"""JSON that somebody else may have written, as the values of a dataclass's fields."""

import math
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from lrelu_bench.errors import BenchError

_CHECKED = (int, float, str, bool)
LARGEST_INTEGER = 2**63 - 1
LONGEST_TEXT = 10_000
"""Letters."""
MOST_ITEMS = 1000
_ITEMS = {str: "text", int: "whole numbers"}


def fields_of(kind: Any, raw: dict[str, Any], where: str) -> dict[str, Any]:
    """The values of the dataclass `kind`'s fields, of their types; what else is in `raw` is left.

    Fields with a `default_factory` may be missing. Raises `BenchError`, which begins with `where`, for a
    value that is missing or none of its field.
    """
    optional = [one.name for one in fields(kind) if one.default_factory is not MISSING]
    missing = [one.name for one in fields(kind) if one.name not in raw and one.name not in optional]
    if missing:
        raise BenchError(f"{where}missing {', '.join(missing)}")
    values = {one.name: raw[one.name] for one in fields(kind) if one.name in raw}
    for one in fields(kind):
        problem = _problem(one.type, values[one.name]) if one.name in values else None
        if problem:
            raise BenchError(f"{where}{one.name} is {shown(values[one.name])}, not {problem}")
    return values


def _problem(kind: Any, value: Any) -> str | None:
    """What a value should have been, where it is not of its field's type."""
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        return None if isinstance(value, str) and value in choices else " or ".join(choices)
    if get_origin(kind) is list:
        return _problem_of_list(get_args(kind)[0], value)
    # `int | None` is int, and None as well.
    allowed = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if allowed[0] not in _CHECKED or (value is None and NoneType in allowed):
        return None
    numbers = (int, float) if allowed[0] is float else allowed[0]
    # bool is an int to Python, but `true` is no count.
    fits = isinstance(value, numbers) and (allowed[0] is bool or not isinstance(value, bool))
    return beyond(value) if fits else str(allowed[0].__name__)


def _problem_of_list(item_kind: Any, value: Any) -> str | None:
    items = _ITEMS.get(item_kind, "mappings")
    if not isinstance(value, list):
        return f"a list of {items}"
    if len(value) > MOST_ITEMS:
        return f"a list of at most {MOST_ITEMS}"
    if item_kind in _ITEMS:
        fits = all(_problem(item_kind, item) is None for item in value)
    else:
        fits = all(isinstance(item, dict) for item in value)
    return None if fits else f"a list of {items}"


def beyond(value: str | float) -> str | None:
    """What a value of the right type should have been, where it is one that nothing can be done with."""
    if isinstance(value, str):
        return None if len(value) <= LONGEST_TEXT else f"text of at most {LONGEST_TEXT} letters"
    if isinstance(value, int):
        return None if abs(value) <= LARGEST_INTEGER else "a number of 64 bits"
    return None if math.isfinite(value) else "a finite number"


def shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."
