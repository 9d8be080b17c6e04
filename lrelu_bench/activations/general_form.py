"""The general form, ``y = min(max(x, 0) + leak * min(x, 0) - sub, maxv)``, and batch normalisation before it.

Conventions, ours and pinned by tests: x = 0 belongs to the negative side (as in torch's relu, leaky_relu and
prelu), so it passes ``leak * grad``; an output that ties with maxv is not capped, so its gradient goes to x.
Half-precision inputs are computed on in float32 and rounded once; the gradients of the parameters are summed
in float32. The output keeps x's dtype and memory format, so mixed precision stays mixed.

`formula` says what is computed. Kernels compute it where they exist, reading each number once and keeping x
alone; behind batch normalisation they keep what the normalisation keeps and nothing else, and the plain ReLU,
the form's simplest case, has its own there. torch.compile gets the formula, which it fuses itself.

Source: fast.ai course-v3, nb_06.py, GeneralRelu; the gradients are derived in the tests' float64 reference.
"""

from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Form = tuple[Tensor, Tensor, Tensor | None]
"""leak, sub and maxv: 0-d, or (C, 1, 1) for x of (N, C, H, W). No maxv, no cap."""


def formula(x: Tensor, leak: Tensor, sub: Tensor, maxv: Tensor | None = None) -> Tensor:
    """The general form in torch's operators, for any device and dtype; differentiable any number of times."""
    positive = x > 0
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    # `where` on both sides, or 0 * inf would reach leak's gradient; x stands first in the product, because
    # the result takes the memory format of its first operand.
    y = torch.where(positive, wide, torch.where(positive, 0, wide) * leak) - sub
    return (y if maxv is None else torch.where(~(y > maxv), y, maxv)).to(x.dtype)


def general_relu(x: Tensor, leak: Tensor, sub: Tensor, maxv: Tensor | None = None) -> Tensor:
    """The general form as one differentiable function.

    Args:
        x: input, (N, C, ...) where the parameters are per channel, any shape where they are 0-d.
        leak, sub, maxv: 0-d, or (C, 1, 1) for x of shape (N, C, H, W). No maxv, no cap.
    """
    if not _has_kernel(x, (leak, sub, maxv)):
        return formula(x, leak, sub, maxv)
    dense = x if _is_dense(x) else x.contiguous()
    return _GeneralReLU.apply(dense, leak, sub, maxv)  # type: ignore[no-any-return]


def norm_general_relu(
    x: Tensor, norm: nn.BatchNorm2d, form: Form | None, residual: Tensor | None = None
) -> Tensor:
    """``general_relu(norm(x) + residual, *form)`` in one pass where a kernel exists and pays.

    The fused pass does not round the normalised x to x's dtype in between. As in torch's relu, a NaN stays
    one behind the plain ReLU, and passes its gradient on.

    Args:
        x: (N, C, H, W).
        norm: as a module in training or evaluation; its running statistics move as they would by themselves.
        form: leak, sub and maxv; or None for the plain ReLU.
        residual: of x's shape and dtype, or nothing.
    """
    fuse = _can_fuse(x, norm, form, residual) and _pays(x, form)
    return (fused if fuse else unfused)(x, norm, form, residual)


def unfused(x: Tensor, norm: nn.BatchNorm2d, form: Form | None, residual: Tensor | None) -> Tensor:
    """`norm_general_relu` by torch's batch norm and the activation alone, wherever those work."""
    normalised: Tensor = norm(x)
    v = normalised if residual is None else normalised + residual
    return general_relu(v, *form) if form else F.relu_(v)


def fused(x: Tensor, norm: nn.BatchNorm2d, form: Form | None, residual: Tensor | None) -> Tensor:
    """`norm_general_relu` by the fused kernels, for what `_can_fuse` allows."""
    if norm.training:
        act, parameters = (_NormGeneralReLU, form) if form else (_NormReLU, ())
        return act.apply(x, residual, norm.weight, norm.bias, *parameters, norm)  # type: ignore[no-any-return]
    return _evaluated(x, norm, form, residual)


class _GeneralReLU(torch.autograd.Function):
    """Saves x and the parameters alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, leak: Tensor, sub: Tensor, maxv: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, leak, sub, maxv)
        y: Tensor = _kernels(x).forward(x, _flat((leak, sub, maxv)))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *form = ctx.saved_tensors
        grad_x, sums = _kernels(x).backward(x, grad, _flat(form))
        return grad_x, *_shaped(sums, form)


class _NormGeneralReLU(torch.autograd.Function):
    """Batch normalisation in training, an optional residual and the general form; saves x and the residual.

    An activation by itself must keep its input besides what the normalisation and the next layer keep.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        residual: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        leak: Tensor,
        sub: Tensor,
        maxv: Tensor | None,
        norm: nn.BatchNorm2d,
    ) -> Tensor:
        kernels = _norm_kernels(x)
        mean, invstd = _statistics(x, norm)
        ctx.save_for_backward(x, residual, weight, bias, mean, invstd, leak, sub, maxv)
        of_batch = kernels.Norm(weight, bias, mean, invstd)
        y: Tensor = kernels.norm_forward(x, residual, of_batch, _flat((leak, sub, maxv)))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, residual, weight, bias, mean, invstd, *form = ctx.saved_tensors
        kernels = _norm_kernels(x)
        norm = kernels.Norm(weight, bias, mean, invstd)
        *of_tensors, sums = kernels.norm_backward(x, residual, grad, norm, _flat(form))
        return *of_tensors, *_shaped(sums, form), None


class _NormReLU(torch.autograd.Function):
    """The same with the plain ReLU; saves x, and behind a residual y, which the next layer keeps anyway."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d
    ) -> Tensor:
        kernels = _norm_kernels(x)
        mean, invstd = _statistics(x, norm)
        y: Tensor = kernels.norm_forward(x, residual, kernels.Norm(weight, bias, mean, invstd), None)
        ctx.save_for_backward(x, None if residual is None else y, weight, bias, mean, invstd)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, *of_norm = ctx.saved_tensors
        kernels = _norm_kernels(x)
        return *kernels.norm_relu_backward(x, y, grad, kernels.Norm(*of_norm)), None


def _evaluated(x: Tensor, norm: nn.BatchNorm2d, form: Form | None, residual: Tensor | None) -> Tensor:
    """The fused pass of evaluation."""
    kernels = _norm_kernels(x)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    invstd = (norm.running_var + norm.eps).rsqrt()
    tracked = kernels.Norm(norm.weight, norm.bias, norm.running_mean, invstd)
    y: Tensor = kernels.norm_forward(x, residual, tracked, _flat(form) if form else None)
    return y


def _statistics(x: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Mean and 1 / deviation of the batch; moves the norm's running statistics."""
    kernels = _norm_kernels(x)
    if x.device.type == "cuda":
        tracked: tuple[Tensor, Tensor] = kernels.tracked_moments(x, norm)
        return tracked
    mean, var = kernels.moments(x)
    _track(norm, mean, var, x.numel() // x.size(1))
    return mean, (var + norm.eps).rsqrt()


@torch.no_grad()
def _track(norm: nn.BatchNorm2d, mean: Tensor, var: Tensor, pixels: int) -> None:
    """Move the running statistics as `nn.BatchNorm2d` does: the variance unbiased."""
    assert norm.num_batches_tracked is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.momentum is not None
    norm.num_batches_tracked += 1
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(var * (pixels / (pixels - 1)), norm.momentum)


def _can_fuse(x: Tensor, norm: nn.BatchNorm2d, form: Form | None, residual: Tensor | None) -> bool:
    """Whether there are kernels for this."""
    if not _has_kernel(x, form or ()):
        return False
    alike = residual is None or (
        residual.shape == x.shape and residual.dtype == x.dtype and residual.stride() == x.stride()
    )
    plain = norm.affine and norm.track_running_stats and norm.momentum is not None
    # In evaluation only the forward pass is fused; in training torch's own module refuses a single pixel.
    possible = x.numel() > x.size(1) if norm.training else not torch.is_grad_enabled()
    # Running statistics are float32 wherever a net is not cast as a whole.
    return (
        alike
        and plain
        and possible
        and (form is None or form[0].dim() == 3)
        and norm.weight.dtype == torch.float32
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def _pays(x: Tensor, form: Form | None) -> bool:
    """Whether the fused pass is the faster one: always on a CPU; on CUDA it is measured once."""
    if x.device.type != "cuda":
        return True
    from lrelu_bench.activations.kernels import choosing

    parameters = sum(parameter is not None for parameter in form or ())
    # Training captures its steps where it can.
    return choosing.fused_is_faster(x.device, x.dtype, parameters, fused, unfused, choosing.queued)


def _has_kernel(x: Tensor, form: tuple[Tensor | None, ...]) -> bool:
    given = [parameter for parameter in form if parameter is not None]
    # A tracer, and a tensor that only stands for one, have no memory to read.
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if traced or type(x) not in (Tensor, nn.Parameter):
        return False
    if not x.numel() or any(p.dtype != torch.float32 or p.shape != given[0].shape for p in given):
        return False
    if given and given[0].dim() and (x.dim() != 4 or given[0].shape != (x.size(1), 1, 1)):
        return False
    compiler, dtypes = _COMPILERS.get(x.device.type, ("", ()))
    return x.dtype in dtypes and _installed(compiler)


# Numba has no float16, and no CPU trains in it. Triton comes with torch on Linux alone.
_COMPILERS: dict[str, tuple[str, tuple[torch.dtype, ...]]] = {
    "cpu": ("numba", (torch.float32, torch.bfloat16)),
    "cuda": ("triton", (torch.float32, torch.bfloat16, torch.float16)),
}


@cache
def _installed(name: str) -> bool:
    return find_spec(name) is not None


def _kernels(x: Tensor) -> ModuleType:
    if x.device.type == "cuda":
        from lrelu_bench.activations.kernels import cuda

        return cuda
    from lrelu_bench.activations.kernels import cpu

    return cpu


def _norm_kernels(x: Tensor) -> ModuleType:
    """Those with batch normalisation."""
    if x.device.type == "cuda":
        from lrelu_bench.activations.kernels import cuda_norm

        return cuda_norm
    return _kernels(x)


def _flat(form: Any) -> Any:
    return tuple(None if parameter is None else parameter.reshape(-1) for parameter in form)


def _shaped(sums: Any, form: Any) -> list[Tensor | None]:
    return [None if p is None else s.view(p.shape) for s, p in zip(sums, form, strict=True)]


def _is_dense(x: Tensor) -> bool:
    return x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))
