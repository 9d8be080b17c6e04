"""The way back to where all was well."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from lrelu_bench.results import Divergence
from lrelu_bench.training.activation_control import ActivationControl
from lrelu_bench.training.divergence import Culprit
from lrelu_bench.training.optim import ACTIVATION_GROUP, Lookahead


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
        self.parts: dict[str, Any] = {
            "net": net,
            "optimizer": optimizer,
            "scaler": scaler,
            "control": control,
        }
        if lookahead is not None:
            self.parts["lookahead"] = lookahead
        self._optimizer = optimizer
        self._rewinds_left = max_rewinds
        self.is_now = True
        """Whether nothing has changed since; to be set to False by whoever takes a step."""
        self.keep(0)

    def keep(self, epoch: int) -> None:
        """Take the state as it is now, after `epoch` epochs, as the last good one."""
        self.epoch, self.is_now = epoch, True
        self._state = {name: deepcopy(part.state_dict()) for name, part in self.parts.items()}

    def state_dict(self) -> dict[str, Any]:
        """The state kept, None where it is the one that the parts have now; not copied."""
        kept = None if self.is_now else self._state
        return {"epoch": self.epoch, "rewinds_left": self._rewinds_left, "kept": kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a state of `state_dict`; to be called once the parts have been brought to theirs."""
        self.keep(state["epoch"])
        self._rewinds_left = state["rewinds_left"]
        if state["kept"] is not None:
            self._state, self.is_now = state["kept"], False

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
        for name, part in self.parts.items():
            # Copied again, because torch's optimizers would go on working in the tensors they are given.
            part.load_state_dict(deepcopy(self._state[name]))
        self._activation_group["lr_mult"] = halved
        self.is_now = False
        return halved

    @property
    def _activation_group(self) -> dict[str, Any]:
        groups: list[dict[str, Any]] = self._optimizer.param_groups
        return next(group for group in groups if group["name"] == ACTIVATION_GROUP)
