"""From an activation's name and options to a factory of modules, one fresh module per site of a net."""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from lrelu_bench.activation_config import Activation
from lrelu_bench.activations.base import LearnedActivation
from lrelu_bench.activations.custom import import_path, unrunnable
from lrelu_bench.errors import BenchError

ActivationFactory = Callable[[int], nn.Module]
"""Takes the number of channels at the site; a shared module would tie all layers together."""


def activation_factory(activation: Activation) -> ActivationFactory:
    """The factory of an activation as configured; what it makes is found again by `activation_sites`.

    Raises `BenchError` where a user's own class cannot be imported, is no module of torch's, or is not in the
    file that the config was read with; the factory does where it cannot be called with the options.
    """
    activation = activation.resolved()
    own = _imported(activation) if activation.is_custom else _class(activation.spec.implementation)
    takes_channels = _takes_channels(own)
    if activation.granularity is not None and not takes_channels:
        raise BenchError(
            f"activation {activation.name}: it takes no channels, so it has no granularity "
            f"{activation.granularity}; remove activation.granularity"
        )

    def site(channels: int) -> nn.Module:
        options: dict[str, Any] = activation.constants
        if takes_channels:
            options["channels"] = None if activation.granularity == "layer" else channels
        module = _built(activation.name, own, options) if activation.is_custom else own(**options)
        _apply_options(module, activation)
        module.site_channels = channels
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


def activation_parameters(net: nn.Module) -> Iterator[nn.Parameter]:
    """Every parameter that belongs to an activation, held ones included."""
    return (parameter for site in activation_sites(net) for parameter in site.module.parameters())


def _apply_options(module: nn.Module, activation: Activation) -> None:
    """The options of learning that are the module's own; the rest are the training loop's."""
    if activation.is_custom:
        _require_learned(activation, module)
    if not isinstance(module, LearnedActivation):
        return
    module.learn_only(activation.learn or module.learned)
    module.bounds = dict(activation.bounds or {})
    if activation.ema is not None:
        module.keep_averages(in_training=activation.ema_use == "forward")


def _require_learned(activation: Activation, module: nn.Module) -> None:
    """What a config can only be checked for once a user's class is built."""
    if not list(module.parameters()):
        for option in ("lr_mult", "weight_decay"):
            if getattr(activation, option):
                raise BenchError(
                    f"activation.{option} is {getattr(activation, option):g}, but {activation.name} has no "
                    "parameters; remove it"
                )
    if not isinstance(module, LearnedActivation):
        for option in ("learn", "bounds", "ema", "freeze_at"):
            if getattr(activation, option) is not None:
                raise BenchError(
                    f"activation.{option} needs a class that derives from LearnedActivation, and "
                    f"{activation.name} does not; remove it, or derive the class"
                )
        return
    missing = [name for name in module.learned if name not in dict(module.named_parameters(recurse=False))]
    if missing:
        raise BenchError(
            f"activation {activation.name}: its `learned` names {missing[0]!r}, but it has no such "
            "parameter; mend the class"
        )
    for option, names in (("learn", activation.learn or ()), ("bounds", activation.bounds or {})):
        for name in names:
            if name not in module.learned:
                raise BenchError(
                    f"activation.{option} names {name!r}, which {activation.name} does not learn "
                    f"(it learns: {', '.join(module.learned) or 'nothing'}); remove it"
                )
    for name, (low, high) in (activation.bounds or {}).items():
        start = getattr(module, name).detach()
        if not ((low <= start) & (start <= high)).all():
            raise BenchError(
                f"activation.bounds.{name} is [{low:g}, {high:g}], but {activation.name} starts {name} "
                f"outside; widen the bounds, or set activation.options.{name} inside them"
            )


def activation_parameter_count(net: nn.Module) -> int:
    """Number of parameters that belong to activations, held ones included."""
    return sum(parameter.numel() for parameter in activation_parameters(net))


def _class(name: str) -> Any:
    """What `package.module:Class` names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute, None)


def _takes_channels(own: type[nn.Module]) -> bool:
    return "channels" in inspect.signature(own).parameters


def _imported(activation: Activation) -> type[nn.Module]:
    """A user's class, from the file that the config was read with."""
    name = activation.name
    if problem := unrunnable(name, activation.code):
        raise BenchError(f"activation {name}: {problem}")
    # For good, not for this import alone: the class may import more when it is built.
    sys.path[:] = dict.fromkeys(import_path())
    try:
        own = _class(name)
    except Exception as error:
        raise BenchError(
            f"activation {name}: importing it fails ({_said(error)}); mend the module"
        ) from error
    module, _, attribute = name.partition(":")
    if own is None:
        raise BenchError(f"activation {name}: module {module} has no {attribute}; check the name")
    if not (isinstance(own, type) and issubclass(own, nn.Module)):
        raise BenchError(f"activation {name}: {attribute} is no subclass of torch.nn.Module; make it one")
    if own.__module__ != module:
        raise BenchError(
            f"activation {name}: {attribute} is written in {own.__module__}; name it "
            f"{own.__module__}:{own.__name__}, because results are keyed on the file it is written in"
        )
    return own


def _built(name: str, own: type[nn.Module], options: dict[str, Any]) -> nn.Module:
    try:
        return own(**options)
    except Exception as error:
        given = ", ".join(f"{key}={value}" for key, value in options.items()) or "no options"
        raise BenchError(
            f"activation {name}: it cannot be built with {given} ({_said(error)}); change "
            "activation.options, or mend the class"
        ) from error


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
