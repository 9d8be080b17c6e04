"""Hyperparameters as tensors: what a captured step reads is the memory it read when it was captured."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lrelu_bench.protocols import Recipe
from lrelu_bench.training.schedules import SCHEDULES

_DECAY = 0.9
"""The first-moment decay that the kernel is given, whatever the schedule's is: any in (0, 1) will do."""


class ScheduledAdamW(torch.optim.AdamW):
    """AdamW in torch's fused kernel, with a first-moment decay that moves while the kernel's stands still.

    The kernel takes its learning rate from a tensor but its decay c as a number, which a captured step could
    never change. The schedule's first moment M obeys ``M_t = b_t M_(t-1) + (1 - b_t) g_t``. This optimizer
    keeps ``m_t = s_t M_t`` with ``s_t = (1 - c) / (1 - b_t)`` in its place. Before each step m is multiplied
    by ``s_t b_t / (c s_(t-1))``, whereupon the kernel's own ``m_t = c m + (1 - c) g_t`` is right, and the
    learning rate makes up for s and for the bias correction. Weights decay before the kernel, which is given
    none: its learning rate is no longer the schedule's.

    Each parameter must take part from the first step on, until it takes part no more.

    Args:
        groups: as of `lrelu_bench.training.optim.parameter_groups`.
    """

    def __init__(self, groups: list[dict[str, Any]], recipe: Recipe) -> None:
        device = groups[0]["params"][0].device
        kept = [{**group, "weight_decay": 0.0, "decay": group["weight_decay"]} for group in groups]
        super().__init__(
            kept,
            lr=torch.zeros((), device=device),
            betas=(_DECAY, recipe.sq_momentum),
            eps=recipe.eps,
            fused=True,
            capturable=True,
        )

    def numbers(self, step: int, lr: float, momentum: float, before: float) -> list[float]:
        """What a row of the schedule holds: a learning rate and a share kept per group, and m's multiple.

        Args:
            step: of the run, from 0.
            lr, momentum: of the schedule.
            before: the schedule's momentum one step before.
        """
        scale, scale_before = ((1 - _DECAY) / (1 - b) for b in (momentum, before))
        corrected = (1 - _DECAY ** (step + 1)) / (scale * (1 - momentum ** (step + 1)))
        rates = [lr * group["lr_mult"] for group in self.param_groups]
        return [
            *(rate * corrected for rate in rates),
            *(1 - rate * group["decay"] for rate, group in zip(rates, self.param_groups, strict=True)),
            scale * momentum / (_DECAY * scale_before),
        ]

    def bind(self, row: Tensor) -> None:
        """Read from this row from now on."""
        groups = len(self.param_groups)
        _bind_rates(self, row)
        self._kept, self._multiple = row[groups : 2 * groups].unbind(), row[-1]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step, with the row's numbers."""
        for group, kept in zip(self.param_groups, self._kept, strict=True):
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            moments = [self.state[parameter]["exp_avg"] for parameter in moving if self.state[parameter]]
            if moments:
                torch._foreach_mul_(moments, self._multiple)
            if moving and group["decay"]:
                torch._foreach_mul_(moving, kept)
        super().step(closure)


class DeviceSchedule:
    """The schedule of a run on the device, a row for each step of an epoch, and the row in force.

    Args:
        optimizer: a `ScheduledAdamW`; or torch's RAdam or SGD with a tensor for its learning rate, whose
            momentum must not move.
        steps: of the whole run.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> None:
        self.optimizer, self.recipe, self.steps = optimizer, recipe, steps
        self._device = optimizer.param_groups[0]["params"][0].device
        self._now = torch.zeros(len(self._numbers(0)) + 1, device=self._device)
        self.average_weight = self._now[-1]
        """How far the activations' averages move, a 0-d tensor."""
        self.bind()

    def bind(self) -> None:
        """Have the optimizer read its numbers here; to be called again once it has loaded a state."""
        if isinstance(self.optimizer, ScheduledAdamW):
            self.optimizer.bind(self._now[:-1])
        else:
            _bind_rates(self.optimizer, self._now)

    def start_epoch(self, first: int, average_weights: Sequence[float]) -> None:
        """Bring the numbers of the steps from `first` (of the run, from 0) on, one per weight, over."""
        rows = [[*self._numbers(first + i), weight] for i, weight in enumerate(average_weights)]
        self._first, self._rows = first, torch.tensor(rows, device=self._device)

    def go_to(self, step: int) -> None:
        """Put a step's numbers in force."""
        self._now.copy_(self._rows[step - self._first])

    def _numbers(self, step: int) -> list[float]:
        schedule = SCHEDULES[self.recipe.schedule]
        lr, momentum = schedule(self.recipe, step, self.steps)
        if not isinstance(self.optimizer, ScheduledAdamW):
            return [lr * group["lr_mult"] for group in self.optimizer.param_groups]
        before = schedule(self.recipe, max(step - 1, 0), self.steps)[1]
        return self.optimizer.numbers(step, lr, momentum, before)


def _bind_rates(optimizer: torch.optim.Optimizer, row: Tensor) -> None:
    for group, rate in zip(optimizer.param_groups, row, strict=False):
        group["lr"] = rate


def momentum_moves(recipe: Recipe) -> bool:
    """Whether the schedule moves the momentum."""
    return recipe.schedule == "one_cycle" and recipe.momentum_min != recipe.momentum_max
