"""The peers' nets, and the product's initial weights in them."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peers.cell import Cell

TIMM_ARCHS = {"xresnet18": "resnet18d", "xresnet34": "resnet34d", "xresnet50": "resnet50d"}


class PlainFormula(nn.Module):
    """The learned ReLU as one would write it: torch's operators, all three parameters per channel."""

    def __init__(self, channels: int, leak: float, sub: float, maxv: float) -> None:
        super().__init__()
        self.leak, self.sub, self.maxv = (
            nn.Parameter(torch.full((channels, 1, 1), start)) for start in (leak, sub, maxv)
        )

    def forward(self, x: Tensor) -> Tensor:
        leak, sub, maxv = (p.to(x.dtype) for p in (self.leak, self.sub, self.maxv))
        return torch.minimum(F.relu(x) + leak * x.clamp_max(0) - sub, maxv)


def timm_net(cell: Cell) -> nn.Module:
    """timm's net of the cell's structure, untrained."""
    with warnings.catch_warnings():
        # timm 1.0 scripts functions as it is imported, which torch deprecates.
        warnings.simplefilter("ignore", FutureWarning)
        import timm
    first, second, last = cell.recipe["stem"]
    if first != second or last != 64:
        raise ValueError(f"timm has no net with a stem of {first}, {second} and {last} channels")
    net: nn.Module = timm.create_model(TIMM_ARCHS[cell.arch], num_classes=10, stem_width=first)
    return with_activation(net, cell)


def fastai_net(cell: Cell) -> nn.Module:
    """fastai's net of the cell's structure, untrained."""
    from fastai.vision.models import xresnet

    net: nn.Module = getattr(xresnet, cell.arch)(n_out=10, stem_szs=tuple(cell.recipe["stem"]))
    return with_activation(net, cell)


def with_activation(net: nn.Module, cell: Cell) -> nn.Module:
    """The net with the cell's activation in place of every ReLU."""
    if cell.activation == "relu":
        return net
    channels, places = 0, []
    for path, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            channels = module.num_features
        elif isinstance(module, nn.ReLU):
            places.append((path, channels))
    for path, width in places:
        parent, _, name = path.rpartition(".")
        setattr(net.get_submodule(parent), name, PlainFormula(width, **cell.constants))
    return net


def weighty_layers(net: nn.Module) -> list[nn.Module]:
    """Convolutions, batch norms and linear layers, in the order in which all three libraries make them."""
    return [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d | nn.Linear)]


def save_weights(net: nn.Module, path: Path) -> None:
    """Write what `load_weights` reads into another library's net."""
    torch.save([layer.state_dict() for layer in weighty_layers(net)], path)


def load_weights(net: nn.Module, path: Path) -> None:
    """Fill a net of the same structure; raises where a layer is missing or differs."""
    saved: list[dict[str, Any]] = torch.load(path, weights_only=True)
    for layer, state in zip(weighty_layers(net), saved, strict=True):
        layer.load_state_dict(state)


def parameter_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights that decay, and norms, biases and activations, which do not."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for module in net.modules():
        for name, parameter in module.named_parameters(recurse=False):
            weight = name == "weight" and isinstance(module, nn.Conv2d | nn.Linear)
            (decayed if weight else plain).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
