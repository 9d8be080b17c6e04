"""Runs that are killed and fed with faults, in short; `scripts/torture.py` is the long version."""

import sys

import pytest
from torturing import runs
from torturing.subjects import SUBJECTS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_run_that_is_killed_and_taken_up_again_is_the_run_it_would_have_been(tmp_path, name):
    seed = list(SUBJECTS).index(name)
    peaceful, passed = runs.in_peace(name, tmp_path / "peace", 0)
    tally = runs.disturb(name, tmp_path / "killed", peaceful, passed, ["killed"] * 3, seed)
    assert tally.problems == []
    assert tally.faults["killed"] >= 1


@pytest.mark.parametrize("act", [*runs.ACTS, *runs.DAMAGES])
def test_whatever_gets_in_its_way_a_run_ends_as_it_would_have(tmp_path, act):
    peaceful, passed = runs.in_peace("ema", tmp_path / "peace", 0)
    seed = list(runs.CODES).index(act) if act in runs.CODES else 3
    acts = [act, act] if act in runs.ACTS else ["killed", act, "killed", act]
    for force in (False, True):
        tally = runs.disturb("ema", tmp_path / f"forced-{force}", peaceful, passed, acts, seed, force)
        assert tally.problems == []
        assert tally.faults[act] >= 1
