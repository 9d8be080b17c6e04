"""One optimizer step after another: forward, backward, optimizer, and all that comes behind it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lrelu_bench.protocols import Recipe
from lrelu_bench.training.activation_control import ActivationControl
from lrelu_bench.training.divergence import FiniteGuard
from lrelu_bench.training.objective import Mix, Net, Objective
from lrelu_bench.training.optim import Lookahead, set_hyperparameters
from lrelu_bench.training.schedules import SCHEDULES
from lrelu_bench.training.telemetry import TelemetryRecorder


@dataclass
class Parts:
    """What a step works on."""

    net: nn.Module
    forward: Net
    """The net, or what torch.compile made of it: the same parameters."""
    objective: Objective
    optimizer: torch.optim.Optimizer
    lookahead: Lookahead | None
    scaler: torch.amp.GradScaler
    control: ActivationControl
    guard: FiniteGuard


class Stepper(ABC):
    """Takes the steps of a run.

    Args:
        steps: optimizer steps of the whole run.
    """

    def __init__(self, parts: Parts, recipe: Recipe, steps: int) -> None:
        self.parts, self.recipe, self.steps = parts, recipe, steps
        self.telemetry: TelemetryRecorder | None = None
        self.total = torch.zeros((), device=parts.objective.compute.device)
        """The sum of this epoch's losses, each as often as its batch has images."""
        self._mixes: Sequence[Mix] = ()
        self._first = 0

    def start_epoch(self, first: int, count: int, mixes: Sequence[Mix]) -> None:
        """Make ready for `count` steps from `first` (of the run, from 0) on, with a mix for each or none."""
        self.total.zero_()
        self.parts.guard.start_epoch()
        self._first, self._mixes = first, mixes

    @abstractmethod
    def step(self, step: int, pixels: Tensor, labels: Tensor) -> None:
        """Take step `step` of the run, from 0, with a batch as the loader gives it."""

    def state_replaced(self) -> None:  # noqa: B027 (not all hold on to the old one)
        """To be called once another state has been loaded into the parts."""

    def hyperparameters(self, step: int) -> tuple[float, float]:
        """Learning rate and momentum of a step of the run, from 0."""
        return SCHEDULES[self.recipe.schedule](self.recipe, step, self.steps)

    def _mix(self, step: int) -> Mix | None:
        return self._mixes[step - self._first] if self._mixes else None


class EagerStepper(Stepper):
    """One operator after the other, as torch does by itself."""

    def step(self, step: int, pixels: Tensor, labels: Tensor) -> None:
        parts, scaler, telemetry = self.parts, self.parts.scaler, self.telemetry
        lr, momentum = self.hyperparameters(step)
        set_hyperparameters(parts.optimizer, lr, momentum)
        sampled = telemetry is not None and step + 1 in telemetry.steps
        if telemetry is not None:
            telemetry.before_step(step + 1, lr)
        images, labels = parts.objective.on_device(pixels, labels)
        # A compiled net would be compiled once more for a sampled step's hooks.
        net = parts.net if sampled else parts.forward
        loss = parts.objective.train_loss(net, images, labels, self._mix(step))
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scale = scaler.get_scale()
        scaler.step(parts.optimizer)
        scaler.update()
        # A scale that fell says that the gradients were not finite and the step was skipped.
        moved = scaler.get_scale() >= scale
        if parts.lookahead is not None and moved:
            parts.lookahead.after_step()
        parts.guard.after_step(loss)
        parts.control.after_step(step + 1, moved)
        if telemetry is not None:
            telemetry.after_step()
        parts.optimizer.zero_grad(set_to_none=True)
        self.total += loss.detach() * len(labels)
