"""The command line in this process, for every test."""

import os
import signal
import sys

import pytest

from lrelu_bench import cli

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

# Workers that each compute on all cores stand in each other's way. Before torch is imported, which reads it.
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, CORES // int(workers))))

# A shell that starts the tests in the background has them ignore Ctrl-C, which some of them press.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers():
    """Half as many again as there are cores: a good fifth of the time, tests wait for others."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return CORES + CORES // 2


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run a command line in this process, in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.setenv("LRELU_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def call_(*arguments):
        monkeypatch.setattr(sys, "argv", ["lrelu-bench", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call_
