"""What this machine trains on, asked of the driver and the system without torch."""

import ctypes
from pathlib import Path

import pytest

from lrelu_bench.sweep import this_machine


class Driver:
    """CUDA's driver library with so many GPUs; `init` is what it answers first."""

    def __init__(self, count: int, init: int = 0) -> None:
        self.count, self.init = count, init

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.init

    def cuDeviceGetCount(self, count) -> int:  # noqa: N802
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, device, ordinal: int) -> int:  # noqa: N802
        return 0

    def cuDeviceGetName(self, name, length: int, device) -> int:  # noqa: N802
        name.value = b"NVIDIA H200"
        return 0


@pytest.mark.parametrize(
    ("driver", "name"), [(Driver(2), "NVIDIA H200"), (Driver(0), None), (Driver(1, init=100), None)]
)
def test_the_first_gpu_by_the_drivers_word(monkeypatch, driver: Driver, name: str | None) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda library: driver)
    assert this_machine.gpu() == name


def test_without_a_driver_there_is_no_gpu(monkeypatch) -> None:
    def missing(library: str) -> None:
        raise OSError(f"{library}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert this_machine.gpu() is None


@pytest.mark.parametrize(
    ("flags", "found"), [("fpu avx2 avx512_bf16", True), ("fpu amx_tile", True), ("fpu avx2 avx512f", False)]
)
def test_units_for_bf16(monkeypatch, tmp_path: Path, flags: str, found: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: none\n")
    monkeypatch.setattr(this_machine, "CPUINFO", tmp_path / "cpuinfo")
    assert this_machine.computes_bf16() is found


def test_a_system_that_tells_nothing_has_no_units_for_bf16(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(this_machine, "CPUINFO", tmp_path / "none")
    assert this_machine.computes_bf16() is False


def test_torch_says_the_same_of_this_processor() -> None:
    from lrelu_bench.training.cpu import computes_bf16

    assert this_machine.computes_bf16() == computes_bf16()
