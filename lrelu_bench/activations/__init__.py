"""The activations by name: formula, reference, class, what they learn and which options they take.

This table is what configs are validated against, so it does not import torch: a class is named, and
`lrelu_bench.activations.factory` imports it. To add one, write its class and its entry here.

The general form, per element: ``y = min(max(x, 0) + leak * min(x, 0) - sub, maxv)``.
"""

from dataclasses import dataclass
from typing import Literal

Granularity = Literal["layer", "channel"]

OWN_KEYS = ("leak", "sub", "maxv")
"""Options that are keys of `activation` in a config; the others stand below its `options`."""


@dataclass(frozen=True)
class ActivationSpec:
    """One entry of the zoo. `defaults` are the options it takes, with the value each starts from."""

    formula: str
    reference: str
    implementation: str
    """The module's class as `package.module:Class`. It is called with the options, and with `channels` where
    it has granularities."""
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

    @property
    def keys(self) -> dict[str, float | None]:
        """The same by their keys in a config, below `activation`."""
        return {key if key in OWN_KEYS else f"options.{key}": v for key, v in self.defaults}


FIXED = "lrelu_bench.activations.fixed"
LEARNED = "lrelu_bench.activations.learned"
PARAMETRIC = "lrelu_bench.activations.parametric"
COURSE = "fast.ai course-v3 lesson 10, nb_06.py, GeneralRelu"
POSTS = "LearnedReLU posts, forums.fast.ai, April 2019"

ACTIVATIONS: dict[str, ActivationSpec] = {
    "relu": ActivationSpec("max(x, 0)", "Nair & Hinton 2010", f"{FIXED}:ReLU"),
    "leaky_relu": ActivationSpec(
        "max(x, 0) + leak * min(x, 0)",
        "Maas et al. 2013",
        f"{FIXED}:LeakyReLU",
        defaults=(("leak", 0.01),),
    ),
    "prelu": ActivationSpec(
        "max(x, 0) + leak * min(x, 0)",
        "He et al. 2015, arXiv:1502.01852",
        f"{PARAMETRIC}:PReLU",
        learned=("leak",),
        granularity=("channel", "layer"),
        defaults=(("leak", 0.25),),
    ),
    "elu": ActivationSpec(
        "x where x > 0, else alpha * (exp(x) - 1)",
        "Clevert et al. 2015, arXiv:1511.07289",
        f"{FIXED}:ELU",
        defaults=(("alpha", 1.0),),
    ),
    "gelu": ActivationSpec(
        "x * (1 + erf(x / sqrt(2))) / 2", "Hendrycks & Gimpel 2016, arXiv:1606.08415", "torch.nn:GELU"
    ),
    "silu": ActivationSpec("x * sigmoid(x)", "Elfwing et al. 2017, arXiv:1702.03118", "torch.nn:SiLU"),
    "mish": ActivationSpec("x * tanh(log(1 + exp(x)))", "Misra 2019, arXiv:1908.08681", "torch.nn:Mish"),
    "hardswish": ActivationSpec(
        "x * min(max(x + 3, 0), 6) / 6", "Howard et al. 2019, arXiv:1905.02244", "torch.nn:Hardswish"
    ),
    "ftswish_plus": ActivationSpec(
        "max(x, 0) * sigmoid(x) + threshold - mean_shift",
        "Wright 2019, github.com/lessw2020/FTSwishPlus, on Chieng et al. 2018, arXiv:1812.06247",
        f"{FIXED}:FTSwishPlus",
        defaults=(("threshold", -0.25), ("mean_shift", -0.1)),
    ),
    "trelu": ActivationSpec(
        "max(x, 0) + threshold - mean_shift",
        "Wright 2019, github.com/lessw2020/TRelu",
        f"{FIXED}:TReLU",
        defaults=(("threshold", -0.25), ("mean_shift", -0.03)),
    ),
    "squared_relu": ActivationSpec(
        "max(x, 0) ** 2", "So et al. 2021 (Primer), arXiv:2109.08668", f"{FIXED}:SquaredReLU"
    ),
    "star_relu": ActivationSpec(
        "scale * max(x, 0) ** 2 + bias",
        "Yu et al. 2022 (MetaFormer baselines), arXiv:2210.13452",
        f"{PARAMETRIC}:StarReLU",
        learned=("scale", "bias"),
        granularity=("layer",),
        defaults=(("scale", 0.8944), ("bias", -0.4472)),
    ),
    "general_relu": ActivationSpec(
        "min(max(x, 0) + leak * min(x, 0) - sub, maxv), each constant optional",
        COURSE,
        f"{FIXED}:GeneralReLU",
        defaults=(("leak", None), ("sub", None), ("maxv", None)),
    ),
    "learned_relu_v1": ActivationSpec(
        "general form; leak and maxv read with .item(), so only sub is learned",
        f"{POSTS}, as first posted (its bug kept)",
        f"{LEARNED}:LearnedReLUv1",
        learned=("sub",),
        held=("leak", "maxv"),
        granularity=("layer",),
        defaults=(("leak", 0.1), ("sub", 0.25), ("maxv", 100.0)),
    ),
    "learned_relu_v2": ActivationSpec(
        "as v1, with leak in [0, 0.5], sub in [0, 1], maxv in [5, 100] clamped in training before use",
        f"{POSTS}, as posted second (its bug kept)",
        f"{LEARNED}:LearnedReLUv2",
        learned=("sub",),
        held=("leak", "maxv"),
        granularity=("layer",),
        defaults=(("leak", 0.05), ("sub", 0.25), ("maxv", 10.0)),
    ),
    "learned_relu_v3": ActivationSpec(
        "max(x, 0) + leak * min(x, 0) - sub; maxv held but unused",
        f"{POSTS}, as posted last",
        f"{LEARNED}:LearnedReLUv3",
        learned=("leak", "sub"),
        held=("maxv",),
        granularity=("channel",),
        defaults=(("leak", 0.05), ("sub", 0.25), ("maxv", 10.0)),
    ),
    "learned_relu": ActivationSpec(
        "general form, all three truly learned",
        "this project: what the posts' author wanted",
        f"{LEARNED}:LearnedReLU",
        learned=("leak", "sub", "maxv"),
        granularity=("channel", "layer"),
        defaults=(("leak", 0.05), ("sub", 0.25), ("maxv", 10.0)),
    ),
}
