"""Whether the fused kernels of learned ReLUs work, and whether they are compiled once or every time."""

import os
from collections.abc import Iterator
from pathlib import Path

from lrelu_bench.doctor.compute import Probe
from lrelu_bench.doctor.finding import Finding, ok, problem, warning
from lrelu_bench.doctor.folders import why_not_writable

_CHOSEN = "set NUMBA_CACHE_DIR to a folder of yours"


def fused(probe: Probe) -> Iterator[Finding]:
    """A learned ReLU, forward and backward, on the device that a run uses."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        yield problem("NUMBA_DISABLE_JIT", "is set: nothing is compiled", "unset NUMBA_DISABLE_JIT")
        return
    said, why = probe.report().stage("kernels")
    if said is None:
        yield problem(
            "kernels",
            f"do not work: {why}",
            "install Numba and NumPy again (pip install --force-reinstall numba numpy); on a GPU, Triton "
            "needs a C compiler (gcc) and Python's headers as well",
        )
        return
    where = {"cuda": "the GPU", "cpu": "the CPU"}[said["device"]]
    if said["same"]:
        yield ok("kernels", f"compute what the formula says on {where}; ready in {said['seconds']:.1f} s")
    else:
        yield problem(
            "kernels",
            f"compute something else than the formula on {where}",
            "install torch, Numba and Triton of the versions above again",
        )
    yield from _cache(said["cache"])


def _cache(folder: str | None) -> Iterator[Finding]:
    if folder is None:
        yield warning("Numba's cache", "no folder can be written: each process compiles anew", _CHOSEN)
    elif why := why_not_writable(Path(folder)):
        yield warning("Numba's cache", f"{folder} cannot be written ({why})", _CHOSEN)
    else:
        yield ok("Numba's cache", folder)
