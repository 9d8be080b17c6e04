"""The general form and plain ReLU behind batch norm on CUDA tensors: torch's side of `norm_programs`.

    y = min(max(v, 0) + leak * min(v, 0) - sub, maxv)    v = (x - mean) * invstd * weight + bias (+ residual)

Tensors are dense, channels_last (N, C, H, W), float32, bfloat16 or float16; whatever is per channel is
float32 (C,).

Training reads x once for the statistics and once for y, and twice backwards. Sums are taken over a partition
that depends on the shape alone: the same input gives the same numbers, bit for bit. Nothing here waits for
the device or reads from it, so a CUDA graph may capture all of it. Launches are few, because the late layers
are so small that a launch costs as much as the work: three forward in training, with the running statistics
moved by the second of them, and three backward.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from lrelu_bench.activations.kernels import norm_programs
from lrelu_bench.activations.kernels.cuda import Gradients, Parameters, on_device_of

COLUMNS = 64
"""Columns of a tile at most: in half precision a whole cache line. Fewer keep a tile tall, and the constants
of its columns are then read for more rows."""
ELEMENTS = 2048
"""Elements of a tile. xresnet18's last layers (64 x 4 x 4 pixels, 512 channels) are 256 such tiles, work for
all 132 multiprocessors of an H100 or H200; of larger tiles there would be too few."""
PROGRAMS = 1024
"""Programs that share a sum over the rows at most: eight for each multiprocessor of an H100, which hold
enough loads in flight to keep its memory busy, and few enough for one tile to add their parts."""
WARPS = 8
"""Of a program that keeps sums or joins parts; with half as many, a thread would need 200 registers and few
programs would fit on a multiprocessor. Triton's usual four keep more loads in flight where there is room."""
PART_ELEMENTS = 8192
"""Elements of a tile of parts at most; see `_Cut.joining`."""


@dataclass(frozen=True)
class _Cut:
    """How programs share a matrix of rows x width."""

    rows: int
    width: int
    tile: dict[str, int]
    """The shape of what one program reads at once."""
    tiles: tuple[int, int]
    """Down the rows and across the columns."""
    steps: int
    """Tiles that a program of a sum reads one after the other."""
    parts: int
    """Programs that share a sum over the rows; none is without rows."""
    joining: dict[str, int]
    """The tile in which one program joins all parts of some columns.

    One multiprocessor would be slow to read all columns; eight are what a sector of memory holds.
    """
    joins: int
    """Programs that join parts."""

    @classmethod
    def of(cls, x: Tensor) -> "_Cut":
        return _cut(x.numel() // x.size(1), x.size(1), ELEMENTS, PROGRAMS)


# Kept, because a step asks some hundred times, and an idle device may wait for the answers.
@cache
def _cut(rows: int, width: int, elements: int, programs: int) -> _Cut:
    columns = min(COLUMNS, _power_of_2(width))
    tile = {"R": max(1, elements // columns), "C": columns}
    down, across = _over(rows, tile["R"]), _over(width, columns)
    steps = _over(down, max(1, programs // across))
    parts = _over(down, steps)
    high = _power_of_2(parts)
    joining = {"P": high, "C": min(8, max(1, PART_ELEMENTS // high))}
    return _Cut(rows, width, tile, (down, across), steps, parts, joining, _over(width, joining["C"]))


def _over(number: int, by: int) -> int:
    """Divided and rounded up."""
    return -(-number // by)


def _power_of_2(number: int) -> int:
    """The least one that is not below the number, which is positive."""
    return 1 << (number - 1).bit_length()


@dataclass(frozen=True)
class Norm:
    """Batch normalisation of x (N, C, H, W): ``weight * (x - mean) * invstd + bias``, each float32 (C,)."""

    weight: Tensor
    bias: Tensor
    mean: Tensor
    invstd: Tensor

    @property
    def constants(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As the kernels take them."""
        return self.weight, self.bias, self.mean, self.invstd


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance of each channel of x (N, C, H, W), channels_last, float32 (C,)."""
    return _statistics(x, None)


def tracked_moments(x: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Mean and 1 / deviation of each channel of x, float32 (C,); moves the norm's running statistics.

    The norm tracks statistics and has a momentum; x has more than one pixel.
    """
    return _statistics(x, norm)


def _statistics(x: Tensor, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor]:
    cut = _Cut.of(x)
    parts = x.new_empty((2, cut.parts, cut.width), dtype=torch.float32)
    mean, spread = (x.new_empty(cut.width, dtype=torch.float32) for _ in range(2))
    running: tuple[Any, ...] = (mean, mean, mean)
    momentum = eps = 0.0
    if norm is not None:
        assert norm.momentum is not None
        running = (norm.running_mean, norm.running_var, norm.num_batches_tracked)
        momentum, eps = float(norm.momentum), float(norm.eps)
    size = (cut.rows, cut.width, cut.steps * cut.tile["R"], cut.parts)
    joining = {"TRACKED": norm is not None, **cut.joining}
    with on_device_of(x):
        norm_programs.moments[cut.parts, cut.tiles[1]](x, parts, cut.rows, cut.width, cut.steps, **cut.tile)
        norm_programs.join_moments[(cut.joins,)](
            parts, mean, spread, *running, *size, momentum, eps, **joining, num_warps=WARPS
        )
    if norm is not None:
        # Autograd must know, or what an evaluation has kept of them would be used as if it were unchanged.
        torch.autograd.graph.increment_version(running)
    return mean, spread


def norm_forward(x: Tensor, residual: Tensor | None, norm: Norm, parameters: Parameters | None) -> Tensor:
    """The general form of the normalised x plus residual, all (N, C, H, W) and channels_last."""
    return _forward(x, residual, norm, parameters)


def norm_backward(
    x: Tensor, residual: Tensor | None, grad: Tensor, norm: Norm, parameters: Parameters
) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Gradients]:
    """Gradients of x, residual, the norm's weight and bias, and the parameters.

    The normalisation is training's: mean and deviation are functions of x, too.
    """
    grad_x, below, sums = _backward(x, residual, grad, norm, parameters, residual is not None)
    return grad_x, below, sums[1], sums[0], (sums[2], sums[3], None if parameters[2] is None else sums[4])


def norm_relu_backward(
    x: Tensor, y: Tensor | None, grad: Tensor, norm: Norm
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Gradients of all that `norm_forward` takes, behind the ReLU; where y is 0, none passes.

    Args:
        x: the input of training's normalisation.
        y: the output where there was a residual, which is not needed again; without one, x says where y was
            0, and a third less is read.
        grad: of y.
        norm: with the moments of x.
    """
    grad_x, below, sums = _backward(x, y, grad, norm, None, y is not None)
    return grad_x, below, sums[1], sums[0]


def _forward(x: Tensor, residual: Tensor | None, norm: Norm, parameters: Parameters | None) -> Tensor:
    y, cut = torch.empty_like(x), _Cut.of(x)
    flags = {"ADDED": residual is not None, **_flags(parameters)}
    given = (*norm.constants, *_or_any(parameters, norm.mean), cut.rows, cut.width)
    with on_device_of(x):
        norm_programs.norm_forward[cut.tiles](
            x, x if residual is None else residual, y, *given, **flags, **cut.tile
        )
    return y


def _backward(
    x: Tensor, beside: Tensor | None, grad: Tensor, norm: Norm, parameters: Parameters | None, below: bool
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Gradients of x and, where `below`, of v; and (kinds, C) of bias, weight, leak, sub, maxv."""
    grad = grad if grad.stride() == x.stride() else torch.empty_like(x).copy_(grad)
    grad_x, grad_v = torch.empty_like(x), torch.empty_like(x) if below else None
    cut, flags = _Cut.of(x), {"BESIDE": beside is not None, **_flags(parameters)}
    kinds = 2 + flags["BENT"] * 2 + flags["CAPPED"]
    sums = x.new_empty((kinds, cut.parts, cut.width), dtype=torch.float32)
    total = x.new_empty((kinds, cut.width), dtype=torch.float32)
    given = (*norm.constants, *_or_any(parameters, norm.mean), cut.rows, cut.width)
    read, into = (x, x if beside is None else beside), x if grad_v is None else grad_v
    with on_device_of(x):
        norm_programs.norm_sums[cut.parts, cut.tiles[1]](
            *read, grad, into, sums, *given, cut.steps, BELOW=below, **flags, **cut.tile, num_warps=WARPS
        )
        norm_programs.join_sums[cut.joins, kinds](
            sums, total, cut.width, cut.parts, **cut.joining, num_warps=WARPS
        )
        # The gradient of v, where it has been written, is read instead of what it was made of: a tensor less,
        # for a rounding that torch's own operators have in the same place.
        above = grad if grad_v is None else grad_v
        norm_programs.norm_backward[cut.tiles](
            *read, above, grad_x, total, *given, PASSED=below, **flags, **cut.tile
        )
    return grad_x, grad_v, total


def _flags(parameters: Parameters | None) -> dict[str, bool]:
    return {"BENT": parameters is not None, "CAPPED": parameters is not None and parameters[2] is not None}


def _or_any(parameters: Parameters | None, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The parameters, with a tensor that will not be read in place of one that is not there."""
    leak, sub, maxv = parameters or (other, other, None)
    return leak, sub, other if maxv is None else maxv
