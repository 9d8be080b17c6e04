"""The command that trains a row again, from what its runs recorded."""

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

from lrelu_bench.config import Experiment
from lrelu_bench.config_file import load_experiment
from lrelu_bench.errors import BenchError
from lrelu_bench.report.compare import CompareRow
from lrelu_bench.shipped import shipped_configs

CONFIG = "config.yaml"
_FIRST = ("dataset", "version", "subset", "size", "arch", "activation", "protocol", "epochs", "on_divergence")
"""What the other values follow from, unless a config sets them itself."""


def command(row: CompareRow) -> str:
    """`lrelu-bench run woof128 --set arch=xresnet34 --seeds 0-4`: a shipped config with the fewest changes.

    Read back, it is the row's own experiment, digest for digest. Raises `BenchError` where the runs' config
    cannot be read, is not the one that they recorded, or no shipped config comes to it.
    """
    run = row.runs[0]
    path = run.folder / CONFIG
    experiment = load_experiment(path)
    if experiment.digest != run.result.config_digest:
        raise BenchError(
            f"{path}: is of digest {experiment.digest}, its run of {run.result.config_digest}; "
            "bring back the one that the run wrote"
        )
    found = [
        ["lrelu-bench", "run", name, *words]
        for name, shipped in shipped_configs().items()
        if (words := _changes(name, load_experiment(shipped), experiment)) is not None
    ]
    if not found:
        raise BenchError(f"{path}: no shipped config comes to it with `--set`")
    return shlex.join([*min(found, key=len), "--seeds", seeds_in_words(row.seeds)])


def seeds_in_words(seeds: tuple[int, ...]) -> str:
    """Seeds as `--seeds` reads them, such as `0-2,5`."""
    spans: list[list[int]] = []
    for seed in sorted(seeds):
        if spans and seed == spans[-1][1] + 1:
            spans[-1][1] = seed
        else:
            spans.append([seed, seed])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)


def _changes(name: str, base: Experiment, goal: Experiment) -> list[str] | None:
    """The `--set` words from a shipped config to an experiment; None where there are none that come to it."""
    words: list[str] = []
    for only_first in (True, False):
        have, want = base.resolved(), goal.resolved()
        words += list(_differences(have, want, only_first))
        try:
            base = load_experiment(shipped_configs()[name], words[1::2])
        except BenchError:
            return None
        if base.digest == goal.digest:
            return words
    return None


def _differences(have: dict[str, Any], want: dict[str, Any], only_first: bool) -> Iterator[str]:
    for key, value in want.items():
        if key == "seeds" or have[key] == value or (only_first and key not in _FIRST):
            continue
        if key == "activation":
            yield from ("--set", f"activation={_activation(value)}")
        elif key == "recipe":
            changed = {name: inner for name, inner in value.items() if have[key].get(name) != inner}
            for name, inner in changed.items():
                yield from ("--set", f"recipe.{name}={_flow(inner)}")
        else:
            yield from ("--set", f"{key}={_flow(value)}")


def _activation(values: dict[str, Any]) -> str:
    """The name and no more options than it takes to come to these values."""
    least = dict(values)
    for key in values.keys() - {"name"}:
        fewer = {other: value for other, value in least.items() if other != key}
        if _resolves_to(fewer, values):
            least = fewer
    return _flow(least) if len(least) > 1 else str(least["name"])


def _resolves_to(activation: dict[str, Any], values: dict[str, Any]) -> bool:
    some = next(iter(shipped_configs().values()))
    try:
        experiment = load_experiment(some, [f"activation={_flow(activation)}"])
    except BenchError:
        return False
    resolved: dict[str, Any] = experiment.resolved()["activation"]
    return resolved == values


def _flow(value: Any) -> str:
    """A value as YAML on one line, without quotes where none are needed."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w.:-]*", value):
        return value
    return json.dumps(value)
