"""The simulation of large sweeps, with small ones."""

import re
import sys

import pytest
import simulate_sweep

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures memory in /proc")


def row_of(capsys, engine, units):
    simulate_sweep.main(["--engine", engine, "--units", str(units), "--no-header"])
    out, _ = capsys.readouterr()
    return [cell.strip() for cell in out.strip().strip("|").split("|")]


@pytest.mark.parametrize(("engine", "units"), [("local", 200), ("processes", 4), ("print", 200)])
def test_a_simulated_sweep_leaves_every_unit_for_compare_and_says_what_it_took(
    capsys, monkeypatch, engine, units
):
    monkeypatch.setattr("lrelu_bench.sweep.engines.local.Working", None)
    name, count, *numbers = row_of(capsys, engine, units)
    assert (name, count) == (engine, str(units))
    assert len(numbers) == 5
    assert all(re.fullmatch(r"[\d.]+|–", number) for number in numbers)
    assert ("–" in numbers) == (engine == "print")


def test_submission_alone_is_in_arrays(capsys, monkeypatch):
    pytest.importorskip("submitit", reason="SLURM jobs go through submitit: pip install 'lrelu-bench[slurm]'")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert row_of(capsys, "sbatch", 1500)[:2] == ["slurm, submission alone", "1,500"]


def test_a_unit_that_is_missing_is_noticed(monkeypatch):
    real = simulate_sweep.instantly

    def forgetful(task):
        outcome = real(task)
        if task.seed == 1:
            (simulate_sweep.Path(task.output) / task.experiment / "seed-1" / "result.json").unlink()
        return outcome

    monkeypatch.setattr("lrelu_bench.sweep.engines.local.Working", None)
    monkeypatch.setattr(simulate_sweep, "instantly", forgetful)
    with pytest.raises(SystemExit, match="50 of 100 units complete"):
        simulate_sweep.main(["--engine", "local", "--units", "100"])
