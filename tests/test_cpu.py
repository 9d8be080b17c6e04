"""What training on a CPU asks of the machine."""

import subprocess
import sys

import pytest
import torch

from lrelu_bench import environment
from lrelu_bench.training import cpu
from lrelu_bench.training.precision import Compute, choose_compute


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "5000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "nonsense\n"}, None),
        ({}, None),
    ],
)
def test_a_containers_share_of_the_cores(tmp_path, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert environment._container_cores(tmp_path) == cores


def test_threads_stay_within_the_cores_unless_the_user_says_otherwise(monkeypatch):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        monkeypatch.setattr(environment, "usable_cores", lambda: 2)
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        cpu.pin_threads()
        assert torch.get_num_threads() == 3
        monkeypatch.delenv("OMP_NUM_THREADS")
        cpu.pin_threads()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def fresh():
    cpu.prefers_bf16.cache_clear()
    yield
    cpu.prefers_bf16.cache_clear()


def ticking(monkeypatch, seconds):
    """A clock by which the measurements, in fp32 and bf16 in turn, take this long."""
    now, spans = [0.0], [second for pair in seconds for second in pair]

    def clock():
        clock.calls += 1
        if clock.calls % 2 == 0:
            now[0] += spans.pop(0)
        return now[0]

    clock.calls = 0
    monkeypatch.setattr(cpu.time, "perf_counter", clock)


OFTEN = cpu.TRIES - 1


@pytest.mark.parametrize(
    ("seconds", "precision"),
    [
        ([(9, 30), *[(4, 2)] * OFTEN], "bf16"),
        ([(9, 1000), *[(4, 5)] * OFTEN], "fp32"),
        ([(4, 4.7), *[(4, 50)] * OFTEN], "bf16"),
        ([(400, 3), *[(5, 400)] * OFTEN], "bf16"),
    ],
)
def test_bf16_is_chosen_where_it_is_measured_to_be_faster(monkeypatch, fresh, seconds, precision):
    monkeypatch.setattr(cpu, "computes_bf16", lambda: True)
    ticking(monkeypatch, seconds)
    threads = torch.get_num_threads()
    assert choose_compute("cpu", "auto").precision == precision
    assert torch.get_num_threads() == threads


def test_without_units_for_it_bf16_is_not_even_tried(monkeypatch, fresh):
    monkeypatch.setattr(cpu, "computes_bf16", lambda: False)
    monkeypatch.setattr(cpu.time, "perf_counter", None)
    assert choose_compute("cpu", "auto").precision == "fp32"
    assert Compute(torch.device("cpu"), "bf16").emulated


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_kept():
    # A process of its own: what is set stays set.
    code = """
import resource, torch
from lrelu_bench.training import cpu
cpu.prepare()
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20): torch.ones(1 << 24)  # until the heap has found its shape
before = faults()
for _ in range(10): torch.ones(1 << 24)
print(faults() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # 64 MB ten times are 160,000 pages.
    assert int(done.stdout) < 5_000
