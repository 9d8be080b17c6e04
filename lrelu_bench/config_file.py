"""From a YAML file and `--set` overrides to an `Experiment`, or one sentence per problem.

The rules are `lrelu_bench.config`'s; what a value must be is said from their JSON Schema, so that a field is
described once.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lrelu_bench.config import Experiment
from lrelu_bench.errors import BenchError
from lrelu_bench.strict_yaml import Document, Key, Place, key_name, parse, read_text, show

MAX_SEEDS = 1000
# After every line of a file (MAX_BYTES of them at most), in the order of the command line.
_COMMAND_LINE = 10_000_000


def load_experiment(
    path: Path, overrides: Sequence[str] = (), seeds: tuple[int, ...] | None = None
) -> Experiment:
    """The experiment of the file, with each `key.path=value` of `overrides` and the seeds in its place.

    Raises BenchError if the file cannot be read or anything in it or the overrides is wrong: all problems at
    once, one line each with its place, the value and the remedy.
    """
    name = str(path)
    document = parse(read_text(path), lambda line: Place(line + 1, f"{name}:{line + 1}"))
    if document.data is None:
        raise BenchError(f"{name}: the file is empty; it needs at least {', '.join(_required(_schema()))}")
    if not isinstance(document.data, dict):
        raise BenchError(
            f"{document.places[()].text}: the file holds {show(document.data)}; "
            "it must be a mapping, `key: value` on each line"
        )
    document.places[()] = Place(0, name)
    for number, override in enumerate(overrides):
        _override(document, override, Place(_COMMAND_LINE + number, f"--set {override}"))
    if seeds is not None:
        place = Place(_COMMAND_LINE + len(overrides), f"--seeds {','.join(map(str, seeds))}")
        _put(document, ("seeds",), Document(list(seeds)), place)
    return _validated(document, name)


def _override(document: Document, override: str, place: Place) -> None:
    """Puts one `key.path=value` into the document, or its problem."""
    path, equals, text = override.partition("=")
    key: Key = tuple(path.strip().split("."))
    if not equals or not all(key):
        document.problems.append((place, "this is not key.path=value, such as activation.leak=0.1"))
        return
    try:
        value = parse(text, lambda _: place)
    except BenchError as error:
        document.problems.append((place, str(error).removeprefix(f"{place.text}: ")))
        return
    if () not in value.places:
        document.problems.append((place, f"no value is given; {path}=null goes back to the default"))
        return
    _put(document, key, value, place)


def _put(document: Document, key: Key, value: Document, place: Place) -> None:
    data = document.data
    for depth, part in enumerate(key[:-1], 1):
        above = data.get(part)
        if isinstance(above, str) and key[:depth] == ("activation",):
            document.places[(*key[:depth], "name")] = document.places[key[:depth]]
            above = {"name": above}
        elif above is None:
            document.places[key[:depth]] = place
            above = {}
        elif not isinstance(above, dict):
            sentence = f"{key_name(key[:depth])} is {show(above)}, so there is no {key_name(key)} to set"
            document.problems.append((place, sentence))
            return
        data[part] = above
        data = above
    data[key[-1]] = value.data
    for old in [known for known in document.places if known[: len(key)] == key]:
        del document.places[old]
    document.places |= {(*key, *below): place for below in value.places} | {key: place}
    document.problems += value.problems


def _validated(document: Document, name: str) -> Experiment:
    data = _prepared(document.data, ())
    problems = {(): [*document.problems]} | {
        key: [(_place(document, key), sentence)] for key, sentence in _own_problems(document.data)
    }
    experiment = None
    try:
        # JSON, because pydantic's strict rules still take its lists for tuples and its objects for models.
        experiment = Experiment.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            key = tuple(detail["loc"])
            if detail["type"] == "value_error":
                problems[()].append(_cross_problem(document, key, str(detail["ctx"]["error"])))
            elif not any(key[:depth] in problems for depth in range(1, len(key) + 1)):
                problems[key] = [(_place(document, key), _field_problem(document.data, key))]
    _drop_missing_that_are_misspelt(document.data, problems)
    found = sorted(problem for group in problems.values() for problem in group)
    lines = [f"{place.text}: {text}" for place, text in found]
    if len(lines) > 1:
        lines = [f"{name}: {len(lines)} problems", *lines]
    if lines or experiment is None:
        raise BenchError("\n".join(lines))
    return experiment


def _prepared(value: Any, key: Key) -> Any:
    """The data as the strict rules want it: whole floats as integers, the source's number as its name."""
    if isinstance(value, dict):
        return {name: _prepared(item, (*key, name)) for name, item in value.items()}
    if isinstance(value, list):
        return [_prepared(item, (*key, i)) for i, item in enumerate(value)]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if key == ("source",) and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    # A lone surrogate is no JSON; such a string is wrong wherever it stands.
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _own_problems(data: Any) -> Iterator[tuple[Key, str]]:
    """Unknown keys, and numbers that are not finite, in known ones."""
    yield from _unknown(data, (), _schema())
    for key, value in _leaves(data, ()):
        if isinstance(value, float) and not math.isfinite(value) and _node(key) is not None:
            yield key, f"{key_name(key)} is {show(value)}; it must be a finite number"


def _leaves(value: Any, key: Key) -> Iterator[tuple[Key, Any]]:
    items: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        yield key, value
    for part, item in items:
        yield from _leaves(item, (*key, part))


def _unknown(data: Any, key: Key, node: dict[str, Any]) -> Iterator[tuple[Key, str]]:
    if not isinstance(data, dict) or "properties" not in node:
        return
    for name, value in data.items():
        here = (*key, name)
        below = _node(here)
        if below is None:
            yield here, f"unknown key {key_name(here)} (value {show(value)}); {_instead(here, data)}"
        else:
            yield from _unknown(value, here, below)


def _instead(key: Key, beside: dict[str, Any]) -> str:
    """What was probably meant by an unknown key."""
    elsewhere = [known for known in _known_keys() if known[-1] == key[-1]]
    if elsewhere:
        return f"did you mean {' or '.join(map(key_name, elsewhere))}?"
    near = _misspelt(key)
    if near:
        return f"did you mean {near}?"
    known = [name for name in _properties(key[:-1]) if name not in beside]
    return f"remove it, or use one of {', '.join(known)}" if known else "remove it"


def _misspelt(key: Key) -> str | None:
    """The known key of the same mapping that `key` resembles."""
    near = get_close_matches(str(key[-1]), list(_properties(key[:-1])), n=1)
    return near[0] if near else None


def _drop_missing_that_are_misspelt(data: Any, problems: dict[Key, Any]) -> None:
    for key in [key for key in problems if key and _node(key) is None]:
        meant = (*key[:-1], _misspelt(key) or "")
        if meant in problems and not _has(data, meant):
            del problems[meant]


def _cross_problem(document: Document, key: Key, sentence: str) -> tuple[Place, str]:
    """A model validator's sentence, placed at the first key that it names."""
    for word in re.findall(r"[\w.]+", sentence):
        named = (*key, *word.rstrip(".").split("."))
        if named in document.places:
            return document.places[named], sentence
    return _place(document, key), sentence


def _field_problem(data: Any, key: Key) -> str:
    node = _node(key) or {}
    if not _has(data, key):
        if isinstance(key[-1], int):  # a list that is too short
            return _field_problem(data, key[:-1])
        return f"{key_name(key)} is missing; set it: {node.get('description', '')}"
    value = _at(data, key)
    sentence = f"{key_name(key)} is {show(value)}; it must be {_expected(node)}"
    return sentence + _hint(value, node)


def _hint(value: Any, node: dict[str, Any]) -> str:
    kinds = _kinds(node)
    if not isinstance(value, str):
        return ""
    near = get_close_matches(value, _choices(node), n=1)
    if near:
        return f"; did you mean {near[0]}?"
    if kinds & {"number", "integer"} and _is_number(value):
        return "; remove the quotes"
    words = {"yes": "true", "on": "true", "no": "false", "off": "false"}
    word = words.get(value.lower(), value.lower())
    return f"; write {word}" if "boolean" in kinds and word in ("true", "false") else ""


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _has(data: Any, key: Key) -> bool:
    try:
        _at(data, key)
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _at(data: Any, key: Key) -> Any:
    for part in key:
        # `activation: relu` stands for `activation: {name: relu}`.
        data = {"name": data}[part] if isinstance(data, str) else data[part]  # type: ignore[index]
    return data


def _place(document: Document, key: Key) -> Place:
    while key not in document.places:
        key = key[:-1]
    return document.places[key]


# What the schema says of a key.


@cache
def _schema() -> dict[str, Any]:
    return Experiment.model_json_schema()


def _required(node: dict[str, Any]) -> list[str]:
    return list(node.get("required", ()))


def _alternatives(node: dict[str, Any]) -> list[dict[str, Any]]:
    """The node's cases with references followed, null apart (leaving the key out says the same)."""
    if "$ref" in node:
        return [_schema()["$defs"][node["$ref"].rpartition("/")[2]]]
    if "anyOf" in node:
        return [case for option in node["anyOf"] for case in _alternatives(option)]
    return [] if node.get("type") == "null" else [node]


def _node(key: Key) -> dict[str, Any] | None:
    """The schema's entry for a key, with its description; None for a key it does not know."""
    node = _schema()
    for part in key:
        cases = [below for case in _alternatives(node) if (below := _below(case, part)) is not None]
        if not cases:
            return None
        node = cases[0]
    described = node.get("description")
    cases = _alternatives(node)
    only = cases[0] if len(cases) == 1 else node
    return {**only, "description": described} if described else only


def _below(node: dict[str, Any], part: str | int) -> dict[str, Any] | None:
    found: dict[str, Any] | None
    if isinstance(part, int):
        prefix = node.get("prefixItems", [])
        found = prefix[part] if part < len(prefix) else node.get("items")
    else:
        found = node.get("properties", {}).get(part)
    return found


def _properties(key: Key) -> dict[str, Any]:
    return dict((_node(key) or {}).get("properties", {}))


@cache
def _known_keys() -> tuple[Key, ...]:
    top = [(name,) for name in _properties(())]
    return (*top, *((*key, name) for key in top for name in _properties(key)))


def _kinds(node: dict[str, Any]) -> set[str]:
    return {str(case.get("type")) for case in _alternatives(node)}


def _choices(node: dict[str, Any]) -> list[str]:
    # The activation may be a mapping, or the name that its mapping would hold.
    return list(node.get("enum", ())) or list(node.get("properties", {}).get("name", {}).get("enum", ()))


def _expected(node: dict[str, Any] | None) -> str:
    """What a value must be, as the end of a sentence."""
    if not node:
        return "left out"
    if "enum" in node:
        return f"one of {', '.join(map(str, node['enum']))}"
    kind = node.get("type")
    if kind == "array":
        each = node.get("prefixItems") or [node["items"]]
        number = "whole numbers" if each[0]["type"] == "integer" else "numbers"
        return f"a list of {len(each)} {number}" if "prefixItems" in node else f"a list of {number}: [0, 1]"
    if kind == "boolean":
        return "true or false"
    if kind == "object":
        keys = ", ".join(node["properties"])
        return f"a name or a mapping with keys among {keys}" if _choices(node) else f"a mapping of {keys}"
    return ("a whole number" if kind == "integer" else "a number") + _range(node)


def _range(node: dict[str, Any]) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    parts = [
        f"{phrase} {node[bound]}"
        for bound, phrase in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "up to"),
            ("exclusiveMaximum", "below"),
        )
        if bound in node
    ]
    return f" {' and '.join(parts)}" if parts else ""


# The other way, and the rest of what a command line gives.


class _Dumper(yaml.SafeDumper):
    """Lists on one line, mappings in blocks, and no aliases, which the reader refuses."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)
)


def dump_experiment(experiment: Experiment) -> str:
    """YAML text of the experiment with every value explicit; reading it back gives the same digest."""
    values = experiment.resolved()
    # In the order of the model; the nested mappings already are.
    ordered = {name: values[name] for name in Experiment.model_fields}
    return yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, width=110, default_flow_style=False)


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds such as `3`, `0-4` or `0,2,5-7`.

    Raises BenchError for anything else, a range that runs backwards, a seed given twice, or over 1000 seeds.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,10})\s*(?:-\s*([0-9]{1,10})\s*)?", part)
        if not match:
            raise BenchError(
                f"--seeds {text}: {part.strip()!r} is no seed and no range; write 3, 0-4 or 0,2,5-7"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        _check_range(text, first, last, len(seeds))
        seeds += range(first, last + 1)
    twice = [seed for i, seed in enumerate(seeds) if seed in seeds[:i]]
    if twice:
        raise BenchError(f"--seeds {text}: seed {twice[0]} is given twice; list each once")
    return tuple(seeds)


def _check_range(text: str, first: int, last: int, before: int) -> None:
    if last < first:
        raise BenchError(f"--seeds {text}: the range {first}-{last} runs backwards; write {last}-{first}")
    if last >= 2**31:
        raise BenchError(f"--seeds {text}: {last} is too large; a seed is below {2**31}")
    if before + last - first + 1 > MAX_SEEDS:
        raise BenchError(f"--seeds {text}: more than {MAX_SEEDS} seeds; give fewer")


def json_schema() -> dict[str, Any]:
    """The config file's JSON Schema (draft 2020-12), for editors: every property with its description."""
    schema: dict[str, Any] = json.loads(json.dumps(_schema()))
    names = schema["$defs"]["Activation"]["properties"]["name"]["enum"]
    activation = schema["properties"]["activation"]
    schema["properties"]["activation"] = {
        "description": activation["description"],
        "anyOf": [{"type": "string", "enum": names}, {"$ref": activation["$ref"]}],
    }
    # YAML reads `source: 160` as a number.
    source = schema["properties"]["source"]["anyOf"][0]
    source["enum"] = [*source["enum"], *(int(name) for name in source["enum"] if name.isdigit())]
    del source["type"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
