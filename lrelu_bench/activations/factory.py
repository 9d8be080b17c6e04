"""From an activation's name and options to a factory of modules, one fresh module per site of a net."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from lrelu_bench.activations.base import LearnedActivation
from lrelu_bench.activations.fixed import GeneralReLU
from lrelu_bench.activations.learned import LearnedReLU, LearnedReLUv1, LearnedReLUv2, LearnedReLUv3
from lrelu_bench.config import Activation

ActivationFactory = Callable[[int], nn.Module]
"""Takes the number of channels at the site; a shared module would tie all layers together."""

_LEARNED: dict[str, type[LearnedReLU]] = {
    "learned_relu_v1": LearnedReLUv1,
    "learned_relu_v2": LearnedReLUv2,
    "learned_relu_v3": LearnedReLUv3,
    "learned_relu": LearnedReLU,
}


def activation_factory(activation: Activation) -> ActivationFactory:
    """The factory of an activation as configured; what it makes is found again by `activation_sites`."""
    make = _maker(activation.resolved())

    def site(channels: int) -> nn.Module:
        module = make(channels)
        module.site_channels = channels  # type: ignore[assignment]
        return module

    return site


@dataclass(frozen=True)
class Site:
    """One place of a net that has an activation."""

    path: str
    """Module path, such as `4.convs.2`."""
    channels: int
    module: nn.Module


def activation_sites(net: nn.Module) -> list[Site]:
    """Every activation that a factory made for this net, in the order of the net."""
    return [
        Site(path, vars(module)["site_channels"], module)
        for path, module in net.named_modules()
        if "site_channels" in vars(module)
    ]


def _maker(activation: Activation) -> ActivationFactory:
    constants = activation.constants
    if activation.name == "relu":
        return lambda channels: nn.ReLU(inplace=True)
    if activation.name == "leaky_relu":
        return lambda channels: nn.LeakyReLU(constants["leak"], inplace=True)
    if activation.name == "general_relu":
        return lambda channels: GeneralReLU(**constants)
    module = _LEARNED[activation.name]
    per_channel = activation.granularity == "channel"
    return lambda channels: module(channels if per_channel else None, **constants)


def activation_parameter_count(net: nn.Module) -> int:
    """Number of parameters that belong to learned activations, held ones included."""
    return sum(
        p.numel()
        for module in net.modules()
        if isinstance(module, LearnedActivation)
        for p in module.parameters()
    )
