"""Parameter groups and the protocols' three optimizers, on torch's own Adam, RAdam and SGD."""

from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lrelu_bench.activations.factory import activation_parameters
from lrelu_bench.protocols import Recipe
from lrelu_bench.training.scheduled import ScheduledAdamW

ACTIVATION_GROUP = "activation"
"""Name of the parameter group of the learned activations."""


def parameter_groups(
    net: nn.Module, recipe: Recipe, activation_weight_decay: float, activation_lr_mult: float = 1.0
) -> list[dict[str, Any]]:
    """Weights, norms-and-biases and activation parameters, each with its weight decay and `lr_mult`.

    `lr_mult` is what `set_hyperparameters` multiplies the schedule's learning rate by: 1 but for activations.

    Grouped by where they are: a rule by shape would decay (C, 1, 1) activation parameters by accident. All
    that is in an activation is the activation's, whatever its name or type.
    """
    decayed, plain, activation = [], [], []
    of_activations = {id(parameter) for parameter in activation_parameters(net)}
    for module in net.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in of_activations:
                activation.append(parameter)
            elif name == "bias" or isinstance(module, nn.BatchNorm2d):
                plain.append(parameter)
            else:
                decayed.append(parameter)
    plain_decay = recipe.weight_decay if recipe.decay_norm_and_bias else 0.0
    groups = [
        {"name": "weight", "params": decayed, "weight_decay": recipe.weight_decay, "lr_mult": 1.0},
        {"name": "norm and bias", "params": plain, "weight_decay": plain_decay, "lr_mult": 1.0},
        {
            "name": ACTIVATION_GROUP,
            "params": activation,
            "weight_decay": activation_weight_decay,
            "lr_mult": activation_lr_mult,
        },
    ]
    return [group for group in groups if group["params"]]


class Lookahead:
    """Lookahead around another optimizer: every k steps the slow weights move by alpha towards the fast ones.

    Only weights that their optimizer moves take part: where the fast weight never changes, nor does the slow.
    Source: Zhang et al. 2019; fastai2 `optimizer.py`, Lookahead (k = 6, alpha = 0.5).
    """

    def __init__(self, optimizer: torch.optim.Optimizer, k: int = 6, alpha: float = 0.5) -> None:
        self.optimizer, self.k, self.alpha = optimizer, k, alpha
        self.steps = 0
        self._slow = [parameter.detach().clone() for parameter in self._fast()]

    def _fast(self) -> Iterator[Tensor]:
        return (parameter for group in self.optimizer.param_groups for parameter in group["params"])

    @property
    def due(self) -> bool:
        """Whether the slow weights move at the end of the step that comes next."""
        return (self.steps + 1) % self.k == 0

    def after_step(self) -> None:
        """To be called after each step of the inner optimizer."""
        if self.due:
            self.move()
        self.steps += 1

    @torch.no_grad()
    def move(self) -> None:
        """Move the slow weights, and the fast ones to them."""
        fast = list(self._fast())
        torch._foreach_lerp_(self._slow, fast, self.alpha)
        torch._foreach_copy_(fast, self._slow)

    @torch.no_grad()
    def rest(self, parameters: Collection[Tensor]) -> None:
        """Bring the slow weights of these to where the fast ones are: nothing is left to move them."""
        resting = {id(parameter) for parameter in parameters}
        for slow, fast in zip(self._slow, self._fast(), strict=True):
            if id(fast) in resting:
                slow.copy_(fast)

    def state_dict(self) -> dict[str, Any]:
        """The count of steps and the slow weights, not copied."""
        return {"steps": self.steps, "slow": self._slow}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a state of `state_dict`, copied."""
        self.steps = state["steps"]
        torch._foreach_copy_(self._slow, state["slow"])


def build_optimizer(
    net: nn.Module,
    recipe: Recipe,
    activation_weight_decay: float,
    activation_lr_mult: float = 1.0,
    scheduled: bool = False,
) -> tuple[torch.optim.Optimizer, Lookahead | None]:
    """The recipe's optimizer, with Lookahead beside it for ranger.

    adam is fastai 1's Adam with true weight decay and the course's (which decays after the step, not before:
    a relative difference of lr * weight_decay on the step), both torch's AdamW. ranger is fastai2's. sgd is
    torch's own.

    Args:
        scheduled: for a `DeviceSchedule`, which a captured step reads, in place of `set_hyperparameters`.
    """
    optimizer, lookahead = _built(
        parameter_groups(net, recipe, activation_weight_decay, activation_lr_mult), recipe, scheduled
    )
    # Its first steps run without a capture, as does every step whose kind is rare; torch would warn of that.
    optimizer._warned_capturable_if_run_uncaptured = True
    return optimizer, lookahead


def _built(
    groups: list[dict[str, Any]], recipe: Recipe, scheduled: bool
) -> tuple[torch.optim.Optimizer, Lookahead | None]:
    betas = (recipe.momentum_max, recipe.sq_momentum)
    if recipe.optimizer == "adam":
        if scheduled:
            return ScheduledAdamW(groups, recipe), None
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=betas, eps=recipe.eps, fused=True), None
    device = groups[0]["params"][0].device
    lr = torch.zeros((), device=device) if scheduled else recipe.lr
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=recipe.momentum_max, fused=scheduled), None
    radam = torch.optim.RAdam(
        groups,
        lr=lr,
        betas=betas,
        eps=recipe.eps,
        decoupled_weight_decay=True,
        foreach=True,
        # torch knows no capturable one on a CPU, where nothing is captured.
        capturable=scheduled and device.type == "cuda",
    )
    return radam, Lookahead(radam)


def set_hyperparameters(optimizer: torch.optim.Optimizer, lr: float, momentum: float) -> None:
    """Set learning rate, times its own `lr_mult`, and first-moment decay (SGD: momentum) of every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_mult"]
        if "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        else:
            group["momentum"] = momentum
