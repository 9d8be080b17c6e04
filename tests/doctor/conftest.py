"""A machine of which nothing is known but what a test says."""

import os

import pytest

from lrelu_bench.doctor import compute

STAGES = {
    "imports": {"torch": 1.25, "torchvision": 0.5, "numba": 0.5, "triton": None},
    "devices": {"cuda": "13.0", "hip": None, "available": False, "warnings": [], "gpus": []},
    "choice": {
        "device": "cpu",
        "precision": "bf16",
        "cuda_graph": False,
        "cpu_bf16": True,
        "cpu_capability": "AVX512",
    },
    "mnist_addresses": [],
    "kernels": {"device": "cpu", "seconds": 0.25, "same": True, "cache": None},
}


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch, tmp_path):
    """No variable that a finding turns on; data and results below the test's folder; no driver, no card."""
    for name in list(os.environ):
        if name.upper().startswith("LRELU_BENCH_") or name.lower() in (
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "no_proxy",
            "omp_num_threads",
            "cuda_visible_devices",
            "ssl_cert_file",
            "numba_disable_jit",
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LRELU_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compute, "DRIVER_FILES", ())
    monkeypatch.setattr(compute, "PCI_DEVICES", tmp_path / "no bus")
    monkeypatch.setenv("PATH", str(tmp_path / "no programs"))


@pytest.fixture
def torch_says(monkeypatch):
    """Have torch's process say this, stage by stage, in place of asking it; returns the probe."""

    def say(failure=None, **stages):
        said = {} if failure else {**STAGES, **stages}
        monkeypatch.setattr(compute, "ask", lambda command: compute.Report(said, failure))
        return compute.Probe()

    return say
