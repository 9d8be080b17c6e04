"""Steps of the CPU kernels without torch, for processes that tests start and look into."""

import subprocess
from pathlib import Path

import numpy as np

from lrelu_bench.activations.kernels import columns, loops, planes

started = []
"""The processes that were asked for to compile kernels."""

_run = subprocess.run


def _counted(arguments, **options):
    if any("compile_for" in argument for argument in arguments):
        started.append(arguments)
    return _run(arguments, **options)


subprocess.run = _counted


def resident_code():
    """Kilobytes of llvmlite's code that are in memory."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    mapped = [next(line for line in lines if line.startswith("Rss:")) for at in lines if _is_code(at)]
    assert mapped
    return sum(int(line.split()[1]) for line in mapped)


def _is_code(line):
    return " r-xp " in line and "libllvmlite" in line


def stored(values, dtype):
    """float32 values as the kernels take them."""
    exact = np.array([values], np.float32)
    return exact if dtype == "float32" else (exact.view(np.uint32) >> 16).astype(np.uint16)


def values(array):
    """And back, as a list."""
    exact = array if array.dtype == np.float32 else (array.astype(np.uint32) << 16).view(np.float32)
    return exact[0].tolist()


def check(dtype):
    """Run every kernel, with and without a residual, on numbers whose results are exact."""
    x = stored([-2, 0, 1, 3], dtype)
    k = np.zeros((8, 4), np.float32)
    k[columns.LEAK], k[columns.SUB], k[columns.MAXV], k[columns.SCALE] = 0.5, 0.25, 2, 1
    y, below, of_residual = (np.empty_like(x) for _ in range(3))
    mean, variance = loops.moments(x, 4, 1)
    assert mean.tolist() == [-2, 0, 1, 3]
    assert not variance.any()
    for residual, into in ((None, None), (np.zeros_like(x), of_residual)):
        loops.forward(x, k, y, residual, 1)
        assert values(y) == [-1.25, -0.25, 0.75, 2]
        sums = loops.norm_sums(x, residual, x, k, into, 1)
        assert sums[:2].tolist() == [[-1, 0, 1, 0], [2, 0, 1, 0]]
        assert sums[2:].tolist() == [[4, 0, 0, 0], [-2, 0, 1, 0], [0, 0, 0, 3]]
    assert values(of_residual) == [-1, 0, 1, 0]
    loops.norm_backward(x, x, k, below, 1)
    assert values(below) == [-1, 0, 1, 0]
    loops.norm_backward_of_v(x, of_residual, k, below, 1)
    assert values(below) == [-1, 0, 1, 0]
    for residual, output, into in ((None, None, None), (np.zeros_like(x), y, of_residual)):
        loops.relu_forward(x, k, y, residual, 1)
        assert values(y) == [0, 0, 1, 3]
        assert loops.relu_sums(x, output, x, k, into, 1).tolist() == [[0, 0, 1, 3], [0, 0, 1, 9]]
    assert values(of_residual) == [0, 0, 1, 3]
    loops.relu_backward(x, x, k, below, 1)
    assert values(below) == [0, 0, 1, 3]
    assert loops.backward(x, x, k, below, 1).sum(1).tolist() == [4, -1, 3]
    assert values(below) == [-1, 0, 1, 0]
    check_planes(dtype)


def check_planes(dtype):
    """Run the two kernels that read planes."""
    x = stored([-2, 0, 1, 3], dtype)
    k = np.array([[0.5], [0.25], [2]], np.float32)
    y, below = np.empty_like(x), np.empty_like(x)
    loops.forward_planes(x, k, y, 1)
    assert values(y) == [-1.25, -0.25, 0.75, 2]
    assert loops.backward_planes(x, x, k, below, 1).sum(1).tolist() == [4, -1, 3]
    assert values(below) == [-1, 0, 1, 0]


def know_planes_alone():
    """Have no other kernels made ready, whose compilation takes long."""
    loops._specialisations = lambda dtype: planes.specialisations(loops._ELEMENTS[dtype][:, ::1])


def kernels():
    """Every kernel once."""
    return {kernel for dtype in loops._ELEMENTS for kernel, _ in loops._specialisations(dtype)}


def compiled_here():
    """How many specialisations this process compiled by itself."""
    return sum(sum(kernel.stats.cache_misses.values()) for kernel in kernels())
