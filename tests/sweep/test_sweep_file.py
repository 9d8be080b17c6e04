"""Sweep files: what is read, what is refused, and that every refusal is a sentence with its place."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrelu_bench.errors import BenchError
from lrelu_bench.shipped import shipped_configs
from lrelu_bench.sweep.planner import SweepPlan, load_plan

GRID = """\
base: woof128
set: {epochs: 20}
axes:
  arch: [xresnet18, xresnet34]
  activation: [relu, learned_relu]
seeds: 0-2
"""


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


def points(plan: SweepPlan) -> list[tuple[object, ...]]:
    return [tuple(cell.where.values()) for cell in plan.cells]


# What is read.


def test_the_first_axis_varies_slowest() -> None:
    archs, activations = ("xresnet18", "xresnet34"), ("relu", "learned_relu")
    plan = load(GRID)
    assert points(plan) == [(arch, activation) for arch in archs for activation in activations]
    for cell in plan.cells:
        assert (cell.experiment.arch, cell.experiment.activation.name) == tuple(cell.where.values())
        assert (cell.experiment.epochs, cell.experiment.dataset) == (20, "imagewoof")
        assert cell.experiment.seeds == cell.seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("line", "seeds"),
    [
        ("", (0,)),  # the base's
        ("seeds: 3", (3,)),
        ("seeds: 0,2,5-7", (0, 2, 5, 6, 7)),
        ("seeds: [4, 1]", (4, 1)),
    ],
)
def test_seeds(line: str, seeds: tuple[int, ...]) -> None:
    assert {cell.seeds for cell in load(GRID.replace("seeds: 0-2", line)).cells} == {seeds}


def test_a_base_is_looked_for_beside_the_file_and_not_where_the_command_is_given(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "mine.yaml").write_text(shipped_configs()["woof128"].read_text().replace("128", "64"))
    (folder / "s.yaml").write_text(GRID.replace("woof128", "mine.yaml"))
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    Path("mine.yaml").write_text("dataset: nonsense")
    assert load_plan(folder / "s.yaml").cells[0].experiment.size == 64


def test_a_shipped_base_is_not_replaced_by_a_file_of_that_name() -> None:
    Path("woof128").write_text("dataset: nonsense")
    assert load(GRID).cells[0].experiment.size == 128


def test_without_a_base() -> None:
    plan = load(
        "set: {dataset: procedural, size: 32, arch: xresnet18, protocol: leaderboard-2019, epochs: 1}\n"
        "axes: {activation: [relu]}\n"
    )
    assert [cell.seeds for cell in plan.cells] == [(0,)]


def test_without_axes_there_is_one_cell() -> None:
    (cell,) = load("base: woof128\nseeds: 0-4\n").cells
    assert (dict(cell.where), len(cell.seeds)) == ({}, 5)


def test_a_key_path_is_an_axis_below_another() -> None:
    plan = load("base: woof128\naxes:\n  activation: [leaky_relu, prelu]\n  activation.leak: [0, 0.1, 0.2]\n")
    assert len(plan.cells) == 6
    seen = [(cell.experiment.activation.name, cell.experiment.activation.leak) for cell in plan.cells]
    assert seen == [(name, leak) for name in ("leaky_relu", "prelu") for leak in (0, 0.1, 0.2)]
    assert seen == points(plan)


def test_an_axis_goes_below_what_is_set() -> None:
    plan = load(
        "base: woof128\nset: {activation: {name: prelu, leak: 0.3}}\naxes: {activation.leak: [0.1, 0.2]}\n"
    )
    assert [cell.experiment.activation.name for cell in plan.cells] == ["prelu", "prelu"]
    assert [cell.experiment.activation.leak for cell in plan.cells] == [0.1, 0.2]


def test_what_is_set_in_one_cell_is_not_set_in_the_next() -> None:
    # Both cells are made from the same mapping of the file.
    plan = load(
        "base: woof128\n"
        "axes: {activation: [{name: prelu, granularity: layer}], arch: [xresnet18, xresnet34]}\n"
        "override: [{when: {arch: xresnet18}, set: {activation.leak: 0.1}}]\n"
    )
    assert [cell.experiment.activation.leak for cell in plan.cells] == [0.1, None]


def test_null_goes_back_to_the_default() -> None:
    plan = load("base: woof128\naxes: {batch_size: [null, 64]}\n")
    assert [cell.experiment.effective_recipe.batch_size for cell in plan.cells] == [128, 64]


def test_excludes_need_every_key_and_take_lists() -> None:
    plan = load(
        "base: woof128\n"
        "axes: {arch: [xresnet18, xresnet34, xresnet50], epochs: [5, 20, 80]}\n"
        "exclude: [{arch: [xresnet34, xresnet50], epochs: 80}, {epochs: 5.0}]\n"
    )
    assert points(plan) == [("xresnet18", 20), ("xresnet18", 80), ("xresnet34", 20), ("xresnet50", 20)]


def test_a_value_that_is_a_list_is_matched_as_a_whole() -> None:
    plan = load(
        "base: woof128\naxes: {recipe.stem: [[32, 32, 64], [32, 64, 64]]}\n"
        "exclude: [{recipe.stem: [32, 64, 64]}]\n"
    )
    assert points(plan) == [([32, 32, 64],)]


def test_overrides_apply_in_order_and_change_seeds() -> None:
    plan = load(
        GRID + "override:\n"
        "- {when: {arch: xresnet34}, set: {batch_size: 64, lr: 0.001}, seeds: 0-1}\n"
        "- {when: {activation: learned_relu}, set: {batch_size: 32}}\n"
        "- {when: {arch: xresnet34, activation: relu}, seeds: 7}\n"
    )
    seen = [(cell.experiment.batch_size, cell.experiment.lr, cell.seeds) for cell in plan.cells]
    assert seen == [(None, None, (0, 1, 2)), (32, None, (0, 1, 2)), (64, 1e-3, (7,)), (32, 1e-3, (0, 1))]


# What is refused.


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("base: woof128", "bass: woof128"), "s.yaml:1: unknown key bass; did you mean base?"),
        (("base: woof128", "base: woof129"), "s.yaml:1: base 'woof129': woof129: no such file; "),
        (("base: woof128", "base: 3"), "s.yaml:1: base is 3; it must be a shipped config's name, or a path"),
        (
            ("base: woof128\nset: {epochs: 20}", ""),
            "s.yaml: neither base nor set is given; give one or both, such as base: woof128",
        ),
        (("{epochs: 20}", ""), "s.yaml:2: set is empty; give it keys of a config, or remove it"),
        (("0-2", ""), "s.yaml:6: seeds is empty; give it 3, 0-4 or a list, or remove it"),
        (("{epochs: 20}", "20"), "s.yaml:2: set is 20; it must be a mapping with keys of a config"),
        (("{epochs: 20}", "{epoch: 20}"), "s.yaml:2: unknown key epoch of a config; did you mean epochs?"),
        (("{epochs: 20}", "{seeds: 20}"), "s.yaml:2: seeds is no key here; it stands beside set and axes"),
        (
            ("{epochs: 20}", "{arch: xresnet50}"),
            "s.yaml:2: arch has no effect, because arch is an axis; remove one",
        ),
        (
            ("{epochs: 20}", "{activation.leak: 0.1}"),
            "s.yaml:2: activation.leak has no effect, because activation is an axis; remove one",
        ),
        (
            ("  arch: [xresnet18, xresnet34]", "  arhc: [xresnet18]"),
            "s.yaml:4: unknown key arhc of a config; ",
        ),
        (
            ("[xresnet18, xresnet34]", "xresnet18"),
            "s.yaml:4: axis arch is 'xresnet18'; it must be a list of one or more values",
        ),
        (("[xresnet18, xresnet34]", "[]"), "s.yaml:4: axis arch is []; it must be a list of one or more"),
        (
            ("[relu, learned_relu]", "[relu, learned_relu, {name: relu}]"),
            "s.yaml:5: axis activation has {name: 'relu'} twice; list it once",
        ),
        (
            ("  arch: [", "  activation.leak: [0.1]\n  arch: ["),
            "s.yaml:6: axis activation replaces what axis activation.leak sets; write activation first",
        ),
        (("0-2", "2-0"), "s.yaml:6: seeds '2-0': the range 2-0 runs backwards; write 0-2"),
        (("0-2", "[1, 1]"), "s.yaml:6: seeds is [1, 1]; list each once"),
        (("0-2", "-1"), "s.yaml:6: seeds is -1; it must be 3, 0-4, or a list of whole numbers from 0"),
        (("0-2", "[]"), "s.yaml:6: seeds is []; it must be"),
        (("0-2", "true"), "s.yaml:6: seeds is true; it must be"),
        (
            ("seeds: 0-2", "exclude: {arch: xresnet18}"),
            "s.yaml:6: exclude is {arch: 'xresnet18'}; it must be a list",
        ),
        (
            ("seeds: 0-2", "exclude: [xresnet18]"),
            "s.yaml:6: exclude[0] is 'xresnet18'; it must be {axis: value}",
        ),
        (("seeds: 0-2", "exclude: [{}]"), "s.yaml:6: exclude[0] is {}; it must name an axis and its value"),
        (
            ("seeds: 0-2", "exclude: [{epochs: 20}]"),
            "s.yaml:6: exclude[0].epochs is no axis; the axes: arch, activation",
        ),
        (
            ("seeds: 0-2", "exclude: [{arch: xresnet43}]"),
            "s.yaml:6: exclude[0].arch is 'xresnet43', and matches no cell; did you mean 'xresnet34'?",
        ),
        (
            ("seeds: 0-2", "exclude: [{arch: [xresnet18, x]}]"),
            "s.yaml:6: exclude[0].arch is 'x', and matches no cell; axis arch has 'xresnet18', 'xresnet34'",
        ),
        (("seeds: 0-2", "exclude: [{arch: [xresnet18, xresnet34]}]"), "s.yaml: exclude leaves no cell; "),
        (
            ("seeds: 0-2", "override: [{set: {epochs: 5}}]"),
            "s.yaml:6: override[0] has no when; for every cell, use set and seeds at the top",
        ),
        (
            ("seeds: 0-2", "override: [{when: {arch: xresnet18}}]"),
            "s.yaml:6: override[0] changes nothing; give it set or seeds",
        ),
        (
            ("seeds: 0-2", "override: [{when: {arch: xresnet18}, sed: 3}]"),
            "s.yaml:6: unknown key override[0].sed; did you mean seeds?",
        ),
        (
            ("seeds: 0-2", "override: [{when: {arch: xresnet18}, set: {activation: relu}}]"),
            "s.yaml:6: activation would replace what axis activation sets; remove it",
        ),
        (
            (
                "seeds: 0-2",
                "exclude: [{arch: xresnet34}]\noverride: [{when: {arch: xresnet34}, set: {epochs: 5}}]",
            ),
            "s.yaml:7: this override matches no cell, because exclude leaves none of them; remove one",
        ),
        (
            ("seeds: 0-2", "seeds: 0-2\nseeds: 3"),
            "s.yaml:7: key seeds is given twice (first on line 6); keep one",
        ),
    ],
)
def test_a_wrong_file_is_refused_in_a_sentence(change: tuple[str, str], problem: str) -> None:
    assert change[0] in GRID
    assert problem in refusal(GRID.replace(*change))


def test_all_problems_at_once_in_the_order_of_the_lines() -> None:
    text = GRID.replace("epochs", "epoch").replace("arch", "arhc").replace("0-2", "x") + "more: 1\n"
    lines = refusal(text).splitlines()
    assert lines[0] == "s.yaml: 4 problems"
    assert [line.partition(": ")[0] for line in lines[1:]] == [f"s.yaml:{n}" for n in (2, 4, 6, 7)]


def test_a_grid_without_end_is_refused_before_it_is_spanned() -> None:
    values = ", ".join(map(str, range(1, 1000)))
    axes = "".join(f"  {key}: [{values}]\n" for key in ("epochs", "batch_size", "lr", "mixup"))
    said = refusal(f"base: woof128\naxes:\n{axes}")
    assert "s.yaml:2: the axes span 996,005,996,001 cells; at most 10,000 may be, split them" in said


@pytest.mark.parametrize(("text", "problem"), [("", "the file is empty"), ("- 1", "it must be a mapping")])
def test_what_is_no_sweep(text: str, problem: str) -> None:
    assert problem in refusal(text)


def test_a_base_that_is_wrong_is_said_once_with_its_own_place() -> None:
    Path("b.yaml").write_text("dataset: imagewoof\nsize: 128\nprotocol: course-2019\nepochs: 5\nepohcs: 3\n")
    said = refusal(GRID.replace("woof128", "b.yaml"))
    assert said.count("b.yaml:5: unknown key epohcs (value 3); did you mean epochs?") == 1


FULL = (
    GRID
    + """\
exclude: [{arch: xresnet18, activation: relu}]
override:
- {when: {arch: xresnet34}, set: {activation.leak: 0.1, recipe.stem: [32, 32, 64]}, seeds: [0, 1]}
"""
)
TOKEN = re.compile(r"[\w.-]+|[{}\[\],:]")
WORDS = sorted(
    {
        *TOKEN.findall(FULL),
        "null",
        "~",
        "true",
        ".inf",
        "-1",
        "1e400",
        "''",
        "- ",
        "0-999",
    }
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, len(FULL)), st.sampled_from(WORDS)), min_size=1, max_size=3))
def test_any_file_is_planned_or_refused_in_short_sentences(changes: list[tuple[int, str]]) -> None:
    text = FULL
    for at, word in changes:
        text = text[:at] + TOKEN.sub(lambda _, word=word: word, text[at:], count=1)
    said, runs = None, 0
    try:
        runs = len(load(text).units)
    except BenchError as error:
        said = error.lines
    if said is None:
        assert runs > 0
    else:
        assert all(line.startswith(("s.yaml", "/")) and len(line) < 800 for line in said)
