"""Strict reading of a small YAML file: plain data, and the line that each value came from.

Scalars follow YAML 1.2's core rules, so `8e-3` is a number and `on` is a word; anchors, tags and repeated
keys are refused.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from lrelu_bench import plain_file
from lrelu_bench.errors import BenchError

Key = tuple[str | int, ...]
"""Where a value sits: the keys and list indices from the top."""

MAX_BYTES = 1_000_000
MAX_DEPTH = 16
MAX_VALUES = 20_000
"""Keys and values of a file: PyYAML takes a second and some MB for so many, and a file of 1 MB can hold more
than 400,000."""
# Python refuses to convert very long digit strings, and no float holds them.
MAX_DIGITS = 300


@dataclass(frozen=True, order=True)
class Place:
    """What a message points at: a line of the file (`order` is its number), or a command line option."""

    order: int
    text: str


@dataclass
class Document:
    """Plain data, the place of every value, and what is wrong with the text itself."""

    data: Any
    places: dict[Key, Place] = field(default_factory=dict)
    problems: list[tuple[Place, str]] = field(default_factory=list)


class RefusedError(Exception):
    """Text that cannot be read on from `line` (from 0)."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


class StrictLoader(yaml.SafeLoader):
    """Composes one document's nodes, with YAML 1.2 core scalars and neither anchors nor tags."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    depth = 0
    values = 0

    def document(self) -> yaml.Node | None:
        """The only document's root, None where the text holds none.

        Raises RefusedError for a second document, an anchor, an alias, a tag, nesting too deep, or too many
        values.
        """
        self.get_event()  # type: ignore[no-untyped-call]
        if self.check_event(yaml.StreamEndEvent):
            return None
        root: yaml.Node | None = self.compose_document()
        if not self.check_event(yaml.StreamEndEvent):
            line = self.peek_event().start_mark.line  # type: ignore[no-untyped-call]
            raise RefusedError(line, "a second YAML document starts here; keep one experiment per file")
        return root

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node, if it is one this file may hold."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        reason = _refusal(event)
        if self.depth >= MAX_DEPTH:
            reason = f"nested deeper than {MAX_DEPTH} levels; no experiment is"
        self.values += 1
        if self.values > MAX_VALUES:
            reason = (
                f"the file holds more than {MAX_VALUES:,} values; split it, or remove what is no part of it"
            )
        if reason:
            raise RefusedError(event.start_mark.line, reason)
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


_REAL = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", rf"{_REAL}|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.0123456789")),
):
    StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)


def is_number(text: str) -> bool:
    """Whether the text without quotes is a number."""
    return re.fullmatch(_REAL, text) is not None


def _refusal(event: yaml.Event) -> str | None:
    if isinstance(event, yaml.AliasEvent):
        return f"alias *{event.anchor} is not read here; write the value out"
    if getattr(event, "anchor", None):
        return f"anchor &{event.anchor} is not read here; remove it"  # type: ignore[attr-defined]
    if getattr(event, "tag", None):
        return f"tag {event.tag} is not read here; write the plain value"  # type: ignore[attr-defined]
    return None


def parse(text: str, place: Callable[[int], Place]) -> Document:
    """`text` as data; `place` names a line, counted from 0.

    Raises BenchError where the text is not one plain YAML document. Repeated keys go into `problems`.
    """
    try:
        loader = StrictLoader(text)
        root = loader.document()
    except RefusedError as error:
        raise BenchError(f"{place(error.line).text}: {error.reason}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        raise BenchError(
            f"{place(line).text}: character {chr(int(error.character))!r} is not allowed in YAML; remove it"
        ) from None
    except yaml.MarkedYAMLError as error:
        raise BenchError(_syntax_sentence(error, place)) from None
    except (ValueError, OverflowError):  # PyYAML: an escape such as "\UFFFFFFFF"
        line = loader.line
        raise BenchError(f"{place(line).text}: an escape here names no character; correct it") from None
    document = Document(None)
    if root is not None:
        document.data = _plain(root, (), place, document)
    return document


def _syntax_sentence(error: yaml.MarkedYAMLError, place: Callable[[int], Place]) -> str:
    mark = error.problem_mark or error.context_mark
    where = place(mark.line if mark else 0).text
    problem = error.problem or error.context or "cannot be read"
    if "'\\t'" in problem:
        return f"{where}: a tab begins a value or indents a line; use spaces"
    return f"{where}: this is not valid YAML ({problem}); check colons, quotes and indentation near it"


def _plain(node: yaml.Node, key: Key, place: Callable[[int], Place], document: Document) -> Any:
    document.places.setdefault(key, place(node.start_mark.line))
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, key, place, document)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*key, i), place, document) for i, item in enumerate(node.value)]
    return _scalar(node)


def _mapping(
    node: yaml.MappingNode, key: Key, place: Callable[[int], Place], document: Document
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        here = place(key_node.start_mark.line)
        if not isinstance(key_node, yaml.ScalarNode):
            document.problems.append((here, "a key is itself a list or a mapping; keys are plain words"))
            continue
        # Every key of an experiment is a word, so `1:` and `true:` are unknown keys by their text.
        name = str(key_node.value)
        path = (*key, name)
        if name in found:
            first = document.places[path].order
            also = "" if first == here.order else f" (first on line {first})"
            document.problems.append((here, f"key {key_name(path)} is given twice{also}; keep one"))
            continue
        document.places[path] = here
        found[name] = _plain(value_node, path, place, document)
    return found


def _scalar(node: yaml.Node) -> Any:
    text, kind = str(node.value), node.tag.rpartition(":")[2]
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        return _integer(text)
    return _real(text) if kind == "float" else text


def _integer(text: str) -> int | float:
    if len(text) > MAX_DIGITS:
        return -math.inf if text.startswith("-") else math.inf
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _real(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def key_name(key: Key) -> str:
    """The key as a message and as `--set` write it: `recipe.mean[2]`."""
    name = ""
    for part in key:
        if isinstance(part, int):
            name += f"[{part}]"
        else:
            word = part if re.fullmatch(r"[\w-]+", part, re.ASCII) else show(part)
            name += f".{word}" if name else word
    return name


def show(value: Any) -> str:
    """A value in one short line, strings in quotes."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        text = f"[{', '.join(show(item) for item in value[:9])}{', ...' if len(value) > 9 else ''}]"
    elif isinstance(value, dict):
        text = f"{{{', '.join(f'{key_name((k,))}: {show(v)}' for k, v in list(value.items())[:9])}}}"
    else:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."


def read_text(path: Path) -> str:
    """The file's text.

    Raises BenchError if it is missing, unreadable, no plain file, over `MAX_BYTES` or not UTF-8.
    """
    try:
        return plain_file.read_text(path, MAX_BYTES, "give a YAML file, saved as UTF-8")
    except plain_file.MissingError:
        raise BenchError(_missing_sentence(path)) from None


def _missing_sentence(path: Path) -> str:
    try:
        names = sorted(child.name for child in path.parent.iterdir() if child.is_file())
    except OSError:
        return f"{path}: no such file, nor a folder {path.parent}; check the path"
    near = get_close_matches(path.name, names, n=1)
    remedy = f"did you mean {path.with_name(near[0])}?" if near else "check the path"
    return f"{path}: no such file; {remedy}"
