"""The shipped configs: each loads, says what it is for, and stays what it claims to be."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from lrelu_bench.config_file import json_schema, load_experiment

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
every_config = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)


def test_the_promised_configs_ship() -> None:
    promised = {"quickstart", "smoke", "woof128", "woof128-v2", "woof192", "nette128", "nette192", "mnist"}
    assert promised <= {path.stem for path in CONFIGS}


@every_config
def test_loads(path: Path) -> None:
    load_experiment(path)


@every_config
def test_header_says_purpose_command_time_and_accuracy(path: Path) -> None:
    header = path.read_text().partition("\n\n")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    for entry in ("Purpose", "Command", "Expected time", "Expected accuracy"):
        assert re.search(rf"^# {entry}: \S", header, re.MULTILINE), entry


@every_config
def test_command_names_the_file(path: Path) -> None:
    command = re.search(r"^# Command: (.+)$", path.read_text(), re.MULTILINE)
    assert command
    assert command[1] == f"lrelu-bench run {path.relative_to(ROOT).as_posix()}"


@every_config
def test_valid_by_the_json_schema(path: Path) -> None:
    jsonschema.Draft202012Validator(json_schema()).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("name", ["woof128", "woof128-v2", "woof192", "nette128", "nette192"])
def test_a_cell_follows_its_protocol(name: str) -> None:
    assert load_experiment(ROOT / f"configs/{name}.yaml").protocol_label == "leaderboard-2019"


def test_mnist_follows_its_protocol() -> None:
    assert load_experiment(ROOT / "configs/mnist.yaml").protocol_label == "course-mnist"


def test_v2_sibling_differs_in_the_version_only() -> None:
    def values(name: str) -> dict[str, Any]:
        return load_experiment(ROOT / f"configs/{name}.yaml").resolved()

    v1, v2 = values("woof128"), values("woof128-v2")
    assert {key for key in v1 if v1[key] != v2[key]} == {"version"}
