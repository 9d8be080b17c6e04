"""The plan as `--dry-run` shows it: whole outputs, on a terminal of any width and through a pipe."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from lrelu_bench.report.sweep_plan import render_plan
from lrelu_bench.sweep import estimate as estimating
from lrelu_bench.sweep.estimate import Estimates, Speed, Speeds, estimate
from lrelu_bench.sweep.planner import SweepPlan, load_plan

FIXTURES = Path(__file__).parents[1] / "fixtures"
GPU = "NVIDIA H200"
SPEED = Speed("xresnet18", 128, "relu", 128, "bf16", GPU, True, 10_000.0, 5, "results/h200", recorded=True)
GRID = """\
base: woof128
axes:
  protocol: [leaderboard-2019, course-2019]
  size: [128, 192]
  arch: [xresnet18, xresnet50]
  activation:
  - relu
  - learned_relu
  - {name: learned_relu, granularity: layer, bounds: {leak: [0, 0.5], maxv: [5, 100], sub: [0, 1]}}
  - {name: learned_relu, leak: 0.05}
seeds: 0-4
exclude:
- {protocol: course-2019, size: 192}
- {protocol: course-2019, activation: [learned_relu, {name: learned_relu, leak: 0.05}]}
- {size: 192, activation: {name: learned_relu, leak: 0.05}}
override:
- {when: {arch: xresnet50}, seeds: 0-2}
"""


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepPlan:
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(GRID)
    return load_plan(Path("grid.yaml"))


def states_of(plan: SweepPlan) -> dict[tuple[str, int], str]:
    """The first units done, diverged and begun, in the order of the plan."""
    states = ["complete"] * 9 + ["diverged"] + ["begun"] * 3
    return {(unit.experiment.slug, unit.seed): state for unit, state in zip(plan.units, states, strict=False)}


def shown(plan: SweepPlan, estimates: Estimates, width: int = 80, **options: object) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, color_system=None, **options)  # type: ignore[arg-type]
    console.print(render_plan(plan, states_of(plan), estimates))
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_the_whole_plan(planned: SweepPlan, width: int) -> None:
    speeds = Speeds((SPEED, replace(SPEED, activation="prelu", images_per_second=8_000.0)))
    text = shown(planned, estimate(planned, speeds), width)
    assert text == (FIXTURES / f"sweep_plan_{width}.txt").read_text()
    assert max(map(len, text.splitlines())) <= width
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_without_any_speed_and_without_axes(tmp_path: Path) -> None:
    path = tmp_path / "five.yaml"
    path.write_text("base: woof128\nseeds: 0-4\n")
    plan = load_plan(path)
    assert shown(plan, estimate(plan, Speeds(()))) == (FIXTURES / "sweep_plan_unknown.txt").read_text()


@pytest.mark.parametrize("width", range(32, 100, 5))
def test_no_line_ends_in_spaces_or_beyond_the_width(planned: SweepPlan, width: int) -> None:
    lines = shown(planned, estimate(planned, Speeds((SPEED,))), width).splitlines()
    assert [line for line in lines if line != line.rstrip() or len(line) > width] == []


def test_what_is_all_done_has_no_hours_to_come(planned: SweepPlan) -> None:
    file = io.StringIO()
    states = {(unit.experiment.slug, unit.seed): "complete" for unit in planned.units}
    estimates = estimate(planned, Speeds((SPEED, replace(SPEED, arch="xresnet50"))))
    Console(file=file, width=80).print(render_plan(planned, states, estimates))
    assert re.search(
        r"^estimated: \S+ GPU-hours on one NVIDIA H200, all done$", file.getvalue(), re.MULTILINE
    )


def test_a_narrow_terminal_loses_columns_and_no_cell(planned: SweepPlan) -> None:
    text = shown(planned, estimate(planned, Speeds((SPEED,))), 40)
    assert re.search(r"^  activation +runs +to do$", text, re.MULTILINE)
    assert len(re.findall(r"^  relu +[35] ", text, re.MULTILINE)) == 6


def test_a_terminal_that_knows_ascii_alone(planned: SweepPlan) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=file, width=80, color_system=None).print(
        render_plan(planned, {}, estimate(planned, Speeds((SPEED,))))
    )
    file.seek(0)
    assert "unknown" in file.read()


def test_markup_in_a_users_words_is_shown_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "[red]x.yaml"
    path.write_text("base: woof128\naxes: {activation: [relu]}\n")
    plan = load_plan(path)
    assert "[red]x.yaml: 1 cell, 1 run\n" in shown(plan, estimate(plan, Speeds(())))


def test_the_command_reckons_for_the_cpu_where_it_trains_there(call, monkeypatch) -> None:
    monkeypatch.setattr(estimating, "this_cpu", lambda: "a CPU, 3 cores")
    code, out, err = call("sweep", "smoke", "--dry-run", "--device", "cpu")
    assert (code, err) == (0, "")
    assert "(1) no speed is known of xresnet18 on a CPU, 3 cores\n" in out
    assert (
        "estimated: less than 0.001 GPU-hours on one NVIDIA H200\n" in call("sweep", "smoke", "--dry-run")[1]
    )
    code, out, err = call("sweep", "activations", "--dry-run")
    assert (code, err) == (0, "")
    assert " GPU-hours on one NVIDIA H200\n" in out
