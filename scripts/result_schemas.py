"""Write the JSON Schemas of a run's files into the package, from the classes that the files are made of.

    python scripts/result_schemas.py            # after a field was added or described otherwise
    python scripts/result_schemas.py --check    # exits with 1 where the files are not those of the classes

A schema of an older version stays as it is: older results were written by it, and are still read.
"""

import argparse
import ast
import inspect
import json
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from textwrap import dedent
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from lrelu_bench import schemas
from lrelu_bench.results import (
    EPOCH_RANGE,
    EPOCH_RANGES,
    LEAST,
    SCHEMA_VERSION,
    Divergence,
    EpochRow,
    RunResult,
)
from lrelu_bench.typed_json import LARGEST_INTEGER, LONGEST_TEXT, MOST_ITEMS

FOLDER = Path(schemas.__file__).parent
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean", NoneType: "null"}
_LIMITS: dict[Any, dict[str, Any]] = {
    int: {"minimum": -LARGEST_INTEGER, "maximum": LARGEST_INTEGER},
    str: {"maxLength": LONGEST_TEXT},
}
_OPTION = {"type": ["number", "string", "boolean", "null"], "maxLength": LONGEST_TEXT}
_INTERVAL = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
_ACTIVATION = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "maxLength": LONGEST_TEXT},
        "learn": {"type": ["array", "null"], "items": {"type": "string"}},
        "bounds": {
            "type": ["object", "null"],
            "additionalProperties": {
                "type": "array",
                "items": {"type": "number"},
                "minItems": 2,
                "maxItems": 2,
            },
        },
        "options": {"type": ["object", "null"], "additionalProperties": {"type": "number"}},
    },
    "additionalProperties": _OPTION,
}
_TEXT = {"type": "string"}
_OR_NULL = {"type": ["string", "null"]}
_COUNT = {"type": "integer", "minimum": 0}
_ENVIRONMENT: dict[str, tuple[str, dict[str, Any]]] = {
    "versions": (
        "Installed versions by package; `cuda` is the one that torch was built for, or null.",
        {"type": "object", "additionalProperties": _OR_NULL},
    ),
    "system": ("The operating system.", _TEXT),
    "cpu": ("The processor.", _TEXT),
    "cpu_capability": ("The instructions that torch uses of it.", _TEXT),
    "cores": ("Processor cores that the run could use.", {"type": ["integer", "null"]}),
    "threads": ("Threads that torch used.", _COUNT),
    "gpu": (
        "The GPU, or null.",
        {
            "type": ["object", "null"],
            "properties": {
                "name": _TEXT,
                "memory_bytes": _COUNT,
                "count": _COUNT,
                "cudnn": {"type": ["integer", "null"]},
            },
        },
    ),
    "commit": ("Commit of the checkout that the package ran from, or null.", _OR_NULL),
    "data": (
        "Digest of the data, and whether its bytes are the official release's.",
        {"type": "object", "properties": {"digest": _TEXT, "official": {"type": "boolean"}}},
    ),
    "input": ("What made the batches.", {}),
    "cuda_graph": ("Whether steps were captured as CUDA graphs.", {"type": "boolean"}),
    "compile": ("Whether it trained through torch.compile.", {"type": "boolean"}),
    "runs_at_once": ("Seeds that trained at once, this one included.", {"type": "integer", "minimum": 1}),
    "earlier": (
        "Of a run that was taken up again: the environments of its earlier parts, in their order.",
        {"type": "array", "items": {"type": "object"}},
    ),
}
"""A mapping of the run's, not a class; by key, what it says. None is required: older runs have fewer."""


def result_schemas() -> dict[str, str]:
    """Every file's name and text."""
    result = _of_class(RunResult)
    result["properties"]["schema_version"] = {
        "const": SCHEMA_VERSION,
        "description": "Of all the run's files.",
    }
    result["properties"]["activation"] = {
        "description": result["properties"]["activation"]["description"],
        **_ACTIVATION,
    }
    for name, least in LEAST.items():
        result["properties"][name]["minimum"] = least
    for name in ("final_accuracy", "best_accuracy"):
        result["properties"][name] |= {"minimum": 0, "maximum": 1}
    epochs = _of_class(EpochRow)
    for name, kind in epochs["properties"].items():
        if kind["type"] == "number":
            epochs["properties"][name]["type"] = ["number", "null"]
        low, high = EPOCH_RANGES.get(name, EPOCH_RANGE)
        epochs["properties"][name] |= {"minimum": low, "maximum": high}
    epochs["description"] += " A line of the file; null is what was not finite."
    described = {name: {"description": sentence, **kind} for name, (sentence, kind) in _ENVIRONMENT.items()}
    environment = {"description": "What a run ran on and with.", "type": "object", "properties": described}
    titled = {"result": ("result.json", result), "epochs": ("A line of epochs.jsonl", epochs)}
    titled["environment"] = ("environment.json", environment)
    return {
        f"{name}-{SCHEMA_VERSION}.json": _text(name, title, schema)
        for name, (title, schema) in titled.items()
    }


def _text(name: str, title: str, schema: dict[str, Any]) -> str:
    head = {"$schema": _DRAFT, "$id": f"lrelu-bench:{name}-{SCHEMA_VERSION}", "title": f"lrelu-bench {title}"}
    return json.dumps(head | schema, indent=2) + "\n"


def _of_class(kind: type) -> dict[str, Any]:
    """An object with the class's fields; those with a `default_factory` came later and may be missing."""
    sentences = _sentences(kind)
    properties: dict[str, Any] = {}
    for one in fields(kind):
        sentence = sentences.get(one.name)
        properties[one.name] = ({"description": sentence} if sentence else {}) | _of_type(one.type)
    return {
        "description": " ".join(inspect.cleandoc(kind.__doc__ or "").split()),
        "type": "object",
        "required": [one.name for one in fields(kind) if one.default_factory is MISSING],
        "properties": properties,
    }


def _of_type(kind: Any) -> dict[str, Any]:
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        return {"type": "array", "maxItems": MOST_ITEMS, "items": _of_type(item)}
    if isinstance(kind, UnionType):
        cases = [_of_type(case) for case in get_args(kind)]
        joined: dict[str, Any] = {key: value for case in cases for key, value in case.items()}
        return joined | {"type": [case["type"] for case in cases]}
    if kind is Divergence:
        return _of_class(kind)
    # What is below a mapping's keys, its field alone knows.
    return {"type": _TYPES.get(kind, "object"), **_LIMITS.get(kind, {})}


def _sentences(kind: type) -> dict[str, str]:
    """What stands below each field in the class's source."""
    (tree,) = ast.parse(dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
        ):
            found[field.target.id] = " ".join(ast.literal_eval(below.value).split())
    return found


def stale() -> list[str]:
    """The files that are not what the classes say."""
    texts = result_schemas()
    return [
        name
        for name, text in texts.items()
        if not (FOLDER / name).exists() or (FOLDER / name).read_text() != text
    ]


def main() -> None:
    """Write the files, or check them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    names = stale()
    if parser.parse_args().check:
        print("\n".join(f"{FOLDER / name}: stale; run scripts/result_schemas.py" for name in names))
        sys.exit(bool(names))
    for name in names:
        (FOLDER / name).write_text(result_schemas()[name])
        print(f"wrote {FOLDER / name}")


if __name__ == "__main__":
    main()
