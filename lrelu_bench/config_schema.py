"""What the config file's JSON Schema says of a key: whether it is known, and what its value must be."""

import json
import re
from difflib import get_close_matches
from functools import cache
from typing import Any

from lrelu_bench.activations import ACTIVATIONS
from lrelu_bench.config import Experiment
from lrelu_bench.strict_yaml import Key, is_number, key_name


@cache
def experiment_schema() -> dict[str, Any]:
    """The model's own schema, before what YAML adds (`json_schema`). Not to be changed."""
    return Experiment.model_json_schema()


def required_keys() -> list[str]:
    """The keys that every config sets."""
    return list(experiment_schema()["required"])


def _alternatives(node: dict[str, Any]) -> list[dict[str, Any]]:
    """The node's cases with references followed, null apart (leaving the key out says the same)."""
    if "$ref" in node:
        return [experiment_schema()["$defs"][node["$ref"].rpartition("/")[2]]]
    if "anyOf" in node:
        return [case for option in node["anyOf"] for case in _alternatives(option)]
    return [] if node.get("type") == "null" else [node]


def schema_of(key: Key) -> dict[str, Any] | None:
    """The schema's entry for a key, with its description; None for a key it does not know."""
    node = experiment_schema()
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
        # Where any name may stand, `additionalProperties` is what its value must be; elsewhere it is false.
        found = node.get("properties", {}).get(part) or node.get("additionalProperties") or None
    return found


def _properties(key: Key) -> dict[str, Any]:
    return dict((schema_of(key) or {}).get("properties", {}))


@cache
def _known_keys() -> tuple[Key, ...]:
    top = [(name,) for name in _properties(())]
    below = [(*key, name) for key in top for name in _properties(key)]
    # A mapping of free names in the schema; the package's own activations have these.
    options = {("activation", *name.split(".")): None for spec in ACTIVATIONS.values() for name in spec.keys}
    return (*top, *below, *(key for key in options if key not in below))


def _kinds(node: dict[str, Any]) -> set[str]:
    return {str(case.get("type")) for case in _alternatives(node)}


def _names(node: dict[str, Any]) -> dict[str, Any]:
    # The activation may be a mapping, or the name that its mapping would hold.
    named: dict[str, Any] = node.get("properties", {}).get("name", node)
    return named


def _choices(node: dict[str, Any]) -> list[str]:
    return [choice for case in _alternatives(_names(node)) for choice in case.get("enum", ())]


def expected(node: dict[str, Any] | None) -> str:
    """What a value must be, as the end of a sentence."""
    if not node:
        return "left out"
    if "anyOf" in node:
        return ", or ".join(expected(case) for case in _alternatives(node))
    if "enum" in node:
        return f"one of {', '.join(map(str, node['enum']))}"
    return _of_its_type(node)


def _of_its_type(node: dict[str, Any]) -> str:
    kind = node.get("type")
    if kind == "string":
        return " such as ".join(["text", *map(str, node.get("examples", ())[:1])])
    if kind == "array":
        return _expected_list(node)
    if kind == "boolean":
        return "true or false"
    if kind == "object":
        return _expected_mapping(node)
    return ("a whole number" if kind == "integer" else "a number") + _range(node)


def _expected_list(node: dict[str, Any]) -> str:
    each = node.get("prefixItems") or [node["items"]]
    if each[0]["type"] == "string":
        return "a list of names: [leak, sub]"
    number = "whole numbers" if each[0]["type"] == "integer" else "numbers"
    return f"a list of {len(each)} {number}" if "prefixItems" in node else f"a list of {number}: [0, 1]"


def _expected_mapping(node: dict[str, Any]) -> str:
    if "properties" not in node:
        return f"a mapping from each name to {expected(node['additionalProperties'])}"
    keys = ", ".join(node["properties"])
    return f"a name, or a mapping of {keys}" if _choices(node) else "a mapping, or left out"


def _range(node: dict[str, Any]) -> str:
    if "minimum" in node and "maximum" in node:
        return f" from {_number(node['minimum'])} to {_number(node['maximum'])}"
    if node.get("type") == "integer" and {"minimum", "exclusiveMaximum"} <= set(node):
        return f" from {node['minimum']} to {node['exclusiveMaximum'] - 1}"
    phrases = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    bounds = [f"{phrase} {_number(node[bound])}" for bound, phrase in phrases.items() if bound in node]
    return f" {' and '.join(bounds)}" if bounds else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def remedy_for_unknown(key: Key, beside: dict[str, Any]) -> str:
    """What was probably meant by an unknown key."""
    elsewhere = [known for known in _known_keys() if known[-1] == key[-1]]
    if elsewhere:
        return f"did you mean {' or '.join(map(key_name, elsewhere))}?"
    near = misspelt(key)
    if near:
        return f"did you mean {near}?"
    known = [name for name in _properties(key[:-1]) if name not in beside]
    return f"remove it, or use one of {', '.join(known)}" if known else "remove it"


def misspelt(key: Key) -> str | None:
    """The known key of the same mapping that `key` resembles."""
    near = get_close_matches(str(key[-1]), list(_properties(key[:-1])), n=1)
    return near[0] if near else None


def hint(value: Any, node: dict[str, Any]) -> str:
    """What was probably meant by a wrong value, to follow the sentence; empty without a good guess."""
    if not isinstance(value, str):
        return ""
    kinds = _kinds(node)
    # Names that differ in their number only (xresnet101, xresnet50) mean different things.
    for near in get_close_matches(value, _choices(node), n=5):
        if re.sub("[0-9]", "", near) != re.sub("[0-9]", "", value):
            return f"; did you mean {near}?"
    with_class = ":".join(value.rsplit(".", 1))
    patterns = [case["pattern"] for case in _alternatives(_names(node)) if "pattern" in case]
    if any(re.search(pattern, with_class) for pattern in patterns):
        return f"; did you mean {with_class}?"
    if kinds & {"number", "integer"} and is_number(value):
        return "; remove the quotes"
    words = {"yes": "true", "on": "true", "no": "false", "off": "false"}
    word = words.get(value.lower(), value.lower())
    return f"; write {word}" if "boolean" in kinds and word in ("true", "false") else ""


def json_schema() -> dict[str, Any]:
    """The config file's JSON Schema (draft 2020-12), for editors: every property with its description."""
    schema: dict[str, Any] = json.loads(json.dumps(experiment_schema()))
    names = schema["$defs"]["Activation"]["properties"]["name"]["anyOf"]
    activation = schema["properties"]["activation"]
    schema["properties"]["activation"] = {
        "description": activation["description"],
        "anyOf": [*names, {"$ref": activation["$ref"]}],
    }
    # YAML reads `source: 160` as a number.
    source = schema["properties"]["source"]["anyOf"][0]
    source["enum"] = [*source["enum"], *(int(name) for name in source["enum"] if name.isdigit())]
    del source["type"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
