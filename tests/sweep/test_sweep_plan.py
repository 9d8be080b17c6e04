"""The plan as `--dry-run` shows it: whole outputs, on a terminal of any width and through a pipe."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from lrelu_bench import environment
from lrelu_bench.report.sweep_plan import cell_labels, render_plan
from lrelu_bench.sweep import estimate as estimating
from lrelu_bench.sweep import this_machine
from lrelu_bench.sweep.estimate import Estimates, Speed, Speeds, Target, estimate
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


def test_cells_are_called_by_what_varies(planned: SweepPlan, tmp_path: Path) -> None:
    labels = cell_labels(planned)
    assert list(labels.values())[:3] == [
        "leaderboard-2019, size 128, xresnet18, relu",
        "leaderboard-2019, size 128, xresnet18, learned_relu",
        "leaderboard-2019, size 128, xresnet18, "
        "learned_relu(layer, leak in [0, 0.5], maxv in [5, 100], sub in [0, 1])",
    ]
    assert len(labels) == len(set(labels.values())) == len(planned.cells)
    path = tmp_path / "one.yaml"
    path.write_text("base: woof128\naxes: {size: [128], activation: [relu, prelu]}\n")
    assert list(cell_labels(load_plan(path)).values()) == ["relu", "prelu"]
    path.write_text("base: woof128\n")
    assert list(cell_labels(load_plan(path)).values()) == ["learned_relu_v3"]


def test_markup_in_a_users_words_is_shown_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "[red]x.yaml"
    path.write_text("base: woof128\naxes: {activation: [relu]}\n")
    plan = load_plan(path)
    assert "[red]x.yaml: 1 cell, 1 run\n" in shown(plan, estimate(plan, Speeds(())))


def test_it_says_of_which_device_it_is_and_why(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("base: woof128\naxes: {activation: [relu]}\nseeds: 0-1\n")
    plan = load_plan(path)
    cpu = "AMD EPYC, 2 cores"
    speeds = [
        replace(SPEED, device=cpu, gpu=False, precision="fp32", runs_at_once=2, images_per_second=speed)
        for speed in (20.0, 25.0)
    ]
    estimates = estimate(
        plan, Speeds(tuple(speeds)), Target(cpu, "fp32", "no GPU here: estimated for the CPU")
    )
    assert shown(plan, estimates) == (FIXTURES / "sweep_plan_cpu.txt").read_text()


DRY = ("sweep", "smoke", "--dry-run")
LIKELIEST = "what most finished runs were on, else for a GPU with recorded speeds"


@pytest.mark.parametrize(
    ("gpu", "options", "device", "why"),
    [
        (None, (), "a CPU, 3 cores", "no GPU here: estimated for the CPU"),
        (GPU, (), GPU, "estimated for the GPU here"),
        (GPU, ("--device", "cuda"), GPU, "estimated for the GPU here"),
        (None, ("--device", "cuda"), GPU, f"no GPU here: estimated for {LIKELIEST}"),
        (GPU, ("--device", "cpu"), "a CPU, 3 cores", "estimated for the CPU of this machine"),
        (
            None,
            ("--engine", "slurm"),
            GPU,
            f"what --engine slurm trains on is not known here: estimated for {LIKELIEST}",
        ),
        (
            GPU,
            ("--engine", "print", "--device", "cpu"),
            "a CPU, 3 cores",
            "what --engine print trains on is not known here: estimated for a CPU like this machine's",
        ),
    ],
)
def test_the_command_reckons_for_what_will_train(call, monkeypatch, gpu, options, device, why) -> None:
    monkeypatch.setattr(estimating, "this_cpu", lambda: "a CPU, 3 cores")
    monkeypatch.setattr(this_machine, "gpu", lambda: gpu)
    monkeypatch.setattr(environment, "torch_cuda", lambda: "13.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = call(*DRY, *options)
    assert (code, err) == (0, "")
    total = {
        GPU: f"estimated: less than 0.001 GPU-hours on one {GPU}",
        "a CPU, 3 cores": "estimated: unknown on one a CPU, 3 cores, until a first run has finished there",
    }
    assert f"\n{total[device]}\n{why}\n" in out


def test_units_that_would_all_fail_are_not_begun(call, monkeypatch) -> None:
    monkeypatch.setattr(this_machine, "gpu", lambda: None)
    assert call("sweep", "smoke", "--device", "cuda") == (
        2,
        "",
        "error: --device cuda: no GPU here; give --device auto or cpu\n",
    )


def test_torch_for_amd_is_not_judged_by_cudas_driver(call, monkeypatch) -> None:
    monkeypatch.setattr(this_machine, "gpu", lambda: None)
    monkeypatch.setattr(environment, "package_versions", lambda: {"torch": "2.11.0+rocm7.0"})
    assert this_machine.without_gpu() is None
    assert "\ntorch for AMD GPUs is installed here, whose driver is not asked\n" in call(*DRY)[1]


def test_results_belong_in_a_folder(call) -> None:
    Path("taken").write_text("")
    for more in ((), ("--dry-run",)):
        assert call("sweep", "smoke", "--output", "taken", *more) == (
            2,
            "",
            "error: --output taken: is no folder; give one, or a name that is not taken\n",
        )


def test_a_gpu_that_torch_cannot_use_counts_for_nothing(call, monkeypatch) -> None:
    monkeypatch.setattr(this_machine, "gpu", lambda: GPU)
    monkeypatch.setattr(environment, "torch_cuda", lambda: None)
    assert (
        "\nthe torch installed here is a build without CUDA: estimated for the CPU\n"
        in call("sweep", "smoke", "--dry-run")[1]
    )


def test_a_gpu_that_is_hidden_counts_for_nothing(call, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "\nCUDA_VISIBLE_DEVICES='' shows no GPU: estimated for the CPU\n" in call(*DRY)[1]
