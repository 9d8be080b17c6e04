"""Hours of a sweep: reckoned from what was measured, the nearest first, and unknown where nothing was."""

import csv
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import record_speeds
import run_results

from lrelu_bench.results import RunResult
from lrelu_bench.sweep import estimate
from lrelu_bench.sweep.estimate import Estimate, Speed, Speeds, Target
from lrelu_bench.sweep.planner import SweepPlan, load_plan

ROOT = Path(__file__).parents[2]
GPU = "NVIDIA H200"
SPEED = Speed("xresnet18", 128, "relu", 128, "bf16", GPU, True, 1000.0, 1, "runs")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan_of(**changes: Any) -> SweepPlan:
    """One cell: relu on Imagewoof v1, 128 px, 5 epochs, batch 128, with these changes."""
    Path("s.yaml").write_text(json.dumps({"base": "woof128", "set": {"activation": "relu", **changes}}))
    return load_plan(Path("s.yaml"))


def estimated(plan: SweepPlan, *speeds: Speed, target: Target | None = None) -> Estimate:
    (one,) = estimate.estimate(plan, Speeds(speeds), target or Target()).by_experiment.values()
    return one


def test_images_by_the_speed() -> None:
    one = estimated(plan_of(), SPEED)
    assert one.hours == pytest.approx(5 * (12454 + 500 / 3) / 1000 / 3600)
    assert one.basis == "xresnet18 at 128 px in bf16; 1 finished run in runs"


def test_validation_costs_what_the_recorded_runs_say() -> None:
    """The middle of all epochs recorded of runs that were alone on their device."""
    ratios = []
    for path in (ROOT / "results").glob("*/seed-*/epochs.jsonl"):
        result = json.loads((path.parent / "result.json").read_text())
        if json.loads((path.parent / "environment.json").read_text()).get("runs_at_once", 1) > 1:
            continue
        for row in map(json.loads, path.read_text().splitlines()):
            validated = result["valid_images"] / row["valid_seconds"]
            ratios.append(row["images_per_second"] / validated)
    assert len(ratios) > 100
    assert 1 / 5 < sorted(ratios)[len(ratios) // 2] < 1 / 2


@pytest.mark.parametrize(
    ("near", "far"),
    [
        ({}, {"size": 192}),
        ({}, {"recorded": True}),
        ({"precision": "bf16"}, {"precision": "fp32"}),
        ({"precision": "fp16"}, {"precision": "fp32"}),
        ({}, {"activation": "prelu"}),
        ({}, {"batch_size": 64}),
        ({"batch_size": 64}, {"batch_size": 32}),
        # The graver difference decides.
        ({"recorded": True}, {"size": 64}),
        ({"precision": "fp32"}, {"recorded": True}),
        ({"activation": "prelu"}, {"precision": "fp32"}),
        ({"batch_size": 512}, {"activation": "prelu"}),
    ],
)
def test_the_nearest_speed_decides(near: dict[str, Any], far: dict[str, Any]) -> None:
    nearest = replace(SPEED, **near)
    expected = estimated(plan_of(), nearest)
    other = replace(SPEED, **{"images_per_second": 7.0, **far})
    for speeds in ((nearest, other), (other, nearest)):
        assert estimated(plan_of(), *speeds) == expected


def test_of_speeds_that_fit_equally_the_fastest_counts_and_the_plan_says_so() -> None:
    shared = replace(SPEED, images_per_second=700.0, source="elsewhere")
    together = replace(SPEED, images_per_second=2000.0, runs_at_once=2, recorded=False, runs=3)
    one = estimated(plan_of(), shared, together, SPEED)
    assert one.hours == pytest.approx(5 * (12454 + 500 / 3) / 2000 / 3600)
    assert one.basis == (
        "xresnet18 at 128 px in bf16, 2 runs at once, all together; the fastest, 3 finished runs in runs"
    )


def test_a_cpu_is_reckoned_in_the_precision_that_it_has_units_for() -> None:
    """Two CPUs of one name may differ there, and so by a factor of five."""
    cpu = "AMD EPYC, 2 cores"
    speeds = [
        replace(SPEED, device=cpu, precision=precision, images_per_second=speed, recorded=True)
        for precision, speed in {"bf16": 60.0, "fp32": 12.0}.items()
    ]

    def basis(auto: str | None, *speeds: Speed, **changes: Any) -> str:
        return estimated(plan_of(**changes), *speeds, target=Target(cpu, auto)).basis

    assert basis("bf16", *speeds) == "xresnet18 at 128 px in bf16; the fastest recorded in runs"
    assert basis("fp32", *speeds) == "xresnet18 at 128 px in fp32; the fastest recorded in runs"
    assert basis(None, *speeds) == "xresnet18 at 128 px in bf16; the fastest recorded in runs"
    assert (
        basis("fp32", *speeds, precision="bf16")
        == "xresnet18 at 128 px in bf16; the fastest recorded in runs"
    )
    assert basis("fp32", speeds[0]) == "no speed is known of xresnet18 in fp32 on AMD EPYC, 2 cores"
    # A results folder may come from another machine.
    own = replace(speeds[0], recorded=False)
    assert basis("fp32", own, speeds[1]) == "xresnet18 at 128 px in fp32; the fastest recorded in runs"


def test_runs_of_the_very_cell_count_in_the_precision_that_it_will_be_computed_in() -> None:
    plan = plan_of()
    for seed, (precision, seconds) in enumerate({"bf16": 100.0, "fp32": 500.0}.items()):
        save(result_of(plan, seed, precision=precision, wall_seconds=seconds))
    for target, hours in {"bf16": 100 / 3600, "fp32": 500 / 3600, None: 300 / 3600}.items():
        (one,) = estimate.of_plan(plan, Path("out"), Target(GPU, target)).by_experiment.values()
        assert one.hours == pytest.approx(hours)


def test_another_size_is_scaled_by_its_pixels_and_says_so() -> None:
    here, there = estimated(plan_of(), SPEED), estimated(plan_of(), replace(SPEED, size=256))
    assert here.hours is not None
    assert there.hours == pytest.approx(here.hours / 4)
    assert "scaled to 128 px by its pixels" in there.basis


def test_what_another_activation_or_batch_took_says_so() -> None:
    others = [
        replace(SPEED, activation=name, batch_size=64, images_per_second=speed)
        for name, speed in {"prelu": 500.0, "mish": 1000.0, "elu": 900.0}.items()
    ]
    one = estimated(plan_of(), *others)
    assert one.hours == estimated(plan_of(), SPEED).hours
    assert one.basis == (
        "xresnet18 at 128 px in bf16, another activation or batch; the fastest, 1 finished run in runs"
    )


@pytest.mark.parametrize(
    ("changes", "speed", "basis"),
    [
        ({"arch": "xresnet50"}, SPEED, f"no speed is known of xresnet50 on {GPU}"),
        ({"precision": "fp32"}, SPEED, f"no speed is known of xresnet18 in fp32 on {GPU}"),
        ({}, None, "no speed is known of xresnet18"),
    ],
)
def test_what_nobody_has_measured_is_unknown(
    changes: dict[str, Any], speed: Speed | None, basis: str
) -> None:
    assert estimated(plan_of(**changes), *([speed] if speed else [])) == Estimate(None, basis)


def test_another_device_tells_nothing() -> None:
    one = estimated(plan_of(), SPEED, target=Target("a CPU, 2 cores"))
    assert one == Estimate(None, "no speed is known of xresnet18 on a CPU, 2 cores")


def test_the_device_is_the_users_own_else_the_first_recorded_gpu() -> None:
    plan = plan_of()
    recorded = replace(SPEED, recorded=True)
    cpu = replace(SPEED, device="a CPU, 2 cores", gpu=False)

    def device(*speeds: Speed) -> tuple[str | None, bool]:
        found = estimate.estimate(plan, Speeds(speeds))
        return found.device, found.gpu

    assert device(replace(cpu, recorded=True), recorded) == (GPU, True)
    assert device(cpu, recorded) == ("a CPU, 2 cores", False)
    assert device(cpu, replace(SPEED, runs=2)) == (GPU, True)
    assert device(replace(cpu, runs=3), replace(SPEED, runs=2)) == ("a CPU, 2 cores", False)
    assert device(replace(cpu, recorded=True)) == (None, False)


# What the user's own results tell.


def save(result: RunResult, root: str = "out", **environment: Any) -> None:
    folder = run_results.save(Path(root), result)
    told = {"gpu": {"name": GPU}, "cores": 16, **environment}
    (folder / "environment.json").write_text(json.dumps(told))


def result_of(plan: SweepPlan, seed: int = 0, **changes: Any) -> RunResult:
    """A finished run of the plan's only cell."""
    (cell,) = plan.cells
    values = {"config_digest": cell.experiment.digest, "device": GPU, "images_per_second": 500.0, **changes}
    return run_results.run(experiment=cell.experiment.slug, seed=seed, **values)


def test_runs_of_the_very_cell_count_with_their_whole_time() -> None:
    plan = plan_of()
    for seed, seconds in enumerate((100.0, 200.0, 900.0)):
        save(result_of(plan, seed, wall_seconds=seconds))
    found = estimate.of_plan(plan, Path("out"))
    assert found.device == GPU
    assert list(found.by_experiment.values()) == [Estimate(200 / 3600, "3 finished runs of this very cell")]
    assert estimate.seconds_by_experiment(found) == {plan.cells[0].experiment.slug: pytest.approx(200)}


def test_runs_of_other_cells_count_with_their_speed() -> None:
    for seed in range(3):
        save(result_of(plan_of(epochs=20), seed, images_per_second=500.0 * (seed + 1)))
    found = estimate.of_plan(plan_of(), Path("out"))
    assert list(found.by_experiment.values()) == [
        Estimate(
            pytest.approx(5 * (12454 + 500 / 3) / 1000 / 3600),
            "xresnet18 at 128 px in bf16; 3 finished runs in out",
        )
    ]


def test_runs_that_shared_a_device_share_its_hours() -> None:
    plan = plan_of()
    save(result_of(plan, wall_seconds=100.0), runs_at_once=5)
    (own,) = estimate.of_plan(plan, Path("out")).by_experiment.values()
    assert own.hours == pytest.approx(20 / 3600)
    (other,) = estimate.of_plan(plan_of(epochs=20), Path("out")).by_experiment.values()
    assert other.hours == pytest.approx(20 * (12454 + 500 / 3) / 2500 / 3600)
    assert "5 runs at once" in other.basis


def cpu_run(seed: int, begin: str, end: str, **changes: Any) -> None:
    """A finished run on the CPU between two times of a day."""
    day = "2026-11-24T"
    seconds = (datetime.fromisoformat(day + end) - datetime.fromisoformat(day + begin)).total_seconds()
    times = {"wall_seconds": seconds, "started": f"{day}{begin}+00:00", "finished": f"{day}{end}+00:00"}
    values = {"device": "a CPU", "images_per_second": 10.0, **times, **changes}
    save(result_of(plan_of(), seed, **values), gpu=None, cores=2)


def test_runs_of_several_processes_shared_the_cpu_that_they_were_on_at_once() -> None:
    cpu_run(0, "10:00", "11:00")
    cpu_run(1, "10:10", "11:10")
    cpu_run(2, "11:09", "12:09")
    found = estimate.measured_speeds(Path("out"))
    known = {one.runs_at_once: (one.images_per_second, one.runs) for one in found.known}
    assert known == {2: (20.0, 2), 1: (10.0, 1)}
    assert [sorted(hours) for hours in found.run_hours.values()] == [[0.5, 0.5, 1.0]]


def test_runs_of_other_hosts_other_cpus_and_interrupted_ones_share_nothing() -> None:
    cpu_run(0, "10:00", "11:00")
    cpu_run(1, "10:00", "11:00", device="another CPU")
    cpu_run(2, "10:00", "11:00", resumed=[40])
    cpu_run(3, "10:00", "11:00", finished=None, status="diverged")
    cpu_run(4, "10:00", "11:00")
    (folder,) = Path("out").iterdir()
    (folder / ".seed-4.lock").write_text('{"pid": 7, "host": "node4"}')
    assert {one.runs_at_once for one in estimate.measured_speeds(Path("out")).known} == {1}


def test_an_interrupted_run_on_a_cpu_tells_only_where_no_other_does() -> None:
    cpu_run(0, "10:00", "12:00", resumed=[40], images_per_second=3.0)
    (known,) = estimate.measured_speeds(Path("out")).known
    assert (known.images_per_second, known.runs) == (3.0, 1)
    cpu_run(1, "13:00", "14:00")
    found = estimate.measured_speeds(Path("out"))
    assert [(one.images_per_second, one.runs) for one in found.known] == [(10.0, 1)]
    assert list(found.run_hours.values()) == [[1.0]]
    for changes in ({"epochs": 20}, {"arch": "xresnet50"}):
        plan = plan_of(**changes)
        values = {"device": "a CPU", "images_per_second": 4.0, "resumed": [40], **changes}
        save(result_of(plan, **values), gpu=None, cores=2)
    found = estimate.measured_speeds(Path("out"))
    assert {(one.arch, one.images_per_second) for one in found.known} == {("xresnet18", 10), ("xresnet50", 4)}
    assert len(found.run_hours) == 3


def test_what_is_no_measurement_does_not_count() -> None:
    plan = plan_of()
    save(result_of(plan, 0, status="running"))
    save(result_of(plan, 1, images_per_second=None))
    folder = run_results.save(Path("out"), result_of(plan, 3))
    (folder / "result.json").write_text("{")
    assert estimate.measured_speeds(Path("out")) == Speeds((), {})


def test_a_brief_run_tells_of_its_own_cell_and_of_the_device_alone() -> None:
    plan = plan_of(epochs=20)
    save(result_of(plan, train_images=80, epochs_done=20, device="another GPU"))
    found = estimate.of_plan(plan, Path("out"))
    assert (found.device, found.gpu) == ("another GPU", True)
    assert [one.hours for one in found.by_experiment.values()] == [600 / 3600]
    other = estimate.of_plan(plan_of(), Path("out"))
    assert [one.hours for one in other.by_experiment.values()] == [None]


def test_a_diverged_run_tells_its_speed_but_not_what_a_whole_one_takes() -> None:
    save(result_of(plan_of(), status="diverged", epochs_done=2))
    found = estimate.measured_speeds(Path("out"))
    assert ([one.images_per_second for one in found.known], dict(found.run_hours)) == ([500.0], {})


def test_a_cpu_is_known_by_its_cores() -> None:
    save(result_of(plan_of(), device="a CPU"), gpu=None, cores=2)
    (one,) = estimate.measured_speeds(Path("out")).known
    assert (one.device, one.gpu) == ("a CPU, 2 cores", False)


@pytest.mark.parametrize("text", ["{", "[]", "", '{"runs_at_once": "many", "gpu": {}}'])
def test_an_environment_that_tells_nothing_is_a_run_alone(text: str) -> None:
    save(result_of(plan_of()))
    (environment,) = Path("out").glob("*/*/environment.json")
    environment.write_text(text)
    (one,) = estimate.measured_speeds(Path("out")).known
    assert one.runs_at_once == 1


def test_no_results_folder_yet() -> None:
    assert estimate.measured_speeds(Path("nowhere")) == Speeds(())


# What the package carries.


@pytest.mark.parametrize("source", sorted({speed.source for speed in estimate.recorded_speeds()}))
def test_every_recorded_speed_stands_in_the_results(source: str) -> None:
    if not (ROOT / source).exists():
        pytest.skip(f"{source} is not in this checkout")
    table = csv.DictReader(record_speeds.TABLE.read_text().splitlines())
    recorded = [row for row in table if row["source"] == source]
    measured = [row for row in record_speeds.rows(ROOT) if row["source"] == source]
    assert recorded == measured, "run scripts/record_speeds.py"
