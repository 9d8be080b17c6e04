"""Reading SWEEP.yaml: a base config, axes, and what is left out or changed in some cells.

    base: woof128                # a shipped config, or a path from this file's folder; may be left out
    set: {epochs: 20}            # keys of the config, over the base; `activation.leak` is a key, too
    axes:                        # each a key and its values; the first varies slowest
      arch: [xresnet18, xresnet34]
      activation: [relu, learned_relu, {name: learned_relu, bounds: {leak: [0, 0.5]}}]
    seeds: 0-4                   # as `run --seeds`, or a list; left out, the base's
    exclude:                     # a cell where every key has the value, or one of the values in a list
      - {arch: xresnet34, activation: learned_relu}
    override:                    # in order: a later one wins
      - when: {arch: xresnet34}
        set: {batch_size: 64}
        seeds: 0-2

What the values of a config must be is not judged here but cell by cell, in `lrelu_bench.sweep.planner`.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from lrelu_bench.config_file import MAX_SEEDS, parse_seeds
from lrelu_bench.config_schema import remedy_for_unknown, schema_of
from lrelu_bench.errors import BenchError
from lrelu_bench.shipped import shipped_configs
from lrelu_bench.strict_yaml import Document, Key, Place, key_name, parse, read_text, show

MAX_CELLS = 10_000
"""How many cells the axes may span, excluded ones included."""
MAX_RULES = 200
"""How many entries `exclude` and `override` may have each."""
MAX_LINES = 50

_KEYS = ("base", "set", "axes", "seeds", "exclude", "override")
_OVERRIDE_KEYS = ("when", "set", "seeds")


@dataclass(frozen=True)
class Change:
    """One key of the config and what takes its place."""

    key: Key
    value: Document
    place: Place


@dataclass(frozen=True)
class Axis:
    """One key of the config and the values it goes through."""

    key: Key
    values: tuple[Document, ...]

    @property
    def name(self) -> str:
        """The key as the file writes it."""
        return ".".join(map(str, self.key))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        # From the last, so that of two alike the first counts.
        return {_canonical(one.data): number for number, one in reversed(list(enumerate(self.values)))}

    def index(self, value: Any) -> int | None:
        """Which of its values this is."""
        return self._numbers.get(_canonical(value))


Condition = Mapping[int, frozenset[int]]
"""By the number of an axis, the numbers of the values that it must have one of."""


@dataclass(frozen=True)
class Override:
    """What is different in the cells of a condition."""

    place: Place
    when: Condition
    changes: tuple[Change, ...] = ()
    seeds: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Sweep:
    """A sweep file, read: of one structure, whatever the values of its cells are worth."""

    name: str
    """The file as messages name it."""
    base: Document
    changes: tuple[Change, ...] = ()
    axes: tuple[Axis, ...] = ()
    seeds: tuple[int, ...] | None = None
    """None for those that the base config names."""
    excludes: tuple[Condition, ...] = ()
    overrides: tuple[Override, ...] = ()


def refused(name: str, lines: list[str], head: str = "") -> BenchError:
    """The error that names these problems of a file, one line each; `head` is the first line of several."""
    if len(lines) == 1 and not head:
        return BenchError(lines[0])
    more = [f"... and {len(lines) - MAX_LINES} more"] if len(lines) > MAX_LINES else []
    return BenchError(f"{name}: {head or f'{len(lines)} problems'}", *lines[:MAX_LINES], *more)


def load_sweep(path: Path) -> Sweep:
    """Read a sweep file and the base config that it names.

    Raises `BenchError` if one cannot be read, or anything but the values of its configs is wrong: all
    problems at once, one line each with its place, the value and the remedy.
    """
    name = str(path)
    document = parse(read_text(path), lambda line: Place(line + 1, f"{name}:{line + 1}"))
    if document.data is None:
        raise BenchError(f"{name}: the file is empty; it needs a base or set, and axes")
    if not isinstance(document.data, dict):
        raise BenchError(f"{document.places[()].text}: the file holds {show(document.data)}; {_A_MAPPING}")
    reader = _Reader(document, path)
    sweep = reader.sweep()
    if reader.problems:
        found = [f"{place.text}: {sentence}" for place, sentence in sorted(set(reader.problems))]
        raise refused(name, found)
    return sweep


_A_MAPPING = "it must be a mapping, `key: value` on each line"


@dataclass
class _Reader:
    document: Document
    path: Path
    problems: list[tuple[Place, str]] = field(init=False)

    def __post_init__(self) -> None:
        self.problems = list(self.document.problems)

    def sweep(self) -> Sweep:
        data = self.document.data
        for key in data:
            if key not in _KEYS:
                self.unknown((key,), _KEYS)
        if data.get("base") is None and data.get("set") is None:
            self.wrong((), "neither base nor set is given; give one or both, such as base: woof128")
        axes = tuple(self.axes())
        for number, axis in enumerate(axes):
            if hidden := next((one for one in axes[:number] if _is_below(one.key, axis.key)), None):
                sentence = f"axis {axis.name} replaces what axis {hidden.name} sets; write {axis.name} first"
                self.wrong(("axes", axis.name), sentence)
        changes = tuple(self.changes(("set",)))
        for change in changes:
            if hidden := next((one for one in axes if _is_below(change.key, one.key)), None):
                what = f"{key_name(change.key)} has no effect, because {hidden.name} is an axis; remove one"
                self.problems.append((change.place, what))
        cells = math.prod(len(axis.values) for axis in axes)
        if cells > MAX_CELLS:
            self.wrong(("axes",), f"the axes span {cells:,} cells; at most {MAX_CELLS:,} may be, split them")
        return Sweep(
            name=str(self.path),
            base=self.base(),
            changes=changes,
            axes=axes,
            seeds=self.seeds(("seeds",)),
            excludes=tuple(self.excludes(axes)),
            overrides=tuple(self.overrides(axes)),
        )

    def wrong(self, key: Key, sentence: str) -> None:
        """Notes a problem at the line of a key."""
        place = self.document.places[key] if key else Place(0, str(self.path))
        self.problems.append((place, sentence))

    def unknown(self, key: Key, known: tuple[str, ...]) -> None:
        near = get_close_matches(str(key[-1]), known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        self.wrong(key, f"unknown key {key_name(key)}; {hint}")

    def at(self, key: Key) -> Any:
        """What stands at a key; None where nothing does."""
        found = self.document.data
        for part in key:
            found = found.get(part) if isinstance(found, dict) else found[part]
        return found

    def part(self, key: Key) -> Document:
        """What stands at a key as a document of its own, with its places."""
        places: dict[Key, Place] = {}

        def walk(data: Any, below: Key) -> None:
            places[below] = self.document.places[key + below]
            names = data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
            for name in names:
                walk(data[name], (*below, name))

        data = self.at(key)
        walk(data, ())
        return Document(data, places)

    def base(self) -> Document:
        named = self.at(("base",))
        if named is None:
            return Document({}, {(): Place(0, str(self.path))})
        if not isinstance(named, str) or not named:
            self.wrong(("base",), f"base is {show(named)}; it must be a shipped config's name, or a path")
            return Document({})
        shipped = shipped_configs()
        # From this file's folder, wherever the command is given.
        path = shipped.get(named) or self.path.parent / named
        try:
            base = parse(read_text(path), lambda line: Place(line + 1, f"{path}:{line + 1}"))
        except BenchError as error:
            near = get_close_matches(named, shipped, 1)
            hint = f"; did you mean the shipped {near[0]}?" if near else ""
            self.wrong(("base",), f"base {show(named)}: {error.in_one_line}{hint}")
            return Document({})
        if not isinstance(base.data, dict):
            self.wrong(("base",), f"base {show(named)}: the file holds {show(base.data)}; {_A_MAPPING}")
            return Document({})
        base.places[()] = Place(0, str(path))
        return base

    def keys_of(self, key: Key) -> Iterator[tuple[Key, Key]]:
        """Every key of the config that a mapping here names, as its place in this file and in the config."""
        mapping = self.at(key)
        if mapping is None:
            self.wrong(key, f"{key_name(key)} is empty; give it keys of a config, or remove it")
            return
        if not isinstance(mapping, dict) or not mapping:
            self.wrong(key, f"{key_name(key)} is {show(mapping)}; it must be a mapping with keys of a config")
            return
        for name in mapping:
            here, known = (*key, name), tuple(name.split("."))
            if known[0] == "seeds":
                self.wrong(here, "seeds is no key here; it stands beside set and axes")
            elif schema_of(known) is None:
                remedy = remedy_for_unknown(known, {})
                self.wrong(here, f"unknown key {key_name(known)} of a config; {remedy}")
            else:
                yield here, known

    def changes(self, key: Key) -> Iterator[Change]:
        if self.at(key) is None and key not in self.document.places:
            return
        for here, known in self.keys_of(key):
            yield Change(known, self.part(here), self.document.places[here])

    def axes(self) -> Iterator[Axis]:
        if "axes" not in self.document.data:
            return
        for here, known in self.keys_of(("axes",)):
            values, name = self.at(here), here[-1]
            if not isinstance(values, list) or not values:
                self.wrong(here, f"axis {name} is {show(values)}; it must be a list of one or more values")
                continue
            axis = Axis(known, tuple(self.part((*here, number)) for number in range(len(values))))
            for number, value in enumerate(values):
                if axis.index(value) != number:
                    self.wrong((*here, number), f"axis {name} has {show(value)} twice; list it once")
            yield axis

    def seeds(self, key: Key) -> tuple[int, ...] | None:
        if key not in self.document.places:
            return None
        value = self.at(key)
        if value is None:
            self.wrong(key, f"{key_name(key)} is empty; give it 3, 0-4 or a list, or remove it")
            return None
        if isinstance(value, str):
            try:
                return parse_seeds(value)
            except BenchError as error:
                self.wrong(key, f"seeds {show(value)}: {error.in_one_line.partition(': ')[2]}")
                return None
        seeds = value if isinstance(value, list) else [value]
        sentence = None
        bad = [seed for seed in seeds if type(seed) is not int or not 0 <= seed < 2**31]
        if bad or not seeds:
            sentence = f"seeds is {show(value)}; it must be 3, 0-4, or a list of whole numbers from 0"
        elif len(set(seeds)) != len(seeds):
            sentence = f"seeds is {show(value)}; list each once"
        elif len(seeds) > MAX_SEEDS:
            sentence = f"seeds lists {len(seeds)}; give at most {MAX_SEEDS}"
        if sentence:
            self.wrong(key, sentence)
            return None
        return tuple(seeds)

    def rules(self, key: str, form: str) -> Iterator[Key]:
        """The key of each entry of a list of mappings."""
        if (key,) not in self.document.places:
            return
        entries = self.at((key,))
        if not isinstance(entries, list) or not entries:
            self.wrong((key,), f"{key} is {show(entries)}; it must be a list, each entry {form}")
        elif len(entries) > MAX_RULES:
            self.wrong((key,), f"{key} has {len(entries):,} entries; at most {MAX_RULES} may be")
        else:
            for number, entry in enumerate(entries):
                if isinstance(entry, dict):
                    yield (key, number)
                else:
                    self.wrong((key, number), f"{key}[{number}] is {show(entry)}; it must be {form}")

    def excludes(self, axes: tuple[Axis, ...]) -> Iterator[Condition]:
        for key in self.rules("exclude", "{axis: value}"):
            condition = self.condition(key, axes)
            if condition is not None:
                yield condition

    def overrides(self, axes: tuple[Axis, ...]) -> Iterator[Override]:
        for key in self.rules("override", "{when: {axis: value}, set: {key: value}}"):
            entry = self.at(key)
            for name in entry:
                if name not in _OVERRIDE_KEYS:
                    self.unknown((*key, name), _OVERRIDE_KEYS)
            if "when" not in entry:
                self.wrong(key, f"{key_name(key)} has no when; for every cell, use set and seeds at the top")
                continue
            condition = self.condition((*key, "when"), axes)
            changes = tuple(self.changes((*key, "set")))
            seeds = self.seeds((*key, "seeds"))
            if "set" not in entry and "seeds" not in entry:
                self.wrong(key, f"{key_name(key)} changes nothing; give it set or seeds")
            for change in changes:
                if replaced := next((axis for axis in axes if _is_below(axis.key, change.key)), None):
                    what = f"{key_name(change.key)} would replace what axis {replaced.name} sets; remove it"
                    self.problems.append((change.place, what))
            if condition is not None:
                yield Override(self.document.places[key], condition, changes, seeds)

    def condition(self, key: Key, axes: tuple[Axis, ...]) -> Condition | None:
        """Which cells a mapping from axes to values is about; None where that is wrong."""
        mapping = self.at(key)
        if not isinstance(mapping, dict) or not mapping:
            self.wrong(key, f"{key_name(key)} is {show(mapping)}; it must name an axis and its value")
            return None
        names = [axis.name for axis in axes]
        condition = {}
        for name, value in mapping.items():
            here = (*key, name)
            if name not in names:
                near = get_close_matches(name, names, 1)
                hint = f"did you mean {near[0]}?" if near else f"the axes: {', '.join(names) or 'none'}"
                self.wrong(here, f"{key_name(here)} is no axis; {hint}")
                continue
            axis = axes[names.index(name)]
            # A value that is a list itself is meant before a list of values is.
            several = axis.index(value) is None and isinstance(value, list) and value
            found = {show(one): axis.index(one) for one in (value if several else [value])}
            for shown in [shown for shown, index in found.items() if index is None]:
                self.wrong(here, f"{key_name(here)} is {shown}, and matches no cell; {_values(axis, shown)}")
            condition[names.index(name)] = frozenset(i for i in found.values() if i is not None)
        return condition if len(condition) == len(mapping) else None


def _values(axis: Axis, shown: str) -> str:
    values = [show(one.data) for one in axis.values]
    near = get_close_matches(shown, values, 1)
    return f"did you mean {near[0]}?" if near else f"axis {axis.name} has {', '.join(values[:9])}"


def _is_below(key: Key, above: Key) -> bool:
    """Whether setting `above` replaces `key`, too: it is the same one, or one that holds it."""
    return key[: len(above)] == above


def _canonical(value: Any) -> str:
    """The same text for two values that a config cannot tell apart: 5 and 5.0, a name and its mapping."""

    def plain(one: Any) -> Any:
        if isinstance(one, dict):
            if one.keys() == {"name"}:
                return plain(one["name"])
            return {name: plain(inner) for name, inner in one.items()}
        if isinstance(one, list):
            return [plain(inner) for inner in one]
        return int(one) if isinstance(one, float) and one.is_integer() else one

    return json.dumps(plain(value), sort_keys=True)
