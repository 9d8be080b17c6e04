"""Whether a run may go on from what it saved: only as the run that it was."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrelu_bench import environment, plain_file
from lrelu_bench.checkpoint_header import DamagedError, in_order, require_readable, require_whole
from lrelu_bench.config import Experiment
from lrelu_bench.config_file import dump_experiment
from lrelu_bench.errors import BenchError
from lrelu_bench.run_folder import RunFolder
from lrelu_bench.strict_yaml import Place, parse
from lrelu_bench.unit import Unit

_LARGEST_ENVIRONMENT = 1_000_000
_NAMES = {"code": "code of lrelu-bench", "data": "data digest", "compute": "computed on"}


def config_text(experiment: Experiment, seed: int) -> str:
    """The config of one run: every value written out, and its one seed."""
    return dump_experiment(experiment.model_copy(update={"seeds": (seed,)}))


def identity(unit: Unit, data_digest: str) -> dict[str, str]:
    """What must be the same for a run to go on: config with seed, code, data, and what it is computed in.

    Captured steps have an optimizer of their own, whose state another does not understand.
    """
    from lrelu_bench.training.captured import captures

    experiment = unit.experiment
    captured = captures(unit.compute, experiment.effective_recipe, experiment.activation)
    how = ", steps captured as CUDA graphs" if captured else ""
    return {
        "config": config_text(unit.experiment, unit.seed),
        "code": environment.code_digest(),
        "data": data_digest,
        "compute": f"{unit.compute.device.type} in {unit.compute.precision}{how}",
    }


def begun_here(folder: RunFolder) -> bool:
    """Whether a run in this folder has saved something to go on from."""
    return bool(in_order(folder.path)[0])


def require_same(folder: RunFolder, now: Mapping[str, str]) -> None:
    """Raises `BenchError` with every difference where the run begun in `folder` is another than `now`.

    `now` is an `identity`, or a part of one. Raises it as well where what was saved cannot be read.
    """
    require_readable(folder.path)
    for path, about in in_order(folder.path)[0]:
        differences = _differences(about.identity, now)
        if not differences:
            return
        try:
            require_whole(path)
        except DamagedError:
            continue  # what differs may be no more than a bit that flipped
        raise BenchError(
            f"{path}: the run begun here ({about.where}) is another one: {'; '.join(differences)}; "
            "go back to what it was begun with, or train anew with --force, which discards it"
        )


def discard_others(folder: RunFolder, now: Mapping[str, str]) -> bool:
    """Delete the run begun in `folder` unless it is the one of the identity `now`; whether there was one."""
    try:
        require_same(folder, now)
    except BenchError:
        folder.clear()
        return True
    return False


def _differences(there: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    found = [
        f"{_NAMES.get(key, key)} {there.get(key, 'not known')} there, {value} now"
        for key, value in now.items()
        if key != "config" and there.get(key) != value
    ]
    if "config" in now and there.get("config") != now["config"]:
        found += _config_differences(there.get("config", ""), now["config"])
    return found


def _config_differences(there: str, now: str) -> list[str]:
    """Every key whose value differs, by its path."""
    old, new = _flat(there), _flat(now)
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return [f"{key} {old.get(key, 'not set')} there, {new.get(key, 'not set')} now" for key in keys] or [
        "the config's text differs"
    ]


def _flat(text: str) -> dict[str, str]:
    try:
        # Not `yaml.safe_load`: the text comes out of a file, and its aliases may be a bomb.
        loaded = parse(text, lambda line: Place(line, f"line {line + 1}")).data
    except BenchError:
        return {}
    found: dict[str, str] = {}

    def walk(path: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{path}.{key}" if path else str(key), inner)
        else:
            found[path] = json.dumps(value, default=str)

    walk("", loaded)
    return found


def with_earlier(folder: Path, now: Mapping[str, Any]) -> dict[str, Any]:
    """The environment `now` of a run that is taken up again, with the others it has been trained in.

    They stand under `earlier`, the oldest first; where only the same one served, there is none.
    """
    try:
        before = json.loads(plain_file.read_text(folder / "environment.json", _LARGEST_ENVIRONMENT))
    except (BenchError, ValueError, RecursionError):
        return dict(now)
    if not isinstance(before, dict):
        return dict(now)
    earlier = before.pop("earlier", [])
    earlier = earlier if isinstance(earlier, list) else []
    # As the file will have it: tuples are lists there.
    if before != json.loads(json.dumps(now)):
        earlier = [*earlier, before]
    return {**now, "earlier": earlier} if earlier else dict(now)


def other_hardware(environment_now: Mapping[str, Any]) -> str | None:
    """A sentence where a run's last part ran on or with something else than this, which moves last bits."""
    earlier = environment_now.get("earlier")
    if not earlier:
        return None
    changes = [
        f"{what} {_at(earlier[-1], path)} then, {_at(environment_now, path)} now"
        for what, path in {
            "torch": "versions.torch",
            "pillow": "versions.pillow",
            "CPU": "cpu",
            "instructions": "cpu_capability",
            "threads": "threads",
            "GPU": "gpu.name",
            "input": "input",
            "torch.compile": "compile",
        }.items()
        if _at(earlier[-1], path) != _at(environment_now, path)
    ]
    return f"not the same bits as without a stop: {'; '.join(changes)}" if changes else None


def _at(values: Any, path: str) -> Any:
    for key in path.split("."):
        values = values.get(key) if isinstance(values, dict) else None
    return values
