"""What happens to learned activations after each optimizer step: bounds, running averages, freezing.

The order is: optimizer step, Lookahead, then `ActivationControl.after_step`, which

1. projects onto the bounds. The gradient of a parameter at its bound is not touched, so the parameter can
   come back; clamping in the forward pass, as `learned_relu_v2` still does, would cut the gradient there.
2. moves the averages: ``average = d * average + (1 - d) * parameter`` with
   ``d = min(ema, (1 + t) / (10 + t))`` at the t-th time, from 0, so that the start is soon forgotten (as
   TensorFlow's ExponentialMovingAverage).
3. freezes, from step ``ceil(freeze_at * steps)`` on. The parameters become what evaluation uses, their
   averages if there are any, and take no gradient any more. They stay in their optimizer group, so that a
   state saved before the freeze fits an optimizer after it and the other way round: torch's optimizers pass
   over a parameter without a gradient, momentum and decay included, and Lookahead's slow copies become equal.

A step that fp16's loss scaling skipped moves neither parameters nor averages, but counts towards the freeze.
"""

from collections import defaultdict
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from lrelu_bench.activation_config import Activation
from lrelu_bench.activations.base import learned_activations
from lrelu_bench.training.optim import Lookahead


class ActivationControl:
    """Bounds, averages and freeze of a net's learned activations as one object, called once a step.

    Made once the net is on its device: it holds the net's tensors, which only in-place changes keep.

    Args:
        net: the net, its activations made by `activation_factory(options)`.
        options: what the config says of the activation.
        steps: optimizer steps of the whole run.
        lookahead: what moves parameters beside the optimizer, if anything does.
    """

    def __init__(
        self, net: nn.Module, options: Activation, steps: int, lookahead: Lookahead | None = None
    ) -> None:
        self._modules = [module for _, module in learned_activations(net)]
        self._parameters = [p for module in self._modules for p in module.parameters() if p.requires_grad]
        self._bounded: dict[tuple[float, float], list[Tensor]] = defaultdict(list)
        self._averages: list[Tensor] = []
        self._raw: list[Tensor] = []
        for module in self._modules:
            for name, bounds in module.bounds.items():
                self._bounded[bounds].append(getattr(module, name))
            for name in module.averaged:
                self._raw.append(getattr(module, name))
                self._averages.append(module.average(name))
        self._decay = options.ema or 0.0
        self._lookahead = lookahead
        # The product of a share and a count may lie a rounding error above a whole number.
        share = options.freeze_at
        self._freeze_step = None if share is None else ceil(round(share * steps, 6))
        self._times_averaged = 0
        self.frozen = False

    def after_step(self, steps_done: int, moved: bool = True) -> None:
        """To be called after each optimizer step; `moved` is whether it was not skipped."""
        if self.frozen:
            return
        if moved:
            self.move(self.average_weight())
            self.count_move()
        self.freeze_when_due(steps_done)

    def average_weight(self, ahead: int = 0) -> float:
        """How far the averages go towards the parameters the next time they move, or `ahead` times later."""
        t = self._times_averaged + ahead
        return 1 - min(self._decay, (1 + t) / (10 + t))

    @torch.no_grad()
    def move(self, average_weight: float | Tensor) -> None:
        """Project onto the bounds and move the averages; work of the device alone."""
        for (low, high), parameters in self._bounded.items():
            torch._foreach_clamp_min_(parameters, low)
            torch._foreach_clamp_max_(parameters, high)
        if not self._averages:
            return
        if isinstance(average_weight, Tensor):
            # As a number, torch would wait for it.
            weights = [average_weight] * len(self._averages)
            torch._foreach_lerp_(self._averages, self._raw, weights)
        else:
            torch._foreach_lerp_(self._averages, self._raw, average_weight)

    def count_move(self) -> None:
        """To be called after each `move`."""
        self._times_averaged += bool(self._averages)

    def freezes(self, steps_done: int) -> bool:
        """Whether `freeze_when_due` would freeze now."""
        return not self.frozen and self._freeze_step is not None and steps_done >= self._freeze_step

    @torch.no_grad()
    def freeze_when_due(self, steps_done: int) -> None:
        """Freeze once that many steps of the run are done."""
        if self.freezes(steps_done):
            for module in self._modules:
                module.settle()
            if self._lookahead is not None:
                self._lookahead.rest(self._parameters)
            self._set_frozen(True)

    def _set_frozen(self, frozen: bool) -> None:
        self.frozen = frozen
        for parameter in self._parameters:
            parameter.requires_grad_(not frozen)
            if frozen:
                parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """What the net's own state does not hold."""
        return {"times_averaged": self._times_averaged, "frozen": self.frozen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a state of `state_dict`; the net's, optimizer's and Lookahead's are loaded beside it."""
        self._times_averaged = state["times_averaged"]
        self._set_frozen(state["frozen"])
