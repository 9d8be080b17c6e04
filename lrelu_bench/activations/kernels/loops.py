"""The kernels of `columns` and `planes` over whole arrays, in blocks and on several threads.

PyTorch's operators would write every intermediate of the formula to memory and read it again, and keep some
until the backward pass; memory is what a training step on a CPU waits for.

Rows are worked on in blocks of a fixed number of elements, each with its own float32 sums, which are then
added in float64 in the order of the blocks: results depend neither on the number of threads nor on which of
them took a block.
"""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numba import float32, uint16

from lrelu_bench.activations.kernels import columns, compiling, planes

Array = np.ndarray[Any, Any]

BLOCK = 1 << 17
"""Elements in a block, which has sums of its own."""

_TURNS = 4
"""Turns for each thread: before each it waits for Python's lock, and at the end for the slowest thread."""

_ELEMENTS = {np.dtype(np.float32): float32, np.dtype(np.uint16): uint16}


def compile_for(dtype: np.dtype[Any]) -> None:
    """Compile all kernels for arrays of this dtype into Numba's cache."""
    for kernel, types in _specialisations(dtype):
        kernel.compile(types)


def _specialisations(dtype: np.dtype[Any]) -> list[compiling.Specialisation]:
    """All kernels with the types they are called with; for others, Numba would compile them at the call."""
    x = _ELEMENTS[dtype][:, ::1]
    return [*columns.specialisations(x), *planes.specialisations(x)]


@cache
def _make_ready(dtype: np.dtype[Any]) -> None:
    """Load all kernels at the first use of one: later, tensors kept for the backward pass fill the memory."""
    if dtype in _ELEMENTS:
        command = f"import numpy, {__name__} as loops; loops.compile_for(numpy.dtype({dtype.name!r}))"
        sources = [Path(module.__file__ or "") for module in (columns, planes)]
        compiling.load(_specialisations(dtype), sources, command)


def forward(x: Array, k: Array, y: Array, residual: Array | None, threads: int) -> None:
    """Fill y (rows, width) with the general form."""
    _share(x, threads, lambda start, stop: columns.forward(x, residual, k, y, start, stop))


def relu_forward(x: Array, k: Array, y: Array, residual: Array | None, threads: int) -> None:
    """Fill y (rows, width) with the ReLU."""
    _share(x, threads, lambda start, stop: columns.relu_forward(x, residual, k, y, start, stop))


def backward(x: Array, grad: Array, k: Array, grad_x: Array, threads: int) -> Array:
    """Fill grad_x; return the sums over rows for leak, -sub and maxv, float64 (3, width)."""
    sums = _block_sums(x, 3, x.shape[1])
    _share(x, threads, lambda start, stop: columns.backward(x, grad, k, grad_x, sums, _rows(x), start, stop))
    return _total(sums)


def forward_planes(x: Array, k: Array, y: Array, threads: int) -> None:
    """Fill y (planes, length)."""
    _share(x, threads, lambda start, stop: planes.forward_planes(x, k, y, start, stop))


def backward_planes(x: Array, grad: Array, k: Array, grad_x: Array, threads: int) -> Array:
    """Fill grad_x; return the sums over planes for leak, -sub and maxv, float64 (3, channels)."""
    sums = _block_sums(x, 3, k.shape[1])

    def work(start: int, stop: int) -> None:
        planes.backward_planes(x, grad, k, grad_x, sums, _rows(x), start, stop)

    _share(x, threads, work)
    return _total(sums)


def moments(x: Array, channels: int, threads: int) -> tuple[Array, Array]:
    """Mean and (biased) variance of each channel, float64 (channels,), where a row holds whole pixels.

    The blocks' moments are joined as in Chan, Golub & LeVeque 1983.
    """
    near, sums = _block_sums(x, 1, x.shape[1]), _block_sums(x, 2, x.shape[1])
    _share(x, threads, lambda start, stop: columns.moments(x, near, sums, _rows(x), start, stop))
    counts = np.diff([*range(0, len(x), _rows(x)), len(x)]).astype(np.float64)[:, None, None]
    middles, found, squares = (
        part.astype(np.float64).reshape(len(counts), -1, channels) for part in (near, sums[:, 0], sums[:, 1])
    )
    pixels = counts.sum() * middles.shape[1]
    # Of numbers that are not finite, nothing is; the training says so.
    with np.errstate(invalid="ignore", over="ignore"):
        means = middles + found / counts
        mean = (counts * means).sum((0, 1)) / pixels
        squares = np.maximum(squares - found**2 / counts, 0) + counts * (means - mean) ** 2
        return mean, squares.sum((0, 1)) / pixels


def norm_sums(
    x: Array, residual: Array | None, grad: Array, k: Array, grad_v: Array | None, threads: int
) -> Array:
    """Fill grad_v where there is a residual; return sums over rows, float64 (5, width).

    They are of the gradient of v, of that times x - mean, and for leak, -sub and maxv.
    """
    sums = _block_sums(x, 5, x.shape[1])

    def work(start: int, stop: int) -> None:
        columns.norm_sums(x, residual, grad, k, grad_v, sums, _rows(x), start, stop)

    _share(x, threads, work)
    return _total(sums)


def relu_sums(x: Array, y: Array | None, grad: Array, k: Array, grad_v: Array | None, threads: int) -> Array:
    """Fill grad_v where v has a residual, and y is given; return the first two of `norm_sums`."""
    sums = _block_sums(x, 2, x.shape[1])

    def work(start: int, stop: int) -> None:
        columns.relu_sums(x, y, grad, k, grad_v, sums, _rows(x), start, stop)

    _share(x, threads, work)
    return _total(sums)


# The gradient through batch normalisation in training, given that of y without a residual, or that of v.


def norm_backward(x: Array, grad: Array, k: Array, grad_x: Array, threads: int) -> None:
    """Fill grad_x behind the general form."""
    _share(x, threads, lambda start, stop: columns.norm_backward(x, grad, k, grad_x, start, stop))


def norm_backward_of_v(x: Array, grad_v: Array, k: Array, grad_x: Array, threads: int) -> None:
    """Fill grad_x behind any activation."""

    def work(start: int, stop: int) -> None:
        columns.norm_backward_of_v(x, grad_v, k, grad_x, start, stop)

    _share(x, threads, work)


def relu_backward(x: Array, grad: Array, k: Array, grad_x: Array, threads: int) -> None:
    """Fill grad_x behind the ReLU."""
    _share(x, threads, lambda start, stop: columns.relu_backward(x, grad, k, grad_x, start, stop))


def _rows(x: Array) -> int:
    """Rows in a block."""
    return max(1, BLOCK // max(1, int(x.shape[1])))


def _block_sums(x: Array, kinds: int, width: int) -> Array:
    return np.zeros((-(-len(x) // _rows(x)), kinds, width), np.float32)


def _total(sums: Array) -> Array:
    with np.errstate(invalid="ignore"):
        total: Array = sums.sum(0, dtype=np.float64)
    return total


def _share(x: Array, threads: int, work: Callable[[int, int], None]) -> None:
    """Call work(start, stop) for all rows, some blocks at a time; threads take the next as they come free."""
    _make_ready(x.dtype)
    blocks = -(-len(x) // _rows(x))
    threads = min(threads, blocks)
    rows = _rows(x) * -(-blocks // (_TURNS * threads if threads > 1 else 1))
    starts = iter(range(0, len(x), rows))  # `next` is one C call, so no two threads get the same
    done: list[int] = []
    failures: list[BaseException] = []

    def take_turns(_: object = None) -> None:
        try:
            for start in starts:
                stop = min(len(x), start + rows)
                work(start, stop)
                done.append(stop - start)
        except BaseException as error:  # OpenMP hands nothing on, Ctrl-C included
            failures.append(error)

    _run_on(threads, take_turns)
    if failures:
        raise failures[0]
    if sum(done) != len(x):
        # Ctrl-C fell outside of the loop; what was not computed must not be used.
        raise KeyboardInterrupt


def _run_on(threads: int, take_turns: Callable[[object], None]) -> None:
    team = _torch_team()
    if threads > 1 and team is not None:
        team.GOMP_parallel(_CALLBACK(take_turns), None, threads, 0)
        return
    helpers = [_pool().submit(take_turns, None) for _ in range(threads - 1)]
    take_turns(None)
    for helper in helpers:
        helper.result()


_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@cache
def _torch_team() -> ctypes.CDLL | None:
    """PyTorch's own OpenMP runtime, where it is GNU's; None elsewhere.

    Its threads keep their cores busy for a while after each operator, waiting for the next one: they are
    at hand at once, while threads of another pool would have to share those cores with them.
    """
    spec = find_spec("torch")
    places = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    found = (path for place in places for path in (place / "lib").glob("libgomp*.so*"))
    try:
        library = ctypes.CDLL(str(next(found)))
        library.GOMP_parallel.argtypes = [_CALLBACK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        library.GOMP_parallel.restype = None
    except (StopIteration, OSError, AttributeError):
        return None
    return library


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="activation")
