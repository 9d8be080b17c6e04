"""The learned ReLU family: ``y = min(max(x, 0) + leak * min(x, 0) - sub, maxv)``.

Conventions, ours and pinned by tests: x = 0 belongs to the negative side (as in torch's relu, leaky_relu and
prelu), so it passes ``leak * grad``; an output that ties with maxv is not capped, so its gradient goes to x.

Parameters stay fp32 and are cast to x's dtype at use; their gradients are summed in the parameter's dtype;
the output keeps x's dtype and memory format, so mixed precision stays mixed.

Source: LearnedReLU posts, forums.fast.ai, April 2019, on fast.ai course-v3's GeneralRelu.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrelu_bench.activations.base import LearnedActivation


class _GeneralReLU(torch.autograd.Function):
    """The general form with the gradients written out; saves x and the parameters alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, leak: Tensor, sub: Tensor, maxv: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, leak, sub, *(() if maxv is None else (maxv,)))
        y = _shifted(x, leak, sub)
        return y if maxv is None else torch.minimum(y, maxv.to(x.dtype), out=y)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, leak, sub, *cap = ctx.saved_tensors
        need_x, need_leak, need_sub, need_maxv = ctx.needs_input_grad
        grad_maxv = None
        if cap:
            capped = _shifted(x, leak, sub) > cap[0].to(x.dtype)
            grad_maxv = _sum_like(grad * capped, cap[0]) if need_maxv else None
            grad = grad.masked_fill(capped, 0)
        grad_leak = _sum_like(grad * x.clamp_max(0), leak) if need_leak else None
        grad_sub = _sum_like(grad, sub).neg_() if need_sub else None
        # x > 0 first: the result takes its memory format, whatever the gradient's.
        grad_x = torch.where(x > 0, grad, grad * leak.to(x.dtype)) if need_x else None
        return grad_x, grad_leak, grad_sub, grad_maxv


def _shifted(x: Tensor, leak: Tensor, sub: Tensor) -> Tensor:
    # autocast would cast prelu's input down, and the output must keep x's dtype.
    with torch.autocast(x.device.type, enabled=False):
        return F.prelu(x, leak.to(x.dtype).flatten()).sub_(sub.to(x.dtype))


def _sum_like(values: Tensor, parameter: Tensor) -> Tensor:
    """Sum to a (C, 1, 1) or 0-d parameter, accumulated in the parameter's dtype."""
    if parameter.dim() == 0:
        return values.sum(dtype=parameter.dtype)
    kept = values.dim() - parameter.dim()
    dims = [d for d in range(values.dim()) if d != kept]
    return values.sum(dims, dtype=parameter.dtype).view_as(parameter)


def general_relu(x: Tensor, leak: Tensor, sub: Tensor, maxv: Tensor | None = None) -> Tensor:
    """The general form as one differentiable function.

    Args:
        x: input, (N, C, ...) where the parameters are per channel, any shape where they are 0-d.
        leak, sub, maxv: 0-d, or (C, 1, 1) for x of shape (N, C, H, W). No maxv, no cap.
    """
    return _GeneralReLU.apply(x, leak, sub, maxv)  # type: ignore[no-any-return]


class LearnedReLU(LearnedActivation):
    """All three parameters truly learned: what the posts' author wanted.

    Args:
        channels: number of channels C of the input (N, C, H, W), or None for one set for the whole layer.
        leak, sub, maxv: where the parameters start.
    """

    learned: ClassVar[tuple[str, ...]] = ("leak", "sub", "maxv")

    leak: nn.Parameter
    sub: nn.Parameter
    maxv: nn.Parameter

    def __init__(self, channels: int | None, leak: float, sub: float, maxv: float) -> None:
        super().__init__(channels, leak=leak, sub=sub, maxv=maxv)

    @property
    def cap(self) -> Tensor | None:
        return self.value("maxv")

    def forward(self, x: Tensor) -> Tensor:
        return general_relu(x, self.value("leak"), self.value("sub"), self.value("maxv"))


class LearnedReLUv1(LearnedReLU):
    """As first posted: leak and maxv are read with ``.item()``, which cuts their gradients; only sub learns.

    ``detach()`` reproduces that without the posts' device synchronisation.
    """

    learned = ("sub",)

    def forward(self, x: Tensor) -> Tensor:
        return general_relu(x, self.leak.detach(), self.value("sub"), self.maxv.detach())


class LearnedReLUv2(LearnedReLUv1):
    """As posted second: v1, gradients still missing, with the parameters clamped in training before use."""

    BOUNDS = {"leak": (0.0, 0.5), "sub": (0.0, 1.0), "maxv": (5.0, 100.0)}  # noqa: RUF012

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                for name, (low, high) in self.BOUNDS.items():
                    getattr(self, name).clamp_(low, high)
        return super().forward(x)


class LearnedReLUv3(LearnedReLU):
    """As posted last, the posts' good version: leak and sub learned per channel; maxv held but unused."""

    learned = ("leak", "sub")
    cap = None

    def forward(self, x: Tensor) -> Tensor:
        return general_relu(x, self.value("leak"), self.value("sub"))
