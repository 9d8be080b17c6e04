"""The guard against blow-outs: what stopped being finite first."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lrelu_bench.activations.base import learned_activations


@dataclass(frozen=True)
class Culprit:
    """What was not finite first; `Divergence` says what the fields mean. `step` is of the epoch, from 1."""

    step: int
    parameter: str
    layer: str | None = None
    depth: int | None = None


class FiniteGuard:
    """Watches the loss and every activation parameter at every step, without waiting for the device.

    For each watched number the device itself counts the steps for which it has been finite, so that what
    went first can be told however late somebody asks. The running variances of the batch norms are watched
    as well: they are not finite once a batch norm's input was not, and so tell where in the net a loss broke.

    Made once the net is on its device: it holds views of the net's tensors, which only in-place changes keep.
    """

    def __init__(self, net: nn.Module, device: torch.device) -> None:
        views: list[tuple[str, str, int | None, Tensor]] = [
            (path, name, depth, parameter)
            for depth, (path, module) in enumerate(learned_activations(net))
            for name, parameter in module.named_parameters(recurse=False)
        ]
        self._parameters = len(views)
        views += [
            (path, "running_var", None, module.running_var)
            for path, module in net.named_modules()
            if isinstance(module, nn.BatchNorm2d) and module.running_var is not None
        ]
        self._names = [(path, name, depth) for path, name, depth, _ in views]
        self._values = [tensor.detach().view(-1) for _, _, _, tensor in views]
        self._lengths = [1, *(len(values) for values in self._values)]
        self._decisive = sum(self._lengths[: 1 + self._parameters])
        self._finite = torch.ones(sum(self._lengths), dtype=torch.bool, device=device)
        self._steps = torch.zeros(len(self._finite), dtype=torch.int32, device=device)

    def start_epoch(self) -> None:
        """Forget what was counted."""
        self._finite.fill_(True)
        self._steps.zero_()

    def state_dict(self) -> dict[str, Tensor]:
        """What was counted in this epoch, not copied."""
        return {"finite": self._finite, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go to a state of `state_dict`, copied."""
        self._finite.copy_(state["finite"])
        self._steps.copy_(state["steps"])

    @torch.no_grad()
    def after_step(self, loss: Tensor) -> None:
        """To be called after each optimizer step, before projection, which would hide an infinite value."""
        values = torch.cat([loss.detach().view(1), *self._values])
        self._finite.logical_and_(values.isfinite())
        self._steps.add_(self._finite)

    def all_finite(self) -> Tensor:
        """Whether the loss and the parameters have been finite in this epoch: a 0-d tensor, bool."""
        return self._finite[: self._decisive].all()

    def culprit(self) -> Culprit | None:
        """What went first in this epoch, None while the loss and the parameters are finite.

        The loss of a step is older than the parameters after it. Of parameters that went in the same step the
        deepest is named, whose gradient is computed first; of batch norms the one nearest to the input.

        Waits for the device.
        """
        if self.all_finite():
            return None
        finite_for = [int(steps.min()) for steps in torch.split(self._steps.cpu(), self._lengths)]
        loss, *others = finite_for
        parameters, norms = others[: self._parameters], others[self._parameters :]
        first = min(parameters, default=loss)
        if first < loss:
            deepest = max(i for i, steps in enumerate(parameters) if steps == first)
            layer, name, depth = self._names[deepest]
            return Culprit(first + 1, name, layer, depth)
        if min(norms, default=loss + 1) > loss:
            return Culprit(loss + 1, "loss")
        layer, _, _ = self._names[self._parameters + norms.index(min(norms))]
        return Culprit(loss + 1, "loss", layer)
