"""The general form on CPU tensors, alone and behind batch normalisation: torch's side of `loops`.

Tensors are dense, float32 or bfloat16; activation parameters are (leak, sub, maxv or None), each float32
(C,), or (1,) where one set serves the whole tensor.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lrelu_bench.activations.kernels import loops

WIDTH = 256
"""Width of a row made of several pixels.

Short rows waste the vector units; of longer ones, constants and sums do not fit the first-level cache.
"""

Parameters = tuple[Tensor, Tensor, Tensor | None]
Gradients = tuple[Tensor, Tensor, Tensor]
"""Of leak, sub and maxv, float32."""


def forward(x: Tensor, parameters: Parameters) -> Tensor:
    """The general form of x, in its dtype and memory format."""
    y, k, threads = torch.empty_like(x), _constants(parameters), torch.get_num_threads()
    if _is_planes(x, k.shape[1]):
        loops.forward_planes(_planes(x), k, _planes(y), threads)
    else:
        rows = _Rows(x.numel(), k.shape[1])
        loops.forward(rows.of(x), rows.wide(k), rows.of(y), None, threads)
    return y


def backward(x: Tensor, grad: Tensor, parameters: Parameters) -> tuple[Tensor, Gradients]:
    """Gradients of x and of the parameters."""
    grad, grad_x = _laid_out_as(x, grad), torch.empty_like(x)
    k, threads = _constants(parameters), torch.get_num_threads()
    if _is_planes(x, k.shape[1]):
        sums = loops.backward_planes(_planes(x), _planes(grad), k, _planes(grad_x), threads)
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

    def constants(self, parameters: Parameters) -> loops.Array:
        """The table of constants of the activation behind this normalisation."""
        scale = self.weight * self.invstd
        return _constants(parameters, scale, self.bias - self.mean * scale, self.mean, self.invstd)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance of each channel of x (N, C, H, W), channels_last, float32 (C,)."""
    rows = _Rows(x.numel(), x.size(1))
    mean, var = loops.moments(rows.of(x), x.size(1), torch.get_num_threads())
    return _float32(mean), _float32(var)


def norm_forward(x: Tensor, residual: Tensor | None, norm: Norm, parameters: Parameters) -> Tensor:
    """The general form of the normalised x plus residual, all (N, C, H, W) and channels_last."""
    rows, y = _Rows(x.numel(), x.size(1)), torch.empty_like(x)
    k = rows.wide(norm.constants(parameters))
    loops.forward(rows.of(x), k, rows.of(y), _optional(rows, residual), torch.get_num_threads())
    return y


def norm_backward(
    x: Tensor, residual: Tensor | None, grad: Tensor, norm: Norm, parameters: Parameters
) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Gradients]:
    """Gradients of x, residual, the norm's weight and bias, and the parameters.

    The normalisation is training's: mean and deviation are functions of x, too.
    """
    rows, threads = _Rows(x.numel(), x.size(1)), torch.get_num_threads()
    grad_x, grad_residual = torch.empty_like(x), None if residual is None else torch.empty_like(residual)
    k = norm.constants(parameters)
    source, added, above = rows.of(x), _optional(rows, residual), rows.of(_laid_out_as(x, grad))
    below = _optional(rows, grad_residual)
    sums = rows.fold(loops.norm_sums(source, added, above, rows.wide(k), below, threads))
    grad_bias, grad_weight = sums[3], sums[4]
    pixels = x.numel() / x.size(1)
    k[loops.GRAD_MEAN], k[loops.GRAD_SLOPE] = grad_bias / pixels, grad_weight / pixels
    loops.norm_backward(source, added, above, rows.wide(k), rows.of(grad_x), threads)
    return grad_x, grad_residual, _float32(grad_weight), _float32(grad_bias), _gradients(sums)


class _Rows:
    """How a tensor whose channels lie side by side is cut into rows of one or more pixels."""

    def __init__(self, elements: int, channels: int) -> None:
        self.channels, self.pixels = channels, 1
        pixels = elements // channels
        while pixels and pixels % (2 * self.pixels) == 0 and 2 * self.pixels * channels <= WIDTH:
            self.pixels *= 2

    def of(self, x: Tensor) -> loops.Array:
        """The tensor's memory, as (rows, width)."""
        return _memory(x).reshape(-1, self.pixels * self.channels)

    def wide(self, k: loops.Array) -> loops.Array:
        """Constants per channel to constants per column."""
        return np.tile(k, self.pixels)

    def fold(self, sums: loops.Array) -> loops.Array:
        """Sums per column to sums per channel."""
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


def _constants(
    parameters: Parameters,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    mean: Tensor | None = None,
    invstd: Tensor | None = None,
) -> loops.Array:
    leak, sub, maxv = parameters
    k = np.zeros((9, leak.numel()), np.float32)
    k[loops.MAXV], k[loops.SCALE] = np.inf, 1
    given = (leak, sub, maxv, scale, shift, mean, invstd)
    for row, values in enumerate(given):
        if values is not None:
            k[row] = values.detach().numpy()
    return k


def _gradients(sums: loops.Array) -> Gradients:
    return _float32(sums[0]), _float32(-sums[1]), _float32(sums[2])


def _float32(values: loops.Array) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
