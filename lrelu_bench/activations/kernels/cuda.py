"""The general form on CUDA tensors, as Triton kernels: each number is read once and written once.

Tensors are dense, float32, bfloat16 or float16; activation parameters are (leak, sub, maxv or None), each
float32 (C,), or (1,) where one set serves the whole tensor. Arithmetic and sums are float32.

Memory is a matrix of `rows` x `width`: pixels x channels where the tensor is channels_last, planes x pixels
where it is contiguous, and lines of equal length where one set of parameters serves all. The gradients of
parameters are summed in two passes over a partition that depends on the shape alone, without atomics: the
same input gives the same sums, bit for bit.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

Parameters = tuple[Tensor, Tensor, Tensor | None]
Gradients = tuple[Tensor, Tensor, Tensor | None]

COLUMNS = 128
"""Columns of a tile; a tile is what one program reads at once."""
ELEMENTS = 4096
"""Elements of a tile."""
PROGRAMS = 1024
"""Programs that share the rows in the backward pass: enough for any device, few enough to sum."""


# A kernel's constants are in capitals, as Triton's are.
# fmt: off
@triton.jit  # type: ignore[untyped-decorator]
def _forward(  # type: ignore[no-untyped-def]
    x_ptr, y_ptr, leak_ptr, sub_ptr, maxv_ptr, rows, width, channels,
    BY_COLUMN: tl.constexpr, CAPPED: tl.constexpr, R: tl.constexpr, C: tl.constexpr,  # noqa: N803
):
    i = (tl.program_id(0) * R + tl.arange(0, R)).to(tl.int64)
    j = tl.program_id(1) * C + tl.arange(0, C)
    inside = (i < rows)[:, None] & (j < width)[None, :]
    place = i[:, None] * width + j[None, :]
    x = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)
    if BY_COLUMN:
        k = (j % channels)[None, :]
        known = (j < width)[None, :]
    else:
        k = (i % channels)[:, None]
        known = (i < rows)[:, None]
    leak = tl.load(leak_ptr + k, mask=known, other=0.0)
    sub = tl.load(sub_ptr + k, mask=known, other=0.0)
    y = tl.where(x > 0, x, leak * x) - sub
    if CAPPED:
        maxv = tl.load(maxv_ptr + k, mask=known, other=0.0)
        y = tl.where(y > maxv, maxv, y)
    tl.store(y_ptr + place, y.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _backward(  # type: ignore[no-untyped-def]
    x_ptr, grad_ptr, grad_x_ptr, sums_ptr, leak_ptr, sub_ptr, maxv_ptr, rows, width, channels, steps,
    BY_COLUMN: tl.constexpr, CAPPED: tl.constexpr, R: tl.constexpr, C: tl.constexpr,  # noqa: N803
):
    # This program's rows: `steps` tiles from here. By column it sums down its rows, else along each row.
    first = tl.program_id(0).to(tl.int64) * steps * R
    j = tl.program_id(1) * C + tl.arange(0, C)
    for_leak = tl.zeros((C,), tl.float32)
    for_sub = tl.zeros((C,), tl.float32)
    for_maxv = tl.zeros((C,), tl.float32)
    for step in range(steps):
        i = first + step * R + tl.arange(0, R)
        inside = (i < rows)[:, None] & (j < width)[None, :]
        place = i[:, None] * width + j[None, :]
        x = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)
        grad = tl.load(grad_ptr + place, mask=inside, other=0.0).to(tl.float32)
        if BY_COLUMN:
            k = (j % channels)[None, :]
            known = (j < width)[None, :]
        else:
            k = (i % channels)[:, None]
            known = (i < rows)[:, None]
        leak = tl.load(leak_ptr + k, mask=known, other=0.0)
        passed = grad
        if CAPPED:
            sub = tl.load(sub_ptr + k, mask=known, other=0.0)
            maxv = tl.load(maxv_ptr + k, mask=known, other=0.0)
            capped = tl.where(x > 0, x, leak * x) - sub > maxv
            passed = tl.where(capped, 0.0, grad)
        grad_x = tl.where(x > 0, passed, leak * passed)
        tl.store(grad_x_ptr + place, grad_x.to(grad_x_ptr.dtype.element_ty), mask=inside)
        # Outside the tensor x and grad are 0, and 0 times a NaN parameter must not reach the sums.
        of_leak = tl.where(inside, passed * tl.where(x > 0, 0.0, x), 0.0)
        of_sub = tl.where(inside, passed, 0.0)
        if BY_COLUMN:
            for_leak += tl.sum(of_leak, 0)
            for_sub += tl.sum(of_sub, 0)
            if CAPPED:
                for_maxv += tl.sum(tl.where(inside & capped, grad, 0.0), 0)
        else:
            at = tl.program_id(1) * rows + i
            total = tl.num_programs(1) * rows
            tl.store(sums_ptr + at, tl.sum(of_leak, 1), mask=i < rows)
            tl.store(sums_ptr + total + at, tl.sum(of_sub, 1), mask=i < rows)
            if CAPPED:
                of_maxv = tl.where(inside & capped, grad, 0.0)
                tl.store(sums_ptr + 2 * total + at, tl.sum(of_maxv, 1), mask=i < rows)
    if BY_COLUMN:
        at = tl.program_id(0) * width + j
        total = tl.num_programs(0) * width
        tl.store(sums_ptr + at, for_leak, mask=j < width)
        tl.store(sums_ptr + total + at, for_sub, mask=j < width)
        if CAPPED:
            tl.store(sums_ptr + 2 * total + at, for_maxv, mask=j < width)


# fmt: on


@dataclass(frozen=True)
class _Shape:
    """A tensor's memory as a matrix, and how programs share it."""

    rows: int
    width: int
    channels: int
    by_column: bool

    @classmethod
    def of(cls, x: Tensor, channels: int) -> "_Shape":
        if channels == 1:
            width = COLUMNS if x.numel() % COLUMNS == 0 else 1
            return cls(x.numel() // width, width, 1, True)
        if x.is_contiguous(memory_format=torch.channels_last):
            return cls(x.numel() // channels, channels, channels, True)
        planes = x.size(0) * x.size(1)
        return cls(planes, x.numel() // max(1, planes), channels, False)

    @property
    def tile(self) -> dict[str, Any]:
        """The constants of a kernel: what one program reads at once."""
        columns = min(COLUMNS, triton.next_power_of_2(self.width))
        return {"R": ELEMENTS // columns, "C": columns, "BY_COLUMN": self.by_column}

    def programs(self, at_most: int | None = None) -> tuple[int, int]:
        """Programs down the rows and across the columns."""
        rows = triton.cdiv(self.rows, self.tile["R"])
        return rows if at_most is None else min(rows, at_most), triton.cdiv(self.width, self.tile["C"])


def on_device_of(x: Tensor) -> AbstractContextManager[Any]:
    """Triton launches on the current device; interpreted, the kernels run on the CPU."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def forward(x: Tensor, parameters: Parameters) -> Tensor:
    """The general form of x, in its dtype and memory format."""
    y = torch.empty_like(x)
    if x.numel():
        leak, sub, maxv = parameters
        shape = _Shape.of(x, leak.numel())
        given = (leak, sub, leak if maxv is None else maxv, shape.rows, shape.width, shape.channels)
        with on_device_of(x):
            _forward[shape.programs()](x, y, *given, CAPPED=maxv is not None, **shape.tile)
    return y


def backward(x: Tensor, grad: Tensor, parameters: Parameters) -> tuple[Tensor, Gradients]:
    """Gradients of x and of the parameters, those float32."""
    leak, sub, maxv = parameters
    grad = grad if grad.stride() == x.stride() else torch.empty_like(x).copy_(grad)
    grad_x = torch.empty_like(x)
    if not x.numel():
        return grad_x, (torch.zeros_like(leak), torch.zeros_like(sub), torch.zeros_like(leak))
    shape = _Shape.of(x, leak.numel())
    programs = shape.programs(PROGRAMS)
    steps = triton.cdiv(shape.rows, programs[0] * shape.tile["R"])
    parts = programs[0] * shape.width if shape.by_column else programs[1] * shape.rows
    sums = torch.empty((3 if maxv is not None else 2, parts), dtype=torch.float32, device=x.device)
    given = (leak, sub, leak if maxv is None else maxv, shape.rows, shape.width, shape.channels, steps)
    with on_device_of(x):
        _backward[programs](x, grad, grad_x, sums, *given, CAPPED=maxv is not None, **shape.tile)
    total = sums.view(len(sums), -1, shape.channels).sum(1)
    return grad_x, (total[0], -total[1], None if maxv is None else total[2])
