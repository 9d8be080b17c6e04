"""Loops over tensors whose pixels of one channel lie side by side, compiled by Numba.

    y = min(max(x, 0) + leak * min(x, 0) - sub, maxv)

Arrays are float32, or bfloat16 as uint16, of shape (planes, length); arithmetic is float32. The constants
leak, sub and maxv stand in a table of shape (3, channels), and plane i takes those of channel i modulo
channels; sums, of shape (3, channels), are added to.
"""

from typing import Any

import numpy as np
from numba import float32, intp, uint16
from numba.extending import overload

from lrelu_bench.activations.kernels import compiling

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
_kernel = compiling.kept(nogil=True, error_model="numpy")
# Sums along a row are vectorised only where the compiler may reorder them; it does so once, here.
_reordering = compiling.kept(nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})


# A ternary is given a name before it is passed on: as an argument, Numba compiles it to a slow branch.


@_kernel
def forward_planes(x, k, y, start, stop):  # type: ignore[no-untyped-def]
    """Fill y."""
    for i in range(start, stop):
        c = i % k.shape[1]
        leak, sub, maxv = k[0, c], k[1, c], k[2, c]
        for j in range(x.shape[1]):
            v = _read(x[i, j])
            bent = (v if v > _ZERO else leak * v) - sub
            out = maxv if bent > maxv else bent
            y[i, j] = _as_in(y, out)


@_reordering
def backward_planes(x, grad, k, grad_x, sums, rows, start, stop):  # type: ignore[no-untyped-def]
    """Fill grad_x, and add to sums for leak, -sub and maxv, of each channel."""
    for i in range(start, stop):
        c = i % k.shape[1]
        leak, sub, maxv = k[0, c], k[1, c], k[2, c]
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
        sums[i // rows, 0, c] += for_leak
        sums[i // rows, 1, c] += for_sub
        sums[i // rows, 2, c] += for_maxv


def specialisations(x: Any) -> list[compiling.Specialisation]:
    """All kernels with the types they are called with, for arrays of the type x."""
    k, sums, rows = float32[:, ::1], float32[:, :, ::1], (intp, intp)
    return [(forward_planes, (x, k, x, *rows)), (backward_planes, (x, x, k, x, sums, intp, *rows))]
