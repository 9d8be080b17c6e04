"""Loops over tensors whose channels lie side by side that read each number once, compiled by Numba.

    y = min(max(v, 0) + leak * min(v, 0) - sub, maxv)    v = scale * x + shift (+ residual)

`scale` and `shift` are 1 and 0 for the activation alone, and batch normalisation's where the two are fused;
in the kernels named `relu`, y = max(v, 0).

Arrays are float32, or bfloat16 as uint16, of shape (rows, width); arithmetic is float32. The constants stand
in a table of shape (constants, width), one per column; sums, of shape (sums, width), are added to.
Columns are worked on in strips: LLVM's vectors, so that it has no loop to vectorise and no reason to doubt,
hold a strip's constants and sums in registers from row to row.

Whatever kernels are made of is in this file: Numba's cache compiles anew what changes in the kernels' own.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, float32, intp, none, types, uint16, void
from numba.core import cgutils

from lrelu_bench.activations.kernels import compiling

_extending: Any = extending
_builders: Any = cgutils

LEAK, SUB, MAXV, SCALE, SHIFT, MEAN, SLOPE, OFFSET = range(8)
"""Rows of the table of constants; each kernel says which it reads."""

LANES = 32
"""Columns worked on at once: sums and constants of so many stay in registers from row to row."""

_GROUP = 1 << 9
"""Elements of the rows that a strip of columns runs down before the next strip follows.

Few enough for the first-level cache, so that memory is read in its order.
"""


class _Lanes(types.Type):
    """float32 numbers of neighbouring columns, or truth values: one vector of LLVM's."""

    def __init__(self, count: int, element: str = "float") -> None:
        self.count, self.element = count, element
        super().__init__(name=f"{element}x{count}")

    def of(self, element: str) -> ir.VectorType:
        elements = {
            "float": ir.FloatType(),
            "bool": ir.IntType(1),
            "i16": ir.IntType(16),
            "i32": ir.IntType(32),
        }
        return ir.VectorType(elements[element], self.count)

    def filled(self, element: str, value: float) -> ir.Constant:
        return ir.Constant(self.of(element), [value] * self.count)


@_extending.register_model(_Lanes)
class _LanesModel(extending.models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: _Lanes) -> None:
        super().__init__(manager, lanes, lanes.of(lanes.element))  # type: ignore[no-untyped-call]


def _zeros(count: int) -> Any:
    @_extending.intrinsic
    def zeros(context):  # type: ignore[no-untyped-def]
        lanes = _Lanes(count)
        return lanes(), lambda *_: lanes.filled("float", 0)

    return zeros


_strip, _single = _zeros(LANES), _zeros(1)


def _pointer(lanes: _Lanes, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """To the elements of array[i, j:], from the arguments array, i and j."""
    held, i, j = args[:3]
    array = signature.args[0]
    made = context.make_array(array)(context, builder, held)
    first = _builders.get_item_pointer(context, builder, array, made, [i, j], wraparound=False)
    return builder.bitcast(first, lanes.of("i16" if array.dtype == uint16 else "float").as_pointer())


@_extending.intrinsic
def _load(context, array, i, j, like):  # type: ignore[no-untyped-def]
    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        width = array.dtype.bitwidth // 8
        read = builder.load(_pointer(like, context, builder, signature, args), align=width)
        if array.dtype != uint16:
            return read
        bits = builder.shl(builder.zext(read, like.of("i32")), like.filled("i32", 16))
        return builder.bitcast(bits, like.of("float"))

    return like(array, intp, intp, like), lower


@_extending.intrinsic
def _store(context, array, i, j, value):  # type: ignore[no-untyped-def]
    def rounded(builder: Any, number: Any) -> Any:
        # To nearest, ties to even; rounding up must not carry a NaN into infinity.
        bits, sixteen = builder.bitcast(number, value.of("i32")), value.filled("i32", 16)
        even = builder.and_(builder.lshr(bits, sixteen), value.filled("i32", 1))
        half = builder.add(even, value.filled("i32", 0x7FFF))
        up = builder.trunc(builder.lshr(builder.add(bits, half), sixteen), value.of("i16"))
        is_nan = builder.fcmp_unordered("uno", number, number)
        return builder.select(is_nan, value.filled("i16", 0x7FC0), up)

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        written = rounded(builder, args[3]) if array.dtype == uint16 else args[3]
        width = array.dtype.bitwidth // 8
        builder.store(written, _pointer(value, context, builder, signature, args), align=width)

    return void(array, intp, intp, value), lower


@_extending.intrinsic
def _add_to(context, array, i, j, value):  # type: ignore[no-untyped-def]
    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _pointer(value, context, builder, signature, args)
        builder.store(builder.fadd(builder.load(place, align=4), args[3]), place, align=4)

    return void(array, intp, intp, value), lower


@_extending.intrinsic
def _times_plus(context, a, b, c):  # type: ignore[no-untyped-def]
    """``a * b + c``, rounded once where the CPU does both in one instruction."""

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = a.of("float")
        kind = ir.FunctionType(vector, [vector] * 3)
        name = f"llvm.fmuladd.v{a.count}f32"
        return builder.call(_builders.get_or_insert_function(builder.module, kind, name), args)

    return a(a, a, a), lower


@_extending.intrinsic
def _where(context, condition, a, b):  # type: ignore[no-untyped-def]
    return a(condition, a, a), lambda context, builder, signature, args: builder.select(*args)


def _operator(function: Any, element: str, lower: Callable[..., Any]) -> None:
    @_extending.type_callable(function)
    def typed(context):  # type: ignore[no-untyped-def]
        def typer(a, b):  # type: ignore[no-untyped-def]
            return _Lanes(a.count, element) if isinstance(a, _Lanes) and a == b else None

        return typer

    @_extending.lower_builtin(function, _Lanes, _Lanes)
    def lowered(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return lower(builder, *args)


_operator(operator.add, "float", lambda builder, a, b: builder.fadd(a, b))
_operator(operator.sub, "float", lambda builder, a, b: builder.fsub(a, b))
_operator(operator.mul, "float", lambda builder, a, b: builder.fmul(a, b))
_operator(operator.gt, "bool", lambda builder, a, b: builder.fcmp_ordered(">", a, b))
_operator(operator.le, "bool", lambda builder, a, b: builder.fcmp_ordered("<=", a, b))


_kernel = compiling.kept(nogil=True, error_model="numpy")
_part = compiling.part_of_others(error_model="numpy")


@_part
def _each_strip(work, arrays, start, stop):  # type: ignore[no-untyped-def]
    """Call work(zeros, j, start, stop, *arrays) for all columns j, strip by strip, and groups of rows."""
    width = arrays[0].shape[1]
    whole = width - width % LANES
    rows = max(1, _GROUP // width)
    for first in range(start, stop, rows):
        last = min(first + rows, stop)
        for j in range(0, whole, LANES):
            work(_strip(), j, first, last, *arrays)
        for j in range(whole, width):
            work(_single(), j, first, last, *arrays)


@_part
def _each_block(work, arrays, sums, rows, start, stop):  # type: ignore[no-untyped-def]
    """`_each_strip` for each block of rows, with sums of its own."""
    for first in range(start, stop, rows):
        _each_strip(work, (*arrays, sums[first // rows]), first, min(first + rows, stop))


@_part
def _forward_strip(zero, j, start, stop, x, residual, k, y):  # type: ignore[no-untyped-def]
    scale, shift = _load(k, SCALE, j, zero), _load(k, SHIFT, j, zero)
    leak, sub, maxv = _load(k, LEAK, j, zero), _load(k, SUB, j, zero), _load(k, MAXV, j, zero)
    for i in range(start, stop):
        v = _times_plus(scale, _load(x, i, j, zero), shift)
        if residual is not None:
            v = v + _load(residual, i, j, zero)
        bent = _where(v > zero, v, leak * v) - sub
        _store(y, i, j, _where(bent > maxv, maxv, bent))


@_kernel
def forward(x, residual, k, y, start, stop):  # type: ignore[no-untyped-def]
    """Fill y. Reads LEAK, SUB, MAXV, SCALE, SHIFT."""
    _each_strip(_forward_strip, (x, residual, k, y), start, stop)


@_part
def _backward_strip(zero, j, start, stop, x, grad, k, grad_x, sums):  # type: ignore[no-untyped-def]
    leak, sub, maxv = _load(k, LEAK, j, zero), _load(k, SUB, j, zero), _load(k, MAXV, j, zero)
    for_leak = for_sub = for_maxv = zero
    for i in range(start, stop):
        v, g = _load(x, i, j, zero), _load(grad, i, j, zero)
        positive = v > zero
        capped = _where(positive, v, leak * v) - sub > maxv
        passed = _where(capped, zero, g)
        for_leak = _times_plus(passed, _where(positive, zero, v), for_leak)
        for_sub = for_sub + passed
        for_maxv = for_maxv + _where(capped, g, zero)
        _store(grad_x, i, j, _where(positive, passed, leak * passed))
    _add_to(sums, 0, j, for_leak)
    _add_to(sums, 1, j, for_sub)
    _add_to(sums, 2, j, for_maxv)


@_kernel
def backward(x, grad, k, grad_x, sums, rows, start, stop):  # type: ignore[no-untyped-def]
    """Fill grad_x, and add to sums for leak, -sub and maxv. Reads LEAK, SUB, MAXV."""
    _each_block(_backward_strip, (x, grad, k, grad_x), sums, rows, start, stop)


@_part
def _sum_strip(zero, j, start, stop, x, sums):  # type: ignore[no-untyped-def]
    found = zero
    for i in range(start, stop):
        found = found + _load(x, i, j, zero)
    _add_to(sums, 0, j, found)


@_part
def _moments_strip(zero, j, start, stop, x, near, sums):  # type: ignore[no-untyped-def]
    middle = _load(near, 0, j, zero)
    found = squares = zero
    for i in range(start, stop):
        off = _load(x, i, j, zero) - middle
        found = found + off
        squares = _times_plus(off, off, squares)
    _add_to(sums, 0, j, found)
    _add_to(sums, 1, j, squares)


@_kernel
def moments(x, near, sums, rows, start, stop):  # type: ignore[no-untyped-def]
    """Fill near, numbers near the means, and add to sums of x - near and of its squares.

    Squares of x itself would cancel. The mean of a sixteenth of the numbers lies at most four standard
    deviations off, so that here no more than a factor of 16 does.
    """
    for first in range(start, stop, rows):
        block, last = first // rows, min(first + rows, stop)
        some = first + (last - first + 15) // 16
        _each_strip(_sum_strip, (x, near[block]), first, some)
        near[block] /= np.float32(some - first)
        _each_strip(_moments_strip, (x, near[block], sums[block]), first, last)


@_part
def _norm_sums_strip(zero, j, start, stop, x, residual, grad, k, grad_v, sums):  # type: ignore[no-untyped-def]
    scale, shift, mean = _load(k, SCALE, j, zero), _load(k, SHIFT, j, zero), _load(k, MEAN, j, zero)
    leak, sub, maxv = _load(k, LEAK, j, zero), _load(k, SUB, j, zero), _load(k, MAXV, j, zero)
    for_leak = for_sub = for_maxv = of_v = of_slope = zero
    for i in range(start, stop):
        c, g = _load(x, i, j, zero), _load(grad, i, j, zero)
        v = _times_plus(scale, c, shift)
        if residual is not None:
            v = v + _load(residual, i, j, zero)
        positive = v > zero
        capped = _where(positive, v, leak * v) - sub > maxv
        passed = _where(capped, zero, g)
        for_leak = _times_plus(passed, _where(positive, zero, v), for_leak)
        for_sub = for_sub + passed
        for_maxv = for_maxv + _where(capped, g, zero)
        below = _where(positive, passed, leak * passed)
        of_v = of_v + below
        of_slope = _times_plus(below, c - mean, of_slope)
        if residual is not None:
            _store(grad_v, i, j, below)
    _add_to(sums, 0, j, of_v)
    _add_to(sums, 1, j, of_slope)
    _add_to(sums, 2, j, for_leak)
    _add_to(sums, 3, j, for_sub)
    _add_to(sums, 4, j, for_maxv)


@_kernel
def norm_sums(x, residual, grad, k, grad_v, sums, rows, start, stop):  # type: ignore[no-untyped-def]
    """Fill grad_v where there is a residual, whose gradient it is, and add to sums.

    They are of the gradient of v, of that times x - mean, and for leak, -sub and maxv.
    Reads LEAK, SUB, MAXV, SCALE, SHIFT, MEAN.
    """
    _each_block(_norm_sums_strip, (x, residual, grad, k, grad_v), sums, rows, start, stop)


@_part
def _norm_backward_strip(zero, j, start, stop, x, grad, k, grad_x):  # type: ignore[no-untyped-def]
    scale, shift, mean = _load(k, SCALE, j, zero), _load(k, SHIFT, j, zero), _load(k, MEAN, j, zero)
    leak, sub, maxv = _load(k, LEAK, j, zero), _load(k, SUB, j, zero), _load(k, MAXV, j, zero)
    slope, offset = _load(k, SLOPE, j, zero), _load(k, OFFSET, j, zero)
    for i in range(start, stop):
        c, g = _load(x, i, j, zero), _load(grad, i, j, zero)
        v = _times_plus(scale, c, shift)
        positive = v > zero
        passed = _where(_where(positive, v, leak * v) - sub > maxv, zero, g)
        below = _where(positive, passed, leak * passed)
        _store(grad_x, i, j, _times_plus(scale, below, _times_plus(slope, c - mean, offset)))


@_kernel
def norm_backward(x, grad, k, grad_x, start, stop):  # type: ignore[no-untyped-def]
    """Fill grad_x from the gradient of y, where there is no residual. Reads all constants."""
    _each_strip(_norm_backward_strip, (x, grad, k, grad_x), start, stop)


@_part
def _norm_backward_of_v_strip(zero, j, start, stop, x, grad_v, k, grad_x):  # type: ignore[no-untyped-def]
    scale, mean = _load(k, SCALE, j, zero), _load(k, MEAN, j, zero)
    slope, offset = _load(k, SLOPE, j, zero), _load(k, OFFSET, j, zero)
    for i in range(start, stop):
        c, g = _load(x, i, j, zero), _load(grad_v, i, j, zero)
        _store(grad_x, i, j, _times_plus(scale, g, _times_plus(slope, c - mean, offset)))


@_kernel
def norm_backward_of_v(x, grad_v, k, grad_x, start, stop):  # type: ignore[no-untyped-def]
    """Fill grad_x from the gradient of v. Reads SCALE, MEAN, SLOPE, OFFSET."""
    _each_strip(_norm_backward_of_v_strip, (x, grad_v, k, grad_x), start, stop)


# As in torch's relu, NaN counts as positive: it stays, and so does its gradient.


@_part
def _relu_forward_strip(zero, j, start, stop, x, residual, k, y):  # type: ignore[no-untyped-def]
    scale, shift = _load(k, SCALE, j, zero), _load(k, SHIFT, j, zero)
    for i in range(start, stop):
        v = _times_plus(scale, _load(x, i, j, zero), shift)
        if residual is not None:
            v = v + _load(residual, i, j, zero)
        _store(y, i, j, _where(v <= zero, zero, v))


@_kernel
def relu_forward(x, residual, k, y, start, stop):  # type: ignore[no-untyped-def]
    """Fill y. Reads SCALE, SHIFT."""
    _each_strip(_relu_forward_strip, (x, residual, k, y), start, stop)


@_part
def _relu_sums_strip(zero, j, start, stop, x, y, grad, k, grad_v, sums):  # type: ignore[no-untyped-def]
    scale, shift, mean = _load(k, SCALE, j, zero), _load(k, SHIFT, j, zero), _load(k, MEAN, j, zero)
    of_v = of_slope = zero
    for i in range(start, stop):
        c, g = _load(x, i, j, zero), _load(grad, i, j, zero)
        if y is None:
            below = _where(_times_plus(scale, c, shift) <= zero, zero, g)
        else:
            below = _where(_load(y, i, j, zero) <= zero, zero, g)
            _store(grad_v, i, j, below)
        of_v = of_v + below
        of_slope = _times_plus(below, c - mean, of_slope)
    _add_to(sums, 0, j, of_v)
    _add_to(sums, 1, j, of_slope)


@_kernel
def relu_sums(x, y, grad, k, grad_v, sums, rows, start, stop):  # type: ignore[no-untyped-def]
    """Add to sums of the gradient of v and of that times x - mean; where y is given, fill grad_v.

    y is needed where v has a residual. Reads SCALE, SHIFT, MEAN.
    """
    _each_block(_relu_sums_strip, (x, y, grad, k, grad_v), sums, rows, start, stop)


@_part
def _relu_backward_strip(zero, j, start, stop, x, grad, k, grad_x):  # type: ignore[no-untyped-def]
    scale, shift, mean = _load(k, SCALE, j, zero), _load(k, SHIFT, j, zero), _load(k, MEAN, j, zero)
    slope, offset = _load(k, SLOPE, j, zero), _load(k, OFFSET, j, zero)
    for i in range(start, stop):
        c, g = _load(x, i, j, zero), _load(grad, i, j, zero)
        below = _where(_times_plus(scale, c, shift) <= zero, zero, g)
        _store(grad_x, i, j, _times_plus(scale, below, _times_plus(slope, c - mean, offset)))


@_kernel
def relu_backward(x, grad, k, grad_x, start, stop):  # type: ignore[no-untyped-def]
    """Fill grad_x from the gradient of y, where there is no residual. Reads the norm's constants."""
    _each_strip(_relu_backward_strip, (x, grad, k, grad_x), start, stop)


def specialisations(x: Any) -> list[compiling.Specialisation]:
    """All kernels with the types they are called with, for arrays of the type x."""
    k, sums, rows = float32[:, ::1], float32[:, :, ::1], (intp, intp)
    return [
        (backward, (x, x, k, x, sums, intp, *rows)),
        (moments, (x, sums, sums, intp, *rows)),
        *((kernel, (x, added, k, x, *rows)) for kernel in (forward, relu_forward) for added in (none, x)),
        *(
            (kernel, (x, more, x, k, more, sums, intp, *rows))
            for kernel in (norm_sums, relu_sums)
            for more in (none, x)
        ),
        *((kernel, (x, x, k, x, *rows)) for kernel in (norm_backward, norm_backward_of_v, relu_backward)),
    ]
