"""What every activation with learned parameters has in common, whatever its formula."""

from collections.abc import Collection
from typing import ClassVar

import torch
from torch import Tensor, nn


class LearnedActivation(nn.Module):
    """An activation whose named parameters are fp32 scalars, one per channel or one per layer.

    A subclass lists in `learned` the parameters that can receive a gradient, gives every starting value to
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
        self.averaged: tuple[str, ...] = ()
        self.averages_in_training = False
        self.bounds: dict[str, tuple[float, float]] = {}
        """(low, high) by parameter, which `lrelu_bench.training.activation_control` keeps it within."""
        shape = () if channels is None else (channels, 1, 1)
        for name, start in starts.items():
            self.register_parameter(name, nn.Parameter(torch.full(shape, start)))

    @property
    def learning(self) -> tuple[str, ...]:
        """The parameters that receive a gradient now: `learned` without what `learn` or a freeze took out."""
        return tuple(name for name in self.learned if getattr(self, name).requires_grad)

    def learn_only(self, names: Collection[str]) -> None:
        """Keep the learned parameters that are not among these where they are."""
        for name in self.learned:
            getattr(self, name).requires_grad_(name in names)

    def keep_averages(self, in_training: bool) -> None:
        """Give each parameter that learns a running average, the buffer `<name>_average`, from where it is.

        Evaluation then uses the average; training as well if `in_training`, and the gradient still reaches
        the parameter. `lrelu_bench.training.activation_control` moves the averages.
        """
        self.averaged, self.averages_in_training = self.learning, in_training
        for name in self.averaged:
            self.register_buffer(f"{name}_average", getattr(self, name).detach().clone())

    def average(self, name: str) -> Tensor:
        """The running average of a parameter in `averaged`."""
        average: Tensor = getattr(self, f"{name}_average")
        return average

    def value(self, name: str) -> Tensor:
        """The value of a parameter that `forward` uses: itself, or its average (see `keep_averages`)."""
        value: Tensor = getattr(self, name)
        if name not in self.averaged or (self.training and not self.averages_in_training):
            return value
        # The difference is zero: it is there for the gradient.
        return self.average(name) + (value - value.detach()) if self.training else self.average(name)

    @torch.no_grad()
    def settle(self) -> None:
        """Set each parameter to what evaluation uses, and its average with it, to learn no further."""
        for name in self.averaged:
            getattr(self, name).copy_(self.average(name))

    @property
    def cap(self) -> Tensor | None:
        """What the outputs are cut off at, where they are: shaped as a parameter."""
        return None

    def extra_repr(self) -> str:
        return "layer" if self.channels is None else f"channels={self.channels}"


def learned_activations(net: nn.Module) -> list[tuple[str, LearnedActivation]]:
    """Each learned activation with its module path, from the input to the output."""
    return [(path, module) for path, module in net.named_modules() if isinstance(module, LearnedActivation)]
