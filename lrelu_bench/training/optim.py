"""Parameter groups and the protocols' three optimizers, on torch's own Adam, RAdam and SGD."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lrelu_bench.activations.base import LearnedActivation
from lrelu_bench.protocols import Recipe


def parameter_groups(
    net: nn.Module, recipe: Recipe, activation_weight_decay: float
) -> list[dict[str, list[nn.Parameter] | float]]:
    """Weights, norms-and-biases and activation parameters, each with its weight decay.

    Grouped by module type: a rule by shape would decay (C, 1, 1) activation parameters by accident.
    """
    decayed, plain, activation = [], [], []
    for module in net.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, LearnedActivation):
                activation.append(parameter)
            elif name == "bias" or isinstance(module, nn.BatchNorm2d):
                plain.append(parameter)
            else:
                decayed.append(parameter)
    plain_decay = recipe.weight_decay if recipe.decay_norm_and_bias else 0.0
    groups = [(decayed, recipe.weight_decay), (plain, plain_decay), (activation, activation_weight_decay)]
    return [{"params": params, "weight_decay": decay} for params, decay in groups if params]


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

    @torch.no_grad()
    def after_step(self) -> None:
        """To be called after each step of the inner optimizer."""
        self.steps += 1
        if self.steps % self.k:
            return
        fast = list(self._fast())
        torch._foreach_lerp_(self._slow, fast, self.alpha)
        torch._foreach_copy_(fast, self._slow)


def build_optimizer(
    net: nn.Module, recipe: Recipe, activation_weight_decay: float
) -> tuple[torch.optim.Optimizer, Lookahead | None]:
    """The recipe's optimizer, with Lookahead beside it for ranger.

    adam is fastai 1's Adam with true weight decay and the course's (which decays after the step, not before:
    a relative difference of lr * weight_decay on the step), both torch's AdamW. ranger is fastai2's. sgd is
    torch's own.
    """
    groups = parameter_groups(net, recipe, activation_weight_decay)
    betas = (recipe.momentum_max, recipe.sq_momentum)
    if recipe.optimizer == "adam":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=betas, eps=recipe.eps), None
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum_max), None
    radam = torch.optim.RAdam(
        groups, lr=recipe.lr, betas=betas, eps=recipe.eps, decoupled_weight_decay=True, foreach=True
    )
    return radam, Lookahead(radam)


def set_hyperparameters(optimizer: torch.optim.Optimizer, lr: float, momentum: float) -> None:
    """Set learning rate and first-moment decay (SGD: momentum) of every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr
        if "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        else:
            group["momentum"] = momentum
