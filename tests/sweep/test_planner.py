"""The plan of a sweep: its units and their order, equal cells, and what is said of cells that are none."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrelu_bench.errors import BenchError
from lrelu_bench.sweep.planner import SweepPlan, load_plan

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str) -> SweepPlan:
    Path("s.yaml").write_text(text)
    return load_plan(Path("s.yaml"))


def refusal(text: str) -> str:
    with pytest.raises(BenchError) as caught:
        load(text)
    return str(caught.value)


def names(plan: SweepPlan) -> list[tuple[str, int]]:
    return [(unit.experiment.slug, unit.seed) for unit in plan.units]


def test_every_cell_has_a_run_before_any_has_two() -> None:
    plan = load(
        "base: woof128\nseeds: [3, 1]\naxes: {arch: [xresnet18, xresnet34]}\n"
        "override: [{when: {arch: xresnet34}, seeds: 5-7}]\n"
    )
    assert [(unit.experiment.arch, unit.seed) for unit in plan.units] == [
        ("xresnet18", 3),
        ("xresnet34", 5),
        ("xresnet18", 1),
        ("xresnet34", 6),
        ("xresnet34", 7),
    ]


# Equal cells.


def test_cells_that_are_the_same_experiment_are_one_with_both_seeds() -> None:
    plan = load(
        "base: woof128\nseeds: 0-1\naxes:\n"
        "  activation: [relu, learned_relu, {name: learned_relu, leak: 0.05}, prelu]\n"
        "override: [{when: {activation: {name: learned_relu, leak: 0.05}}, seeds: 1-2}]\n"
    )
    assert [(cell.experiment.activation.name, cell.seeds) for cell in plan.cells] == [
        ("relu", (0, 1)),
        ("learned_relu", (0, 1, 2)),
        ("prelu", (0, 1)),
    ]
    assert all(cell.experiment.seeds == cell.seeds for cell in plan.cells)
    assert plan.remarks == (
        "(activation=learned_relu) and (activation={name: 'learned_relu', leak: 0.05}) are the same "
        "experiment, planned once with seeds 0, 1, 2",
    )
    assert len(plan.units) == len(set(names(plan))) == 7


# Cells that are no experiments.


def test_a_reason_is_said_once_with_the_cells_it_is_about() -> None:
    said = refusal(
        "base: woof128\nset: {epochs: 20}\naxes:\n"
        "  arch:\n  - xresnet18\n  - xresnet43\n"
        "  size: [128, 192, 28]\n"
        "  activation: [relu, learned_relu]\n"
        "  on_divergence: [stop, rewind]\n"
    )
    assert said.splitlines() == [
        "s.yaml: of 24 cells, 18 cannot be trained; correct the values, or exclude the cells",
        "s.yaml:6: arch is 'xresnet43'; it must be one of xresnet18, xresnet34, xresnet50, course_cnn "
        "(the 12 cells with arch=xresnet43)",
        "s.yaml:7: size is 28, which is for MNIST alone and not for dataset imagewoof; choose another (the 4 "
        "cells with arch=xresnet18, size=28)",
        "s.yaml:9: on_divergence rewind halves the learning rate of what the activation learns, but relu "
        "learns nothing; use stop (2 cells with arch=xresnet18, activation=relu, on_divergence=rewind, the "
        "first arch=xresnet18, size=128, activation=relu, on_divergence=rewind)",
    ]


def test_what_is_wrong_in_every_cell_is_said_once() -> None:
    seeds = "seeds: 0-99\n"
    said = refusal(seeds + "base: woof128\nset: {lr: fast}\naxes: {epochs: [5, 20], size: [128, 192]}\n")
    assert said.splitlines()[1:] == ["s.yaml:3: lr is 'fast'; it must be a number above 0 (every cell)"]


def test_the_one_cell_that_is_wrong_is_named() -> None:
    said = refusal(
        "base: woof128\naxes: {epochs: [5, 20], size: [128, 192]}\n"
        "override:\n- when: {epochs: 20, size: 192}\n  set: {batch_size: 1}\n"
    )
    assert said.splitlines() == [
        "s.yaml: of 4 cells, 1 cannot be trained; correct the values, or exclude the cells",
        "s.yaml:5: batch_size is 1; it must be a whole number from 2 to 4096 (cell epochs=20, size=192)",
    ]


def test_hundreds_of_different_reasons_are_cut_off() -> None:
    values = ", ".join(map(str, range(5000, 5200)))
    lines = refusal(f"base: woof128\naxes: {{epochs: [{values}]}}\n").splitlines()
    assert (len(lines), lines[-1]) == (52, "... and 150 more")


def test_too_many_runs_are_refused() -> None:
    epochs = ", ".join(map(str, range(1, 102)))
    said = refusal(f"base: woof128\nseeds: 0-999\naxes: {{epochs: [{epochs}]}}\n")
    assert said == "s.yaml: 101,000 runs are planned; at most 100,000 may be, split it"


# Whatever the file.

AXES = {
    "arch": ["xresnet18", "xresnet34", "xresnet50"],
    "epochs": [5, 20, 80],
    "size": [64, 128],
    "activation": ["relu", "prelu", {"name": "learned_relu", "leak": 0.1}],
}


@st.composite
def sweeps(draw: st.DrawFn) -> dict[str, Any]:
    keys = draw(st.lists(st.sampled_from(list(AXES)), min_size=1, unique=True))
    axes = {
        key: draw(st.lists(st.sampled_from(AXES[key]), min_size=1, unique_by=str, max_size=3)) for key in keys
    }

    def rules(largest: int) -> list[dict[str, Any]]:
        # A condition names some of the axes, each with one of its values.
        chosen = st.lists(st.sampled_from(keys), min_size=1, unique=True)
        found = draw(st.lists(chosen, max_size=largest))
        return [{key: draw(st.sampled_from(axes[key])) for key in some} for some in found]

    sweep: dict[str, Any] = {"base": "woof128", "axes": axes, "seeds": draw(SEEDS)}
    if excludes := rules(3):
        sweep["exclude"] = excludes
    if overrides := rules(2):
        sweep["override"] = [
            {"when": when, "seeds": draw(SEEDS), "set": {"batch_size": draw(st.sampled_from([32, 64]))}}
            for when in overrides
        ]
    return sweep


SEEDS = st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)


def excluded(sweep: dict[str, Any], where: dict[str, Any]) -> bool:
    return any(all(where[key] == one[key] for key in one) for one in sweep.get("exclude", ()))


def planned(sweep: dict[str, Any]) -> SweepPlan | None:
    """The plan, None where the sweep is rightly refused: nothing is left, or an override finds nothing."""
    grid = [dict(zip(sweep["axes"], point, strict=True)) for point in product(*sweep["axes"].values())]
    left = [where for where in grid if not excluded(sweep, where)]
    text = json.dumps(sweep)
    for one in sweep.get("override", ()):
        if not any(all(where[key] == one["when"][key] for key in one["when"]) for where in left):
            refusal(text)
            return None
    if not left:
        refusal(text)
        return None
    plan = load(text)
    assert [dict(cell.where) for cell in plan.cells] == left
    return plan


examples = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@examples
@given(sweeps())
def test_exactly_the_cells_that_are_not_excluded_are_planned_and_no_unit_twice(sweep: dict[str, Any]) -> None:
    plan = planned(sweep)
    if plan is None:
        return
    assert len(set(names(plan))) == len(plan.units) == sum(len(cell.seeds) for cell in plan.cells)
    # Seeds by rounds: what stands at a place in the order is at most one round behind the others.
    rounds = [cell.seeds.index(seed) for seed, cell in _with_cells(plan)]
    assert rounds == sorted(rounds)
    for cell in plan.cells:
        assert all(
            getattr(cell.experiment, key) == cell.where[key] for key in cell.where if key != "activation"
        )
        last = [one for one in sweep.get("override", ()) if one["when"].items() <= cell.where.items()][-1:]
        expected = (last[0]["seeds"], last[0]["set"]["batch_size"]) if last else (sweep["seeds"], None)
        assert (list(cell.seeds), cell.experiment.batch_size) == expected


def _with_cells(plan: SweepPlan) -> list[tuple[int, Any]]:
    cells = {cell.experiment.slug: cell for cell in plan.cells}
    return [(unit.seed, cells[unit.experiment.slug]) for unit in plan.units]


@examples
@given(sweeps(), st.randoms(use_true_random=False))
def test_the_order_of_axes_values_and_excludes_changes_no_unit(sweep: dict[str, Any], random: Any) -> None:
    plan = planned(sweep)
    if plan is None:
        return

    def shuffled(items: Any) -> list[Any]:
        return random.sample(list(items), len(items))

    other = {
        **sweep,
        "axes": {key: shuffled(values) for key, values in shuffled(sweep["axes"].items())},
        **({"exclude": shuffled(sweep["exclude"])} if "exclude" in sweep else {}),
    }
    again = load(json.dumps(dict(shuffled(other.items()))))
    assert set(names(again)) == set(names(plan))


@examples
@given(sweeps())
def test_the_same_file_is_the_same_plan(sweep: dict[str, Any]) -> None:
    plan = planned(sweep)
    if plan is None:
        return
    again = load(json.dumps(sweep))
    assert (again, again.units, again.remarks) == (plan, plan.units, plan.remarks)


def test_another_process_plans_the_same_without_torch(folder: Path) -> None:
    text = (
        "base: woof128\nseeds: 0-2\naxes: {arch: [xresnet18, xresnet34], activation: [relu, prelu, mish]}\n"
        "exclude: [{arch: xresnet34, activation: [mish, prelu]}]\n"
    )
    here = names(load(text))
    program = (
        "import sys; sys.modules['torch'] = sys.modules['torchvision'] = None\n"
        "from pathlib import Path; from lrelu_bench.sweep.planner import load_plan\n"
        "print([(unit.experiment.slug, unit.seed) for unit in load_plan(Path('s.yaml')).units])"
    )
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": str(ROOT), "PATH": "", "PYTHONHASHSEED": hash_seed},
        )
        assert done.stdout.strip() == str(here)
