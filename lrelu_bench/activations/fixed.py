"""Activations without parameters that learn."""

from torch import Tensor, nn
from torch.nn import functional as F


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
