"""What this machine trains on, found without torch, which takes seconds to import."""

import ctypes
import os
import sys
from pathlib import Path

from lrelu_bench import environment
from lrelu_bench.sweep import estimate
from lrelu_bench.sweep.estimate import Target

CPUINFO = Path("/proc/cpuinfo")
_BF16_UNITS = frozenset(("avx512_bf16", "amx_tile"))


def target() -> Target:
    """What units that choose their device themselves train on here."""
    if _for_amd():
        return Target(why="torch for AMD GPUs is installed here, whose driver is not asked")
    none = without_gpu()
    return cpu(f"{none}: estimated for the CPU") if none else Target(gpu(), why="estimated for the GPU here")


def without_gpu() -> str | None:
    """Why nothing can train on a GPU here; None where something can, or that is not known."""
    if _for_amd():
        return None
    if gpu() is None:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        return "no GPU here" if hidden is None else f"CUDA_VISIBLE_DEVICES={hidden!r} shows no GPU"
    return None if environment.torch_cuda() else "the torch installed here is a build without CUDA"


def _for_amd() -> bool:
    return "+rocm" in environment.package_versions()["torch"]


def cpu(why: str) -> Target:
    """This machine's CPU."""
    return Target(estimate.this_cpu(), "bf16" if computes_bf16() else "fp32", why)


def gpu() -> str | None:
    """The name of the first CUDA GPU that this process may use; None where the driver shows it none."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    count, first, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
    # Each gives 0 where it succeeds. CUDA_VISIBLE_DEVICES counts here as it does with torch.
    found = (
        driver.cuInit(0) == 0
        and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
        and count.value > 0
        and driver.cuDeviceGet(ctypes.byref(first), 0) == 0
        and driver.cuDeviceGetName(name, len(name), first) == 0
    )
    return name.value.decode(errors="replace") if found else None


def computes_bf16() -> bool:
    """Whether the processor has units for bf16, which `precision: auto` then takes (Linux; elsewhere no)."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return not _BF16_UNITS.isdisjoint(flags)
