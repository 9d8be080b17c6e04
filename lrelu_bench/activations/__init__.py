"""The activations by name: formula, reference, what they learn and which options they take.

This table is what configs are validated against, so it does not import torch; the modules that
compute are in `lrelu_bench.activations.fixed` and `lrelu_bench.activations.learned`.

The general form, per element: ``y = min(max(x, 0) + leak * min(x, 0) - sub, maxv)``.
"""

from dataclasses import dataclass
from typing import Literal

Granularity = Literal["layer", "channel"]


@dataclass(frozen=True)
class ActivationSpec:
    """One entry of the zoo. `defaults` are the options it takes, with the value each starts from."""

    formula: str
    reference: str
    learned: tuple[str, ...] = ()
    """The parameters that receive a gradient."""
    held: tuple[str, ...] = ()
    """Parameters that exist but never receive a gradient: the bug of the posts' first versions."""
    granularity: tuple[Granularity, ...] = ()
    """The granularities on offer; the first is the default."""
    defaults: tuple[tuple[str, float | None], ...] = ()

    @property
    def options(self) -> dict[str, float | None]:
        """The numeric options and their defaults."""
        return dict(self.defaults)


COURSE = "fast.ai course-v3 lesson 10, nb_06.py, GeneralRelu"
POSTS = "LearnedReLU posts, forums.fast.ai, April 2019"

ACTIVATIONS: dict[str, ActivationSpec] = {
    "relu": ActivationSpec("max(x, 0)", "Nair & Hinton 2010"),
    "leaky_relu": ActivationSpec(
        "max(x, 0) + leak * min(x, 0)", "Maas et al. 2013", defaults=(("leak", 0.01),)
    ),
    "general_relu": ActivationSpec(
        "min(max(x, 0) + leak * min(x, 0) - sub, maxv), each constant optional",
        COURSE,
        defaults=(("leak", None), ("sub", None), ("maxv", None)),
    ),
    "learned_relu_v1": ActivationSpec(
        "general form; leak and maxv read with .item(), so only sub is learned",
        f"{POSTS}, as first posted (its bug kept)",
        learned=("sub",),
        held=("leak", "maxv"),
        granularity=("layer",),
        defaults=(("leak", 0.1), ("sub", 0.25), ("maxv", 100.0)),
    ),
    "learned_relu_v2": ActivationSpec(
        "as v1, with leak in [0, 0.5], sub in [0, 1], maxv in [5, 100] clamped in training before use",
        f"{POSTS}, as posted second (its bug kept)",
        learned=("sub",),
        held=("leak", "maxv"),
        granularity=("layer",),
        defaults=(("leak", 0.05), ("sub", 0.25), ("maxv", 10.0)),
    ),
    "learned_relu_v3": ActivationSpec(
        "max(x, 0) + leak * min(x, 0) - sub; maxv held but unused",
        f"{POSTS}, as posted last",
        learned=("leak", "sub"),
        held=("maxv",),
        granularity=("channel",),
        defaults=(("leak", 0.05), ("sub", 0.25), ("maxv", 10.0)),
    ),
    "learned_relu": ActivationSpec(
        "general form, all three truly learned",
        "this project: what the posts' author wanted",
        learned=("leak", "sub", "maxv"),
        granularity=("channel", "layer"),
        defaults=(("leak", 0.05), ("sub", 0.25), ("maxv", 10.0)),
    ),
}
