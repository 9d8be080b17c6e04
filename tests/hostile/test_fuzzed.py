"""Mutated files at every command that reads files. The long version is `scripts/fuzz.py`."""

import time
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostile.tries import KINDS, Bench, warm

INPUTS = {"config": 200, "results": 120, "taken": 20, "readme": 100, "claims": 60, "board": 60, "names": 40}
SECONDS = 15
"""How long one kind may take here; what is left then is for the long version."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Where tries are laid out, with every cache filled."""
    bench = Bench(tmp_path_factory.mktemp("tries"), tmp_path_factory.mktemp("caches"))
    warm(bench)
    return bench


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_no_input_does_more_than_end_in_a_message(kind: str, bench: Bench) -> None:
    until = time.monotonic() + SECONDS

    @settings(
        max_examples=INPUTS[kind],
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    # Of a mutation nothing is left to shrink, and drawing each choice would take longer than trying it.
    @given(st.randoms(use_true_random=True))
    def holds(random: Random) -> None:
        if time.monotonic() < until:
            outcome = KINDS[kind](random, bench)
            assert not outcome.problems, f"{outcome.arguments}\n{outcome.problems}"

    holds()
