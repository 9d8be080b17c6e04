"""Activations without parameters that learn."""

from torch import Tensor, nn
from torch.nn import functional as F


class ReLU(nn.ReLU):
    """In place: the batch norm before it does not need its output again."""

    def __init__(self) -> None:
        super().__init__(inplace=True)


class LeakyReLU(nn.LeakyReLU):
    """In place, as `ReLU`.

    Args:
        leak: slope of the negative side.
    """

    def __init__(self, leak: float) -> None:
        super().__init__(leak, inplace=True)


class ELU(nn.ELU):
    """In place where torch can differentiate that: its backward pass needs alpha >= 0 there.

    Args:
        alpha: what the negative side goes to, with its sign changed.
    """

    def __init__(self, alpha: float) -> None:
        super().__init__(alpha, inplace=alpha >= 0)


class FTSwishPlus(nn.Module):
    """Swish of the positive side, a constant on the negative one, shifted towards mean zero.

    Source: github.com/lessw2020/FTSwishPlus, src/ftswishplus.py (commit 20ade224), which adds the shift to
    FTSwish (Chieng et al. 2018, arXiv:1812.06247).

    Args:
        threshold: the value at and below zero, before the shift.
        mean_shift: what is subtracted.
    """

    def __init__(self, threshold: float, mean_shift: float) -> None:
        super().__init__()
        self.threshold, self.mean_shift = threshold, mean_shift

    def forward(self, x: Tensor) -> Tensor:
        # The same as relu(x) * sigmoid(x), and keeps one tensor for the backward pass in place of two.
        return F.silu(F.relu(x)) + (self.threshold - self.mean_shift)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, mean_shift={self.mean_shift}"


class TReLU(nn.Module):
    """ReLU moved down to a threshold, shifted towards mean zero.

    Source: github.com/lessw2020/TRelu, src/trelu.py (commit 19ed2b3c).

    Args:
        threshold: the value at and below zero, before the shift.
        mean_shift: what is subtracted.
    """

    def __init__(self, threshold: float, mean_shift: float) -> None:
        super().__init__()
        self.threshold, self.mean_shift = threshold, mean_shift

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x) + (self.threshold - self.mean_shift)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, mean_shift={self.mean_shift}"


class SquaredReLU(nn.Module):
    """The square of ReLU. A residual net squares each block's sum again, so outputs grow fast with depth.

    Source: So et al. 2021 (Primer), arXiv:2109.08668.
    """

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(x)
        # Not pow: autocast on CUDA computes that in fp32, and the output must keep x's dtype.
        return y * y


class GeneralReLU(nn.Module):
    """The course's activation with fixed constants, each optional, written out of place.

    The original subtracts in place after a relu, which breaks the relu's backward pass.
    Source: fast.ai course-v3 lesson 10, nb_06.py, GeneralRelu.
    """

    def __init__(
        self, leak: float | None = None, sub: float | None = None, maxv: float | None = None
    ) -> None:
        super().__init__()
        self.leak, self.sub, self.maxv = leak, sub, maxv

    @property
    def cap(self) -> float | None:
        """What the outputs are cut off at, where they are."""
        return self.maxv

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(x) if self.leak is None else F.leaky_relu(x, self.leak)
        if self.sub is not None:
            y = y - self.sub
        return y if self.maxv is None else y.clamp_max(self.maxv)

    def extra_repr(self) -> str:
        return f"leak={self.leak}, sub={self.sub}, maxv={self.maxv}"
