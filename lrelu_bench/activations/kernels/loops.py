"""Loops over the general form on the CPU that read each number once, compiled by Numba at first use.

    y = min(max(v, 0) + leak * min(v, 0) - sub, maxv)    v = scale * x + shift (+ residual)

`scale` and `shift` are 1 and 0 for the activation alone, and batch normalisation's where the two are fused.
PyTorch's operators would write every intermediate of the formula to memory and read it again, and keep some
until the backward pass; memory is what a training step on a CPU waits for.

Arrays are float32, or bfloat16 as uint16, of shape (rows, width); arithmetic is float32. The constants stand
in a table of shape (constants, width), one per column; in the kernels named `planes`, of shape (constants,
channels), and row i takes those of channel i modulo channels. Rows are worked on in blocks of a fixed number
of elements, each with its own float32 sums, which are then added in float64 in the order of the blocks:
results depend neither on the number of threads nor on which of them took a block.
"""

import ctypes
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numba import float32, intp, njit, none, uint16
from numba.extending import overload

from lrelu_bench.activations.kernels import compiling

Array = np.ndarray[Any, Any]

BLOCK = 1 << 17
"""Elements in a block: few enough to stay in a core's cache between two passes over them."""

LEAK, SUB, MAXV, SCALE, SHIFT, MEAN, INVSTD, GRAD_MEAN, GRAD_SLOPE = range(9)
"""Rows of the table of constants; each kernel says which it reads."""

_ZERO = np.float32(0)
_ONE_BELOW_HALF, _LOW_BIT, _SHIFT_16, _NAN = np.uint32(0x7FFF), np.uint32(1), np.uint32(16), np.uint16(0x7FC0)


def _read(value: Any) -> Any:
    raise NotImplementedError("compiled by Numba only")


def _as_in(array: Any, value: Any) -> Any:
    raise NotImplementedError("compiled by Numba only")


@overload(_read)
def _read_typed(value):  # type: ignore[no-untyped-def]
    if value == uint16:
        return lambda value: np.uint32(np.uint32(value) << _SHIFT_16).view(np.float32)
    return lambda value: value


@overload(_as_in)
def _as_in_typed(array, value):  # type: ignore[no-untyped-def]
    def rounded(array, value):  # type: ignore[no-untyped-def]
        # To nearest, ties to even, as the hardware does; rounding up must not carry a NaN into infinity.
        bits = np.float32(value).view(np.uint32)
        even = np.uint32(np.uint32(bits >> _SHIFT_16) & _LOW_BIT)
        up = np.uint32(np.uint32(bits + np.uint32(_ONE_BELOW_HALF + even)) >> _SHIFT_16)
        return _NAN if np.isnan(value) else np.uint16(up)

    return rounded if array.dtype == uint16 else lambda array, value: value


# Options stand here, because Numba's cache compiles anew what changes in the kernels' own file.
def _compile(function: Callable[..., None], reorder: bool = False) -> Callable[..., None]:
    # Sums along a row are vectorised only where the compiler may reorder them; it does so once, here.
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"reassoc", "nsz"} if reorder else False,
    }
    compiled: Callable[..., None]
    try:
        compiled = njit(cache=True, **options)(function)
    except RuntimeError:
        # No folder may be written to keep the machine code: every process compiles anew.
        compiled = njit(**options)(function)
    return compiled


_reordering = partial(_compile, reorder=True)


# A ternary is given a name before it is passed on: as an argument, Numba compiles it to a slow branch.


@_compile
def _forward(x, residual, k, y, start, stop):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        for j in range(x.shape[1]):
            v = k[SCALE, j] * _read(x[i, j]) + k[SHIFT, j]
            if residual is not None:
                v += _read(residual[i, j])
            bent = (v if v > _ZERO else k[LEAK, j] * v) - k[SUB, j]
            out = k[MAXV, j] if bent > k[MAXV, j] else bent
            y[i, j] = _as_in(y, out)


@_compile
def _backward(x, grad, k, grad_x, sums, start, stop):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        for j in range(x.shape[1]):
            v, g = _read(x[i, j]), _read(grad[i, j])
            capped = (v if v > _ZERO else k[LEAK, j] * v) - k[SUB, j] > k[MAXV, j]
            passed = _ZERO if capped else g
            sums[0, j] += passed * (_ZERO if v > _ZERO else v)
            sums[1, j] += passed
            sums[2, j] += g if capped else _ZERO
            grad_v = passed if v > _ZERO else k[LEAK, j] * passed
            grad_x[i, j] = _as_in(grad_x, grad_v)


@_compile
def _forward_planes(x, k, y, start, stop):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        c = i % k.shape[1]
        leak, sub, maxv = k[LEAK, c], k[SUB, c], k[MAXV, c]
        for j in range(x.shape[1]):
            v = _read(x[i, j])
            bent = (v if v > _ZERO else leak * v) - sub
            out = maxv if bent > maxv else bent
            y[i, j] = _as_in(y, out)


@_reordering
def _backward_planes(x, grad, k, grad_x, sums, start, stop):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        c = i % k.shape[1]
        leak, sub, maxv = k[LEAK, c], k[SUB, c], k[MAXV, c]
        for_leak = for_sub = for_maxv = _ZERO
        for j in range(x.shape[1]):
            v, g = _read(x[i, j]), _read(grad[i, j])
            capped = (v if v > _ZERO else leak * v) - sub > maxv
            passed = _ZERO if capped else g
            for_leak += passed * (_ZERO if v > _ZERO else v)
            for_sub += passed
            for_maxv += g if capped else _ZERO
            grad_v = passed if v > _ZERO else leak * passed
            grad_x[i, j] = _as_in(grad_x, grad_v)
        sums[0, c] += for_leak
        sums[1, c] += for_sub
        sums[2, c] += for_maxv


@_compile
def _moments(x, mean, squares, start, stop):  # type: ignore[no-untyped-def]
    mean[:] = _ZERO
    squares[:] = _ZERO
    for i in range(start, stop):
        for j in range(x.shape[1]):
            mean[j] += _read(x[i, j])
    mean /= np.float32(stop - start)
    # A second pass over the block, which is in the cache: sums of squares would cancel.
    for i in range(start, stop):
        for j in range(x.shape[1]):
            squares[j] += (_read(x[i, j]) - mean[j]) ** 2


@_compile
def _norm_sums(x, residual, grad, k, grad_residual, sums, start, stop):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        for j in range(x.shape[1]):
            c, g = _read(x[i, j]), _read(grad[i, j])
            v = k[SCALE, j] * c + k[SHIFT, j]
            if residual is not None:
                v += _read(residual[i, j])
            capped = (v if v > _ZERO else k[LEAK, j] * v) - k[SUB, j] > k[MAXV, j]
            passed = _ZERO if capped else g
            sums[0, j] += passed * (_ZERO if v > _ZERO else v)
            sums[1, j] += passed
            sums[2, j] += g if capped else _ZERO
            grad_v = passed if v > _ZERO else k[LEAK, j] * passed
            sums[3, j] += grad_v
            sums[4, j] += grad_v * ((c - k[MEAN, j]) * k[INVSTD, j])
            if residual is not None:
                grad_residual[i, j] = _as_in(grad_residual, grad_v)


@_compile
def _norm_backward(x, residual, grad, k, grad_x, start, stop):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        for j in range(x.shape[1]):
            c, g = _read(x[i, j]), _read(grad[i, j])
            v = k[SCALE, j] * c + k[SHIFT, j]
            if residual is not None:
                v += _read(residual[i, j])
            capped = (v if v > _ZERO else k[LEAK, j] * v) - k[SUB, j] > k[MAXV, j]
            passed = _ZERO if capped else g
            grad_v = passed if v > _ZERO else k[LEAK, j] * passed
            normal = (c - k[MEAN, j]) * k[INVSTD, j]
            grad_x[i, j] = _as_in(
                grad_x, k[SCALE, j] * (grad_v - k[GRAD_MEAN, j] - normal * k[GRAD_SLOPE, j])
            )


_ELEMENTS = {np.dtype(np.float32): float32, np.dtype(np.uint16): uint16}


def compile_for(dtype: np.dtype[Any]) -> None:
    """Compile all kernels for arrays of this dtype into Numba's cache."""
    for kernel, types in _specialisations(dtype):
        kernel.compile(types)


def _specialisations(dtype: np.dtype[Any]) -> list[compiling.Specialisation]:
    """All kernels with the types they are called with; for others, Numba would compile them at the call."""
    x, k, rows = _ELEMENTS[dtype][:, ::1], float32[:, ::1], (intp, intp)
    sums, of_block = k, float32[::1]
    return [
        (_forward_planes, (x, k, x, *rows)),
        (_backward_planes, (x, x, k, x, sums, *rows)),
        (_backward, (x, x, k, x, sums, *rows)),
        (_moments, (x, of_block, of_block, *rows)),
        *((_forward, (x, residual, k, x, *rows)) for residual in (none, x)),
        *((_norm_sums, (x, residual, x, k, residual, sums, *rows)) for residual in (none, x)),
        *((_norm_backward, (x, residual, x, k, x, *rows)) for residual in (none, x)),
    ]


@cache
def _make_ready(dtype: np.dtype[Any]) -> None:
    """Load all kernels at the first use of one: later, tensors kept for the backward pass fill the memory."""
    if dtype in _ELEMENTS:
        command = f"import numpy, {__name__} as loops; loops.compile_for(numpy.dtype({dtype.name!r}))"
        compiling.load(_specialisations(dtype), Path(__file__), command)


def forward(x: Array, k: Array, y: Array, residual: Array | None, threads: int) -> None:
    """Fill y (rows, width). Reads LEAK, SUB, MAXV, SCALE, SHIFT."""
    _each_block(x, threads, lambda b, start, stop: _forward(x, residual, k, y, start, stop))


def backward(x: Array, grad: Array, k: Array, grad_x: Array, threads: int) -> Array:
    """Fill grad_x; return the sums over rows for leak, -sub and maxv, float64 (3, width).

    Reads LEAK, SUB, MAXV.
    """
    sums = _block_sums(x, 3, x.shape[1])
    _each_block(x, threads, lambda b, start, stop: _backward(x, grad, k, grad_x, sums[b], start, stop))
    return _total(sums)


def forward_planes(x: Array, k: Array, y: Array, threads: int) -> None:
    """Fill y (planes, length). Reads LEAK, SUB, MAXV."""
    _each_block(x, threads, lambda b, start, stop: _forward_planes(x, k, y, start, stop))


def backward_planes(x: Array, grad: Array, k: Array, grad_x: Array, threads: int) -> Array:
    """Fill grad_x; return the sums over planes for leak, -sub and maxv, float64 (3, channels).

    Reads LEAK, SUB, MAXV.
    """
    sums = _block_sums(x, 3, k.shape[1])
    _each_block(x, threads, lambda b, start, stop: _backward_planes(x, grad, k, grad_x, sums[b], start, stop))
    return _total(sums)


def moments(x: Array, channels: int, threads: int) -> tuple[Array, Array]:
    """Mean and (biased) variance of each channel, float64 (channels,), where a row holds whole pixels.

    The blocks' moments are joined as in Chan, Golub & LeVeque 1983.
    """
    found = _block_sums(x, 2, x.shape[1])
    _each_block(x, threads, lambda b, start, stop: _moments(x, found[b, 0], found[b, 1], start, stop))
    counts = np.diff([*range(0, len(x), _rows(x)), len(x)]).astype(np.float64)[:, None, None]
    means, squares = (found[:, i].astype(np.float64).reshape(len(counts), -1, channels) for i in (0, 1))
    pixels = counts.sum() * means.shape[1]
    mean = (counts * means).sum((0, 1)) / pixels
    return mean, (squares + counts * (means - mean) ** 2).sum((0, 1)) / pixels


def norm_sums(
    x: Array, residual: Array | None, grad: Array, k: Array, grad_residual: Array | None, threads: int
) -> Array:
    """Fill grad_residual; return sums over rows, float64 (5, width).

    They are for leak, -sub and maxv, then of the gradient of v, and of that times the normalised x.
    Reads LEAK, SUB, MAXV, SCALE, SHIFT, MEAN, INVSTD.
    """
    sums = _block_sums(x, 5, x.shape[1])

    def work(b: int, start: int, stop: int) -> None:
        _norm_sums(x, residual, grad, k, grad_residual, sums[b], start, stop)

    _each_block(x, threads, work)
    return _total(sums)


def norm_backward(
    x: Array, residual: Array | None, grad: Array, k: Array, grad_x: Array, threads: int
) -> None:
    """Fill grad_x, the gradient through batch normalisation in training. Reads all constants."""
    _each_block(x, threads, lambda b, start, stop: _norm_backward(x, residual, grad, k, grad_x, start, stop))


def _rows(x: Array) -> int:
    """Rows in a block."""
    return max(1, BLOCK // max(1, int(x.shape[1])))


def _block_sums(x: Array, kinds: int, width: int) -> Array:
    return np.zeros((-(-len(x) // _rows(x)), kinds, width), np.float32)


def _total(sums: Array) -> Array:
    total: Array = sums.sum(0, dtype=np.float64)
    return total


def _each_block(x: Array, threads: int, work: Callable[[int, int, int], None]) -> None:
    """Call work(block, start, stop) for every block; threads take the next block as they come free."""
    _make_ready(x.dtype)
    rows = _rows(x)
    blocks = -(-len(x) // rows)
    turns = itertools.count()  # `next` is one C call, so no two threads get the same block
    done: list[int] = []
    failures: list[BaseException] = []

    def take_turns(_: object = None) -> None:
        try:
            while (block := next(turns)) < blocks:
                work(block, block * rows, min(len(x), (block + 1) * rows))
                done.append(block)
        except BaseException as error:  # OpenMP hands nothing on, Ctrl-C included
            failures.append(error)

    _run_on(min(threads, blocks), take_turns)
    if failures:
        raise failures[0]
    if len(done) != blocks:
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
