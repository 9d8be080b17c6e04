"""A run's files are a contract: its schemas are those of the classes, and all ever written still loads.

`fixtures/results` has a run of each shape that the files ever had, by the commit that changed it:
`first-result` and `first-diverged` (NaN in epochs.jsonl), `mnist` (no source), `with-telemetry`, `options`
(options of learning in config and result, divergences, four keys more in environment.json) and `diverged`.
"""

import json
import math
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import result_schemas
from hostile import values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from run_results import ONE, save

from lrelu_bench import environment
from lrelu_bench.config_file import load_experiment
from lrelu_bench.errors import BenchError
from lrelu_bench.predictions_file import Predictions
from lrelu_bench.results import Divergence, load_epochs, load_result
from lrelu_bench.schemas import schema_text
from lrelu_bench.telemetry_file import Telemetry

ROOT = Path(__file__).parents[1]
SHAPES = sorted((ROOT / "tests" / "fixtures" / "results").iterdir())
SHIPPED = sorted(ROOT.glob("results/*/seed-*"))
FILES = ("result", "epochs", "environment")
VALIDATORS = {of: Draft202012Validator(json.loads(schema_text(of))) for of in FILES}


def strict(text):
    """JSON as the standard has it, and what the first versions wrote for what is not finite as null."""
    return json.loads(text, parse_constant=lambda _: None)


def test_the_schemas_in_the_package_are_those_of_the_classes():
    assert result_schemas.stale() == [], "run scripts/result_schemas.py"
    for validator in VALIDATORS.values():
        Draft202012Validator.check_schema(validator.schema)


def test_a_stale_schema_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(result_schemas, "FOLDER", tmp_path)
    assert result_schemas.stale() == ["result-1.json", "epochs-1.json", "environment-1.json"]
    monkeypatch.setattr(sys, "argv", ["result_schemas.py"])
    result_schemas.main()
    assert result_schemas.stale() == []
    (tmp_path / "epochs-1.json").write_text("{}")
    assert result_schemas.stale() == ["epochs-1.json"]


def test_every_field_of_a_result_is_described_where_its_class_describes_it():
    properties = VALIDATORS["result"].schema["properties"]
    assert properties.keys() == asdict(ONE).keys()
    assert properties["final_accuracy"]["description"] == "Accuracy after the last epoch: the result."
    assert properties["divergences"]["items"]["properties"]["step"]["description"].startswith(
        "Optimizer step"
    )


@pytest.mark.parametrize(
    "folder", [*SHAPES, *SHIPPED], ids=lambda path: f"{path.parent.name[:30]}-{path.name}"
)
def test_all_that_was_ever_written_loads_and_keeps_the_contract(folder):
    assert load_result(folder).schema_version == 1
    assert load_epochs(folder)
    load_experiment(folder / "config.yaml")
    VALIDATORS["result"].validate(strict((folder / "result.json").read_text()))
    VALIDATORS["environment"].validate(strict((folder / "environment.json").read_text()))
    for line in (folder / "epochs.jsonl").read_text().splitlines():
        VALIDATORS["epochs"].validate(strict(line))
    if (folder / "predictions.npz").exists():
        assert Predictions.load(folder).correct.size == load_result(folder).valid_images
    if (folder / "telemetry.npz").exists():
        assert len(Telemetry.load(folder).step) > 1


def test_what_is_not_finite_is_nan_whichever_version_wrote_it():
    for name in ("first-diverged", "diverged"):
        rows = load_epochs(ROOT / "tests" / "fixtures" / "results" / name)
        assert math.isnan(rows[1].train_loss)
        assert math.isnan(rows[1].valid_loss)
        assert (rows[1].epoch, math.isfinite(rows[1].accuracy)) == (2, True)


@pytest.mark.parametrize("line", [("compare",), ("report",), ("claims",)])
def test_no_shape_is_skipped(call, line):
    code, out, err = call(line[0], SHAPES[0].parent)
    assert (code, err) == (0, "")
    assert "skipped" not in out.lower()


def test_what_this_machine_is_keeps_the_contract():
    found = environment.describe() | {"data": {"digest": "x", "official": True}, "input": "pillow"}
    found |= {"cuda_graph": False, "compile": False, "runs_at_once": 1, "earlier": [dict(found)]}
    VALIDATORS["environment"].validate(json.loads(json.dumps(found)))


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        (
            2,
            "schema_version 2 but this lrelu-bench reads 1: written by a newer lrelu-bench; upgrade",
        ),
        (0, "schema_version 0 but this lrelu-bench reads 1: damaged; no such version"),
        (True, "schema_version True but this lrelu-bench reads 1: damaged; no such version"),
        ("1", "schema_version '1' but this lrelu-bench reads 1: damaged; no such version"),
        (10**400, "damaged; no such version"),
        ([1] * 5000, "damaged; no such version"),
    ],
)
def test_another_version_is_one_clear_message(tmp_path, call, version, sentence):
    save(tmp_path, ONE, schema_version=version, surprise={"of": "later"})
    code, out, err = call("compare", ".")
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err) < 600


def test_a_key_of_later_is_no_damage(tmp_path):
    folder = save(tmp_path, ONE, surprise={"of": "later"})
    assert load_result(folder) == ONE
    VALIDATORS["result"].validate(json.loads((folder / "result.json").read_text()))


DIVERGED = asdict(ONE) | {
    "status": "diverged",
    "activation": {"name": "x", "learn": ["a"], "bounds": {"a": [0, 1]}, "options": {"b": 1.5}, "leak": None},
    "divergences": [asdict(Divergence(2, 14, "leak", "4.convs.2", 5, 1, "rewind", 0.5))],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.randoms(use_true_random=True))
def test_what_loads_keeps_the_contract_and_what_keeps_it_loads(folder, random):
    raw = values.mutated(random, json.loads(json.dumps(DIVERGED)))
    text = values.as_json(raw).decode()
    (folder / "result.json").write_text(text)
    try:
        load_result(folder)
        loads = True
    except BenchError:
        loads = False
    if loads:
        VALIDATORS["result"].validate(raw)
    else:
        assert "\\ud" in text or not VALIDATORS["result"].is_valid(told_apart(raw)), text


def told_apart(raw):
    """The same, where what JSON Schema does not tell apart (5 and 5.0, NaN and numbers) is another."""
    if isinstance(raw, dict):
        return {key: told_apart(value) for key, value in raw.items()}
    if isinstance(raw, list):
        return [told_apart(value) for value in raw]
    if isinstance(raw, float) and not math.isfinite(raw):
        return [raw]
    return raw + 0.25 if isinstance(raw, float) and raw.is_integer() and raw < 2**50 else raw


def test_the_schemas_are_shown(call):
    for of in FILES:
        code, out, _ = call("config", "schema", "--of", of)
        assert (code, json.loads(out)) == (0, VALIDATORS[of].schema)
    code, out, _ = call("config", "schema")
    assert json.loads(out)["title"] == "lrelu-bench experiment"
    assert call("config", "schema", "--of", "nothing")[0] == 2


def test_the_check_of_the_schemas_imports_no_torch():
    code = "import sys; import result_schemas; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "scripts", check=True)
