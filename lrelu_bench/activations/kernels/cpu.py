"""The general form on CPU tensors, alone and behind batch normalisation: torch's side of `loops`.

Tensors are dense, float32 or bfloat16; activation parameters are (leak, sub, maxv or None), each float32
(C,), or (1,) where one set serves the whole tensor.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lrelu_bench.activations.kernels import loops
from lrelu_bench.activations.kernels.columns import LANES, LEAK, MAXV, MEAN, OFFSET, SCALE, SHIFT, SLOPE, SUB

WIDTH = 256
"""Up to which a row is made of several pixels, so that it is whole strips of columns."""

Parameters = tuple[Tensor, Tensor, Tensor | None]
Gradients = tuple[Tensor, Tensor, Tensor]
"""Of leak, sub and maxv, float32."""


def forward(x: Tensor, parameters: Parameters) -> Tensor:
    """The general form of x, in its dtype and memory format."""
    y, k, threads = (
        torch.empty_like(x),
        _constants(parameters, parameters[0].numel()),
        torch.get_num_threads(),
    )
    if _is_planes(x, k.shape[1]):
        loops.forward_planes(_planes(x), k[:3], _planes(y), threads)
    else:
        rows = _Rows(x.numel(), k.shape[1])
        loops.forward(rows.of(x), rows.wide(k), rows.of(y), None, threads)
    return y


def backward(x: Tensor, grad: Tensor, parameters: Parameters) -> tuple[Tensor, Gradients]:
    """Gradients of x and of the parameters."""
    grad, grad_x = _laid_out_as(x, grad), torch.empty_like(x)
    k, threads = _constants(parameters, parameters[0].numel()), torch.get_num_threads()
    if _is_planes(x, k.shape[1]):
        sums = loops.backward_planes(_planes(x), _planes(grad), k[:3], _planes(grad_x), threads)
    else:
        rows = _Rows(x.numel(), k.shape[1])
        sums = rows.fold(loops.backward(rows.of(x), rows.of(grad), rows.wide(k), rows.of(grad_x), threads))
    return grad_x, _gradients(sums)


@dataclass(frozen=True)
class Norm:
    """Batch normalisation of x (N, C, H, W): ``weight * (x - mean) * invstd + bias``, each float32 (C,)."""

    weight: Tensor
    bias: Tensor
    mean: Tensor
    invstd: Tensor

    def constants(self, parameters: Parameters | None = None) -> loops.Array:
        """The table of constants of this normalisation, and of the general form behind it."""
        k = _constants(parameters, self.mean.numel())
        scale = self.weight.detach() * self.invstd
        k[SCALE], k[SHIFT] = scale.numpy(), (self.bias.detach() - self.mean * scale).numpy()
        k[MEAN] = self.mean.numpy()
        return k


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance of each channel of x (N, C, H, W), channels_last, float32 (C,)."""
    rows = _Rows(x.numel(), x.size(1))
    mean, var = loops.moments(rows.of(x), x.size(1), torch.get_num_threads())
    return _float32(mean), _float32(var)


def norm_forward(x: Tensor, residual: Tensor | None, norm: Norm, parameters: Parameters | None) -> Tensor:
    """The normalised x plus residual, all (N, C, H, W) and channels_last, in the general form.

    Without parameters, the ReLU.
    """
    rows, y = _Rows(x.numel(), x.size(1)), torch.empty_like(x)
    run = loops.relu_forward if parameters is None else loops.forward
    k = rows.wide(norm.constants(parameters))
    run(rows.of(x), k, rows.of(y), _optional(rows, residual), torch.get_num_threads())
    return y


OfNorm = tuple[Tensor, Tensor | None, Tensor, Tensor]
"""Gradients of x, residual, and the norm's weight and bias.

The normalisation is training's: mean and deviation are functions of x, too.
"""


def norm_backward(
    x: Tensor, residual: Tensor | None, grad: Tensor, norm: Norm, parameters: Parameters
) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Gradients]:
    """Gradients of all that `norm_forward` takes."""
    passes = _Backward(x, residual, grad, norm, parameters)
    sums = passes.sums(loops.norm_sums, residual)
    return *passes.gradients(sums, loops.norm_backward), _gradients(sums[2:])


def norm_relu_backward(x: Tensor, y: Tensor | None, grad: Tensor, norm: Norm) -> OfNorm:
    """Gradients of all that `norm_forward` takes, behind the ReLU.

    Args:
        y: its output where there was a residual, which is not needed again.
    """
    passes = _Backward(x, y, grad, norm, None)
    return passes.gradients(passes.sums(loops.relu_sums, y), loops.relu_backward)


class _Backward:
    """Both passes over memory; with a residual, the second takes up the gradient that the first wrote."""

    def __init__(
        self, x: Tensor, alike: Tensor | None, grad: Tensor, norm: Norm, parameters: Parameters | None
    ) -> None:
        self.x, self.norm, self.k = x, norm, norm.constants(parameters)
        self.rows, self.grad = _Rows(x.numel(), x.size(1)), _laid_out_as(x, grad)
        self.grad_residual = None if alike is None else torch.empty_like(x)

    def sums(self, run: Callable[..., loops.Array], more: Tensor | None) -> loops.Array:
        rows, into = self.rows, _optional(self.rows, self.grad_residual)
        read = (rows.of(self.x), _optional(rows, more), rows.of(self.grad))
        return rows.fold(run(*read, rows.wide(self.k), into, torch.get_num_threads()))

    def gradients(self, sums: loops.Array, run: Callable[..., None]) -> OfNorm:
        rows, k, invstd = self.rows, self.k, self.norm.invstd.numpy()
        pixels = self.x.numel() / self.x.size(1)
        with np.errstate(invalid="ignore", over="ignore"):
            grad_bias, grad_weight = sums[0], sums[1] * invstd
            k[SLOPE], k[OFFSET] = -k[SCALE] * invstd * grad_weight / pixels, -k[SCALE] * grad_bias / pixels
        grad_x, above = torch.empty_like(self.x), self.grad
        if self.grad_residual is not None:
            run, above = loops.norm_backward_of_v, self.grad_residual
        run(rows.of(self.x), rows.of(above), rows.wide(k), rows.of(grad_x), torch.get_num_threads())
        return grad_x, self.grad_residual, _float32(grad_weight), _float32(grad_bias)


class _Rows:
    """How a tensor whose channels lie side by side is cut into rows of one or more pixels."""

    def __init__(self, elements: int, channels: int) -> None:
        self.channels, self.pixels = channels, 1
        pixels = elements // channels
        while (
            (width := self.pixels * channels) % LANES
            and 2 * width <= WIDTH
            and pixels % (2 * self.pixels) == 0
        ):
            self.pixels *= 2

    def of(self, x: Tensor) -> loops.Array:
        """The tensor's memory, as (rows, width)."""
        return _memory(x).reshape(-1, self.pixels * self.channels)

    def wide(self, k: loops.Array) -> loops.Array:
        """Constants per channel to constants per column."""
        return np.tile(k, self.pixels)

    def fold(self, sums: loops.Array) -> loops.Array:
        """Sums per column to sums per channel."""
        with np.errstate(invalid="ignore"):
            folded: loops.Array = sums.reshape(len(sums), self.pixels, self.channels).sum(1)
        return folded


def _optional(rows: _Rows, residual: Tensor | None) -> loops.Array | None:
    return None if residual is None else rows.of(residual)


def _memory(x: Tensor) -> loops.Array:
    """A dense tensor's elements in the order of memory, bfloat16 as uint16."""
    flat = x.detach().as_strided((x.numel(),), (1,))
    array: loops.Array = (flat.view(torch.uint16) if x.dtype == torch.bfloat16 else flat).numpy()
    return array


def _is_planes(x: Tensor, channels: int) -> bool:
    return channels > 1 and not x.is_contiguous(memory_format=torch.channels_last)


def _planes(x: Tensor) -> loops.Array:
    return _memory(x).reshape(x.size(0) * x.size(1), -1)


def _laid_out_as(x: Tensor, grad: Tensor) -> Tensor:
    return grad if grad.stride() == x.stride() else torch.empty_like(x).copy_(grad)


def _constants(parameters: Parameters | None, channels: int) -> loops.Array:
    k = np.zeros((8, channels), np.float32)
    k[MAXV], k[SCALE] = np.inf, 1
    for row, values in zip((LEAK, SUB, MAXV), parameters or (), strict=False):
        if values is not None:
            k[row] = values.detach().numpy()
    return k


def _gradients(sums: loops.Array) -> Gradients:
    return _float32(sums[0]), _float32(-sums[1]), _float32(sums[2])


def _float32(values: loops.Array) -> Tensor:
    with np.errstate(over="ignore"):
        return torch.from_numpy(values.astype(np.float32))
