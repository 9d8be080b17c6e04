"""What every activation with learned parameters has in common, whatever its formula."""

from typing import ClassVar

import torch
from torch import Tensor, nn


class LearnedActivation(nn.Module):
    """An activation whose named parameters are fp32 scalars, one per channel or one per layer.

    A subclass lists in `learned` the parameters that receive a gradient, gives every starting value to
    `__init__`, and computes `forward` from `value(name)`.

    Args:
        channels: number of channels C of the input (N, C, H, W), for parameters of (C, 1, 1), or None
            for one 0-d parameter for the whole layer.
        starts: where each parameter starts, by name.
    """

    learned: ClassVar[tuple[str, ...]] = ()

    def __init__(self, channels: int | None, **starts: float) -> None:
        super().__init__()
        self.channels = channels
        shape = () if channels is None else (channels, 1, 1)
        for name, start in starts.items():
            self.register_parameter(name, nn.Parameter(torch.full(shape, start)))

    def value(self, name: str) -> Tensor:
        """The value of a parameter that `forward` uses."""
        value: Tensor = getattr(self, name)
        return value

    @property
    def cap(self) -> Tensor | None:
        """What the outputs are cut off at, where they are: shaped as a parameter."""
        return None

    def extra_repr(self) -> str:
        return "layer" if self.channels is None else f"channels={self.channels}"
