"""Processor and memory, of a system made up for the test."""

import os

import pytest

from lrelu_bench import environment
from lrelu_bench.doctor import machine


def _told(findings):
    return {finding.check: (finding.status, finding.detail, finding.remedy) for finding in findings}


@pytest.mark.parametrize(
    ("threads", "words"),
    [
        ("1", "1 thread for 4 cores leaves cores idle"),
        ("8", "8 threads for 4 cores is more than there are cores"),
        ("many", "'many' is no number of threads"),
        ("0", "'0' is no number of threads"),
        ("4", None),
        ("4,2", None),
    ],
)
def test_threads_are_held_against_cores(monkeypatch, threads, words):
    monkeypatch.setattr(machine, "usable_cores", lambda: 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    told = _told(machine.cores())
    assert "4 cores usable of 64: affinity or the container's share" in told["processor"][1]
    assert told.get("OMP_NUM_THREADS", (None, None))[1] == words


def _meminfo(monkeypatch, tmp_path, available):
    lines = (
        f"MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:   {available} kB\nHugePages_Total: 0\n"
    )
    (tmp_path / "meminfo").write_text(lines)
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "CONTROL_GROUPS", tmp_path / "cgroup")


def test_memory_of_the_system(monkeypatch, tmp_path):
    _meminfo(monkeypatch, tmp_path, 8_000_000)
    assert _told(machine.memory())["memory"][:2] == ("ok", "8.2 GB of 16.4 GB available")
    _meminfo(monkeypatch, tmp_path, 1_000_000)
    status, detail, remedy = _told(machine.memory())["memory"]
    assert (status, bool(remedy)) == ("warning", True)
    assert detail == "1.0 GB of 16.4 GB available; a run on the CPU takes about 2.0 GB at 128 px"


@pytest.mark.parametrize("version", [1, 2])
def test_memory_of_a_container_counts_what_can_be_taken_back_as_available(monkeypatch, tmp_path, version):
    _meminfo(monkeypatch, tmp_path, 8_000_000)
    group = tmp_path / "cgroup" / ("memory" if version == 1 else "")
    group.mkdir(parents=True)
    names = (
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        if version == 1
        else ("memory.max", "memory.current", "inactive_file")
    )
    (group / names[0]).write_text("4000000000\n")
    (group / names[1]).write_text("3500000000\n")
    (group / "memory.stat").write_text(f"anon 1\n{names[2]} 3000000000\n")
    assert _told(machine.memory())["memory"][1] == "3.5 GB of the container's 4.0 GB available"
    (group / names[0]).write_text("max\n" if version == 2 else "9223372036854771712\n")
    assert _told(machine.memory())["memory"][1] == "8.2 GB of 16.4 GB available"


def test_a_system_that_does_not_tell_its_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "none")
    assert _told(machine.memory())["memory"][0] == "ok"


def test_cores_here_are_those_of_results():
    assert f"{environment.usable_cores()} core" in _told(machine.cores())["processor"][1]
