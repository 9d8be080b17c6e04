"""The guard against blow-outs: what stopped being finite first, and the way back to where all was well."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lrelu_bench.activations.base import learned_activations
from lrelu_bench.results import Divergence
from lrelu_bench.training.activation_control import ActivationControl
from lrelu_bench.training.optim import ACTIVATION_GROUP, Lookahead


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


class LastGood:
    """The state at the end of the last epoch whose numbers were finite, kept in memory beside the net.

    Args:
        net, optimizer, lookahead, scaler, control: everything that a training step changes.
        max_rewinds: how often in the run to go back instead of stopping.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        lookahead: Lookahead | None,
        scaler: torch.amp.GradScaler,
        control: ActivationControl,
        max_rewinds: int,
    ) -> None:
        self._parts: dict[str, Any] = {
            "net": net,
            "optimizer": optimizer,
            "scaler": scaler,
            "control": control,
        }
        if lookahead is not None:
            self._parts["lookahead"] = lookahead
        self._optimizer = optimizer
        self._rewinds_left = max_rewinds
        self.keep(0)

    def keep(self, epoch: int) -> None:
        """Take the state as it is now, after `epoch` epochs, as the last good one."""
        self.epoch = epoch
        self._state = {name: deepcopy(part.state_dict()) for name, part in self._parts.items()}

    @property
    def weights(self) -> dict[str, Tensor]:
        """The net's parameters and buffers in that state, on the CPU."""
        return {name: tensor.cpu() for name, tensor in self._state["net"].items()}

    def answer(self, culprit: Culprit, epoch: int, steps_before: int) -> Divergence:
        """Rewind where that may help and is allowed, or leave it; and say what was done.

        The next try meets the same batches in the same order, so that a seed still decides a run: what
        differs is the activations' learning rate, halved once more each time and from then on. Where they
        were frozen already that changes nothing, and the run stops.

        Args:
            culprit: what broke.
            epoch: the epoch it broke in, from 1.
            steps_before: optimizer steps of the run before that epoch.
        """
        learns = any(group["name"] == ACTIVATION_GROUP for group in self._optimizer.param_groups)
        rewinds = learns and self._rewinds_left > 0 and not self._state["control"]["frozen"]
        multiple = self._rewind() if rewinds else None
        return Divergence(
            epoch=epoch,
            step=steps_before + culprit.step,
            parameter=culprit.parameter,
            layer=culprit.layer,
            depth=culprit.depth,
            last_good_epoch=self.epoch,
            action="rewind" if rewinds else "stop",
            activation_lr_mult=multiple,
        )

    def _rewind(self) -> float:
        self._rewinds_left -= 1
        # Of the state that broke, not of the one gone back to: twice back there is a quarter.
        halved: float = self._activation_group["lr_mult"] / 2
        for name, part in self._parts.items():
            # Copied again, because torch's optimizers would go on working in the tensors they are given.
            part.load_state_dict(deepcopy(self._state[name]))
        self._activation_group["lr_mult"] = halved
        return halved

    @property
    def _activation_group(self) -> dict[str, Any]:
        groups: list[dict[str, Any]] = self._optimizer.param_groups
        return next(group for group in groups if group["name"] == ACTIVATION_GROUP)
