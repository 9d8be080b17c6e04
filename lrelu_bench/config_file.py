"""From a YAML file and `--set` overrides to an `Experiment`, or one sentence per problem.

The rules are `lrelu_bench.config`'s; what a value must be is said from their JSON Schema, so that a field is
described once.
"""

import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lrelu_bench.config import Experiment
from lrelu_bench.config_schema import (
    expected,
    experiment_schema,
    hint,
    json_schema,
    misspelt,
    remedy_for_unknown,
    required_keys,
    schema_of,
)
from lrelu_bench.errors import BenchError
from lrelu_bench.strict_yaml import Document, Key, Place, key_name, parse, read_text, show

__all__ = ["checked", "dump_experiment", "json_schema", "load_experiment", "parse_seeds", "put"]

MAX_SEEDS = 1000
# After every line of a file (MAX_BYTES of them at most), in the order of the command line.
_COMMAND_LINE = 10_000_000
MAX_LINES = 50
Problems = dict[Key, list[tuple[Place, str]]]
"""By the key that each is about; those of the text and of several keys together under ()."""


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
        raise BenchError(f"{name}: the file is empty; it needs at least {', '.join(required_keys())}")
    if not isinstance(document.data, dict):
        raise BenchError(
            f"{document.places[()].text}: the file holds {show(document.data)}; "
            "it must be a mapping, `key: value` on each line"
        )
    document.places[()] = Place(0, name)
    for number, override in enumerate(overrides):
        shown = override if override.isprintable() and len(override) <= 80 else show(override)
        _override(document, override, Place(_COMMAND_LINE + number, f"--set {shown}"))
    if seeds is not None:
        place = Place(_COMMAND_LINE + len(overrides), "--seeds")
        put(document, ("seeds",), Document(list(seeds)), place)
    return _validated(document, name)


def _override(document: Document, override: str, place: Place) -> None:
    """Puts one `key.path=value` into the document, or its problem."""
    path, equals, text = override.partition("=")
    key: Key = tuple(path.strip().split("."))
    if not equals or not all(key):
        document.problems.append((place, "this is not key.path=value; write it as activation.leak=0.1"))
        return
    try:
        value = parse(text, lambda _: place)
    except BenchError as error:
        document.problems.append((place, error.in_one_line.removeprefix(f"{place.text}: ")))
        return
    if () not in value.places:
        document.problems.append((place, f"no value is given; {path}=null goes back to the default"))
        return
    put(document, key, value, place)


def put(document: Document, key: Key, value: Document, place: Place) -> None:
    """Set one key of a config, as `--set` does: the value takes the place of what is there.

    Where nothing can be set there, that goes into the document's problems.
    """
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
    experiment, found = checked(document)
    lines = [f"{place.text}: {text}" for place, text in found]
    if lines or experiment is None:
        raise BenchError(*_message(name, lines))
    return experiment


def checked(document: Document) -> tuple[Experiment | None, list[tuple[Place, str]]]:
    """The experiment of a config's mapping, or all that is wrong with it, in the order of the places."""
    problems = {(): document.problems} | {
        key: [(_place(document, key), sentence)] for key, sentence in _own_problems(document.data)
    }
    experiment = None
    try:
        # JSON, because pydantic's strict rules still take its lists for tuples and its objects for models.
        text = json.dumps(_prepared(document.data, ()))
        experiment = Experiment.model_validate_json(text, strict=True)
    except ValidationError as error:
        _translate(error, document, problems)
    _drop_missing_that_are_misspelt(document.data, problems)
    return experiment, sorted(itertools.chain(*problems.values()))


def _message(name: str, lines: list[str]) -> list[str]:
    if len(lines) == 1:
        return lines
    more = [f"... and {len(lines) - MAX_LINES} more"] if len(lines) > MAX_LINES else []
    return [f"{name}: {len(lines)} problems", *lines[:MAX_LINES], *more]


def _translate(error: ValidationError, document: Document, problems: Problems) -> None:
    """Adds pydantic's problems, one sentence each, where a key has none yet."""
    for detail in error.errors(include_url=False, include_input=False):
        key = tuple(detail["loc"])
        if detail["type"] == "value_error":
            problems[()].append(_cross_problem(document, key, str(detail["ctx"]["error"])))
        elif detail["type"] == "extra_forbidden":
            continue  # `_own_problems` tells more
        elif not any(key[:depth] in problems for depth in range(1, len(key) + 1)):
            problems[key] = [(_place(document, key), _field_problem(document.data, key))]


def _prepared(value: Any, key: Key) -> Any:
    """The data as JSON's strict rules want it: whole floats as integers, the source's number as its name."""
    if isinstance(value, dict):
        return {_encodable(name): _prepared(item, (*key, name)) for name, item in value.items()}
    if isinstance(value, list):
        return [_prepared(item, (*key, i)) for i, item in enumerate(value)]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None  # not JSON; `_own_problems` tells
        value = int(value) if value.is_integer() and abs(value) < 2**53 else value
    if key == ("source",) and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _encodable(value) if isinstance(value, str) else value


def _encodable(text: str) -> str:
    """Without lone surrogates, which JSON cannot hold; such a word is wrong wherever it stands."""
    return text.encode(errors="replace").decode()


def _own_problems(data: Any) -> Iterator[tuple[Key, str]]:
    """Unknown keys, and numbers that are not finite, in known ones."""
    yield from _unknown(data, (), experiment_schema())
    for key, value in _leaves(data, ()):
        if isinstance(value, float) and not math.isfinite(value) and schema_of(key) is not None:
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
        below = schema_of(here)
        if below is None:
            remedy = remedy_for_unknown(here, data)
            yield here, f"unknown key {key_name(here)} (value {show(value)}); {remedy}"
        else:
            yield from _unknown(value, here, below)


def _drop_missing_that_are_misspelt(data: Any, problems: Problems) -> None:
    for key in [key for key in problems if key and schema_of(key) is None]:
        meant = (*key[:-1], misspelt(key) or "")
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
    node = schema_of(key) or {}
    if not _has(data, key):
        if isinstance(key[-1], int):  # a list that is too short
            return _field_problem(data, key[:-1])
        return f"{key_name(key)} is missing; set it: {node.get('description', '')}"
    value = _at(data, key)
    sentence = f"{key_name(key)} is {show(value)}; it must be {expected(node)}"
    return sentence + hint(value, node)


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
    place = f"--seeds {text if len(text) <= 40 else show(text)}"
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,10})\s*(?:-\s*([0-9]{1,10})\s*)?", part)
        if not match:
            raise BenchError(f"{place}: {show(part.strip())} is no seed; write 3, 0-4 or 0,2,5-7")
        first, last = int(match[1]), int(match[2] or match[1])
        _check_range(place, first, last, len(seeds))
        seeds += range(first, last + 1)
    twice = [seed for i, seed in enumerate(seeds) if seed in seeds[:i]]
    if twice:
        raise BenchError(f"{place}: seed {twice[0]} is given twice; list each once")
    return tuple(seeds)


def _check_range(place: str, first: int, last: int, before: int) -> None:
    if last < first:
        raise BenchError(f"{place}: the range {first}-{last} runs backwards; write {last}-{first}")
    if last >= 2**31:
        raise BenchError(f"{place}: {last} is too large; a seed is below {2**31}")
    if before + last - first + 1 > MAX_SEEDS:
        raise BenchError(f"{place}: more than {MAX_SEEDS} seeds; give fewer")
