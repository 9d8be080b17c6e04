"""Published activations with learned parameters, outside the learned ReLU family.

As there, parameters stay fp32 and are cast to x's dtype at use, their gradients are summed in the parameter's
dtype, and the output keeps x's dtype and memory format.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrelu_bench.activations.base import LearnedActivation
from lrelu_bench.activations.general_form import general_relu


class PReLU(LearnedActivation):
    """ReLU with a learned slope on the negative side. x = 0 belongs to that side, as in torch.

    Source: He et al. 2015, arXiv:1502.01852.

    Args:
        channels: number of channels C of the input (N, C, H, W), or None for one slope for the whole layer.
        leak: where the slope starts.
    """

    learned: ClassVar[tuple[str, ...]] = ("leak",)

    leak: nn.Parameter
    no_sub: Tensor

    def __init__(self, channels: int | None, leak: float) -> None:
        super().__init__(channels, leak=leak)
        self.register_buffer("no_sub", torch.zeros_like(self.leak), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return general_relu(x, self.value("leak"), self.no_sub)


class _StarReLU(torch.autograd.Function):
    """``scale * max(x, 0) ** 2 + bias``; saves x and the scale alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale)
        y = F.relu(x)
        return y.mul_(y).mul_(scale.to(x.dtype)).add_(bias.to(x.dtype))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale = ctx.saved_tensors
        need_x, need_scale, need_bias = ctx.needs_input_grad
        # The positive side first: the products take its memory format, whatever the gradient's.
        slope = F.relu(x)
        product = slope * grad
        grad_scale = (slope * product).sum(dtype=scale.dtype) if need_scale else None
        grad_bias = grad.sum(dtype=scale.dtype) if need_bias else None
        return product.mul_(2 * scale.to(x.dtype)) if need_x else None, grad_scale, grad_bias


class StarReLU(LearnedActivation):
    """The squared ReLU with a learned scale and bias, one pair for the whole layer.

    The paper's constants, 0.8944 and -0.4472, give mean 0 and variance 1 for a standard normal x. Its code
    (github.com/sail-sg/metaformer, metaformer_baselines.py) starts from 1 and 0 instead.
    Source: Yu et al. 2022, arXiv:2210.13452.

    Args:
        channels: None; the paper has no parameters per channel.
        scale, bias: where the parameters start.
    """

    learned: ClassVar[tuple[str, ...]] = ("scale", "bias")

    scale: nn.Parameter
    bias: nn.Parameter

    def __init__(self, channels: None, scale: float, bias: float) -> None:
        super().__init__(channels, scale=scale, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return _StarReLU.apply(x, self.value("scale"), self.value("bias"))  # type: ignore[no-any-return]
