"""The learned ReLU family: modules around the general form.

Source: LearnedReLU posts, forums.fast.ai, April 2019, on fast.ai course-v3's GeneralRelu.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from lrelu_bench.activations.base import LearnedActivation
from lrelu_bench.activations.general_form import Form, general_relu


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

    def general_form(self) -> Form:
        """The leak, sub and maxv of the next forward pass: what a fused pass needs to know."""
        return self.value("leak"), self.value("sub"), self.value("maxv")

    def forward(self, x: Tensor) -> Tensor:
        return general_relu(x, *self.general_form())


class LearnedReLUv1(LearnedReLU):
    """As first posted: leak and maxv are read with ``.item()``, which cuts their gradients; only sub learns.

    ``detach()`` reproduces that without the posts' device synchronisation.
    """

    learned = ("sub",)

    def general_form(self) -> Form:
        return self.leak.detach(), self.value("sub"), self.maxv.detach()


class LearnedReLUv2(LearnedReLUv1):
    """As posted second: v1, gradients still missing, with the parameters clamped in training before use."""

    BOUNDS = {"leak": (0.0, 0.5), "sub": (0.0, 1.0), "maxv": (5.0, 100.0)}  # noqa: RUF012

    def general_form(self) -> Form:
        if self.training:
            with torch.no_grad():
                for name, (low, high) in self.BOUNDS.items():
                    getattr(self, name).clamp_(low, high)
        return super().general_form()


class LearnedReLUv3(LearnedReLU):
    """As posted last, the posts' good version: leak and sub learned per channel; maxv held but unused."""

    learned = ("leak", "sub")

    def general_form(self) -> Form:
        return self.value("leak"), self.value("sub"), None
