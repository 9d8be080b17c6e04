"""The shipped sweeps: each plans, says what it is for, and has in it what it claims to have."""

import re
import tomllib
from itertools import product
from pathlib import Path

import pytest

from lrelu_bench.activations import ACTIVATIONS
from lrelu_bench.claims import posted_claims
from lrelu_bench.errors import BenchError
from lrelu_bench.shipped import shipped_sweeps, sweep_path
from lrelu_bench.sweep.planner import Cell, load_plan

ROOT = Path(__file__).parents[2]
COUNTS = {"activations": (17, 85), "posts-2019": (212, 1060), "posts-2019-mnist": (5, 25), "smoke": (2, 4)}
"""Cells and runs of each."""


def cells(name: str) -> tuple[Cell, ...]:
    return load_plan(sweep_path(name)).cells


def test_the_promised_sweeps_ship() -> None:
    assert shipped_sweeps().keys() == COUNTS.keys()


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    plan = load_plan(sweep_path(name))
    assert (len(plan.cells), len(plan.units)) == COUNTS[name]
    assert plan.remarks == ()


@pytest.mark.parametrize("name", COUNTS)
def test_header_says_purpose_command_time_and_accuracy(name: str) -> None:
    header = sweep_path(name).read_text().partition("\n\n")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    for entry in ("Purpose", "Command", "Expected time", "Expected accuracy"):
        assert re.search(rf"^# {entry}: \S", header, re.MULTILINE), entry
    assert f"# Command: lrelu-bench sweep {name}\n" in header


@pytest.mark.parametrize("name", ["activations", "posts-2019", "posts-2019-mnist"])
def test_cells_follow_their_protocols(name: str) -> None:
    assert {cell.experiment.protocol_label for cell in cells(name)} <= {
        "leaderboard-2019",
        "course-2019",
        "course-mnist",
    }


def test_every_activation_of_the_zoo_is_tried() -> None:
    assert {cell.experiment.activation.name for cell in cells("activations")} == set(ACTIVATIONS)


@pytest.mark.parametrize("claim", posted_claims(), ids=lambda claim: claim.id)
def test_every_claim_of_the_posts_has_its_cells_with_the_control(claim) -> None:
    """For each net, size and protocol that it may be about: what decides it, its own control, and relu."""
    wanted = {claim.activation[0], "relu", claim.smoother_than or "relu", claim.sooner_than or "relu"}
    sweep = cells("posts-2019-mnist" if claim.dataset == "mnist" else "posts-2019")
    protocols = {cell.experiment.protocol for cell in sweep}
    for arch, size, protocol in product(claim.arch or ("xresnet18",), claim.sizes, protocols):
        found = {
            one.activation.name
            for one in (cell.experiment for cell in sweep)
            if claim.fits(
                one.dataset, one.version if one.from_archive else "v2", one.size, one.epochs, one.arch
            )
            and (one.arch, one.size, one.protocol) == (arch, size, protocol)
        }
        assert wanted <= found, (arch, size, protocol)


def test_nothing_of_the_posts_sweep_is_about_no_claim() -> None:
    claims = [claim for claim in posted_claims() if claim.dataset != "mnist"]
    for cell in cells("posts-2019"):
        one = cell.experiment
        assert any(
            claim.fits(one.dataset, one.version, one.size, one.epochs, one.arch) for claim in claims
        ), one.slug


def test_a_sweep_that_does_not_ship_is_named_with_what_it_may_have_been(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BenchError, match=r"^smok: no such file, and no shipped sweep; did you mean smoke\?"):
        sweep_path("smok")
    # Configs and sweeps are two lists of names.
    with pytest.raises(BenchError, match="no shipped sweep"):
        sweep_path("woof128")


def test_an_installed_package_has_them() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    modules = {path.parent for path in (ROOT / "lrelu_bench").rglob("*.py")}
    packages = {path.relative_to(ROOT).as_posix().replace("/", ".") for path in modules}
    assert packages | set(setup["package-dir"]) == set(setup["packages"])
    shipped = {folder for folder in setup["package-dir"].values() if list((ROOT / folder).glob("*.yaml"))}
    assert shipped == {"configs", "configs/sweeps"}
    assert all("*.yaml" in setup["package-data"][package] for package in setup["package-dir"])
