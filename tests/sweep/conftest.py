"""What the tests of the engines share."""

import os

import pytest
from filelock import FileLock
from real_units import in_turn


@pytest.fixture(scope="session")
def expected(tmp_path_factory):
    """The results of the sequential sweep, trained once for all of pytest's workers."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    done = shared / "in-turn-is-done"
    with FileLock(shared / "in-turn.lock"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("LRELU_BENCH_DATA", str(shared / "data"))
        if not done.exists():
            in_turn(shared / "in-turn")
            done.touch()
    return shared / "in-turn"
