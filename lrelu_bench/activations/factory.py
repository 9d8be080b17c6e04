"""From an activation's name and options to a factory of modules, one fresh module per site of a net."""

from collections.abc import Callable

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
    """The factory of an activation as configured."""
    activation = activation.resolved()
    constants = activation.constants
    if activation.name == "relu":
        return lambda channels: nn.ReLU(inplace=True)
    if activation.name == "leaky_relu":
        return lambda channels: nn.LeakyReLU(constants["leak"], inplace=True)
    if activation.name == "general_relu":
        return lambda channels: GeneralReLU(**constants)
    module = _LEARNED[activation.name]
    per_channel = activation.granularity == "channel"
    return lambda channels: _with_options(module(channels if per_channel else None, **constants), activation)


def _with_options(module: LearnedActivation, activation: Activation) -> LearnedActivation:
    """`module`, with the options of learning that are its own; the rest are the training loop's."""
    module.learn_only(activation.learning)
    if activation.ema is not None:
        module.keep_averages(in_training=activation.ema_use == "forward")
    return module


def activation_parameter_count(net: nn.Module) -> int:
    """Number of parameters that belong to learned activations, held ones included."""
    return sum(
        p.numel()
        for module in net.modules()
        if isinstance(module, LearnedActivation)
        for p in module.parameters()
    )
