"""Batch normalisation and the activation behind it, as one site of a net."""

from torch import Tensor, nn

from lrelu_bench.activations.factory import ActivationFactory
from lrelu_bench.activations.fixed import ReLU
from lrelu_bench.activations.general_form import norm_general_relu
from lrelu_bench.activations.learned import LearnedReLU


class NormAct(nn.Module):
    """Batch normalisation, a residual where there is one, and the site's activation.

    They are one module because they are one pass over memory where the activation allows it; the modules
    inside, and hooks on them, are then not called. The output is the activation's in either case.

    Args:
        channels: of the input.
        act: makes the activation of a site.
        zero_norm: whether the normalisation's weight starts at 0 instead of 1.
    """

    def __init__(self, channels: int, act: ActivationFactory, zero_norm: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        nn.init.constant_(self.norm.weight, 0.0 if zero_norm else 1.0)
        self.act = act(channels)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        act = self.fused_act
        if act is not None:
            form = act.general_form() if isinstance(act, LearnedReLU) else None
            return norm_general_relu(x, self.norm, form, residual)
        normalised = self.norm(x)
        return self.act(normalised if residual is None else normalised + residual)  # type: ignore[no-any-return]

    @property
    def fused_act(self) -> LearnedReLU | ReLU | None:
        """The activation where a fused pass can compute it; its own forward is then not called."""
        # A user's subclass may compute something else from the same parameters.
        if isinstance(self.act, LearnedReLU) and type(self.act).forward is LearnedReLU.forward:
            return self.act
        if isinstance(self.act, ReLU) and type(self.act).forward is ReLU.forward:
            return self.act
        return None
