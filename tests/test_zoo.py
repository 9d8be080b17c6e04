"""Every activation of the registry: its entry and its class agree, its numbers are its formula's."""

import inspect
import math

import numpy as np
import pytest
import torch

from lrelu_bench.activation_config import Activation
from lrelu_bench.activations import ACTIVATIONS
from lrelu_bench.activations.base import LearnedActivation
from lrelu_bench.activations.factory import _class, activation_factory, activation_parameter_count
from lrelu_bench.models import xresnet

BASELINES = {
    # Each formula as its paper or code writes it, and its derivative, by hand, for one float.
    "leaky_relu": (lambda x: x if x > 0 else 0.01 * x, lambda x: 1.0 if x > 0 else 0.01),
    "prelu": (lambda x: x if x > 0 else 0.25 * x, lambda x: 1.0 if x > 0 else 0.25),
    "elu": (lambda x: x if x > 0 else math.exp(x) - 1, lambda x: 1.0 if x > 0 else math.exp(x)),
    "gelu": (
        lambda x: x * normal_cdf(x),
        lambda x: normal_cdf(x) + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    ),
    "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x)))),
    "mish": (
        lambda x: x * math.tanh(math.log(1 + math.exp(x))),
        lambda x: (t := math.tanh(math.log(1 + math.exp(x)))) + x * (1 - t * t) * sigmoid(x),
    ),
    "hardswish": (
        lambda x: 0.0 if x <= -3 else x if x >= 3 else x * (x + 3) / 6,
        lambda x: 0.0 if x <= -3 else 1.0 if x >= 3 else (2 * x + 3) / 6,
    ),
    "ftswish_plus": (
        lambda x: (x * sigmoid(x) if x >= 0 else 0.0) - 0.25 + 0.1,
        lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x))) if x > 0 else 0.0,
    ),
    "trelu": (lambda x: max(x, 0.0) - 0.25 + 0.03, lambda x: float(x > 0)),
    "squared_relu": (lambda x: max(x, 0.0) ** 2, lambda x: 2 * max(x, 0.0)),
    "star_relu": (lambda x: 0.8944 * max(x, 0.0) ** 2 - 0.4472, lambda x: 2 * 0.8944 * max(x, 0.0)),
}
EVERY = pytest.mark.parametrize("name", list(ACTIVATIONS))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def normal_cdf(x):
    return (1 + math.erf(x / math.sqrt(2))) / 2


def module(name, channels=3, **options):
    if name == "general_relu" and not options:
        options = {"leak": 0.1, "sub": 0.4, "maxv": 6.0}
    return activation_factory(Activation(name=name, **options))(channels)


@EVERY
def test_an_entry_and_its_class_agree(name):
    spec = ACTIVATIONS[name]
    own = _class(spec.implementation)
    arguments = inspect.signature(own).parameters
    assert set(spec.options) <= set(arguments)
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = {key: one for key, one in arguments.items() if one.kind not in open_ended}
    required = {key for key, one in named.items() if one.default is inspect.Parameter.empty}
    assert required <= {*spec.options, "channels"}
    assert ("channels" in arguments) == bool(spec.granularity)
    assert issubclass(own, LearnedActivation) == bool(spec.learned)
    for granularity in spec.granularity or (None,):
        act = module(name, granularity=granularity) if granularity else module(name)
        parameters = dict(act.named_parameters())
        assert set(parameters) == {*spec.learned, *spec.held}
        shape = (3, 1, 1) if granularity == "channel" else ()
        for key, parameter in parameters.items():
            assert parameter.shape == shape
            assert parameter.unique().item() == pytest.approx(spec.options[key])
    if spec.learned:
        assert act.learned == spec.learned


@pytest.mark.parametrize("name", BASELINES)
def test_values_and_gradients_equal_the_formula(name):
    formula, derivative = BASELINES[name]
    x = np.concatenate([[0.0, 3.0, -3.0], np.linspace(-6, 6, 89), np.random.default_rng(0).normal(0, 2, 100)])
    grad = np.random.default_rng(1).normal(size=192)
    ours = torch.from_numpy(x).view(2, 3, 4, 8).requires_grad_()
    y = module(name)(ours.clone())
    y.backward(torch.from_numpy(grad).view(2, 3, 4, 8))
    # Parameters are fp32.
    np.testing.assert_allclose(y.detach().flatten(), [formula(one) for one in x], rtol=1e-6, atol=1e-7)
    expected = [derivative(one) * g for one, g in zip(x, grad, strict=True)]
    kinks = np.abs(x) == 3 if name == "hardswish" else np.zeros(len(x), bool)
    np.testing.assert_allclose(
        ours.grad.flatten().numpy()[~kinks], np.array(expected)[~kinks], rtol=1e-6, atol=1e-7
    )


def learned_gradients(name, **options):
    """(x, gradient of y, the module after backward) for the middle of a net, in float64."""
    draw = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=draw) for _ in range(2))
    act = module(name, **options)
    act(x).backward(grad)
    return x.numpy(), grad.numpy(), act


@pytest.mark.parametrize(("granularity", "axes"), [("channel", (0, 2, 3)), ("layer", (0, 1, 2, 3))])
def test_prelu_learns_its_slope(granularity, axes):
    x, grad, act = learned_gradients("prelu", granularity=granularity)
    np.testing.assert_allclose(act.leak.grad.flatten(), (grad * np.minimum(x, 0)).sum(axes), rtol=1e-5)


def test_star_relu_learns_scale_and_bias():
    x, grad, act = learned_gradients("star_relu")
    np.testing.assert_allclose(act.scale.grad, (grad * np.maximum(x, 0) ** 2).sum(), rtol=1e-5)
    np.testing.assert_allclose(act.bias.grad, grad.sum(), rtol=1e-5)


def test_star_relu_gives_a_standard_normal_mean_0_and_variance_1():
    x = torch.randn(400_000, generator=torch.Generator().manual_seed(0)).view(1, 1, 400, 1000)
    y = module("star_relu")(x)
    assert y.mean().item() == pytest.approx(0, abs=0.01)
    assert y.var().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("name", ["prelu", "star_relu"])
def test_parameters_and_their_gradients_stay_fp32_in_mixed_precision(name):
    act = module(name)
    x = torch.full(
        (64, 3, 32, 32), -1.0 if name == "prelu" else 1.0, dtype=torch.bfloat16, requires_grad=True
    )
    # 196609 is no bf16 number, and 1 added to 196608 in bf16 is lost.
    grad = torch.ones_like(x)
    grad[0, 0, 0, 0] = 2
    act(x).backward(grad)
    assert x.grad.dtype == torch.bfloat16
    for parameter in act.parameters():
        assert parameter.dtype == parameter.grad.dtype == torch.float32
        assert parameter.grad.abs().sum().item() == 64 * 3 * 32 * 32 + 1


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mixed", [True, False])
def test_dtype_and_memory_format_are_kept(name, dtype, mixed):
    x = torch.randn(2, 8, 4, 4).to(dtype, memory_format=torch.channels_last).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        y = module(name, channels=8)(x.clone(memory_format=torch.preserve_format))
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=torch.channels_last)
    (grad,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert grad.dtype == dtype
    assert grad.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.gpu
@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtype_and_memory_format_are_kept_on_a_gpu(name, dtype):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    x = torch.randn(2, 8, 4, 4, device="cuda").to(dtype, memory_format=torch.channels_last).requires_grad_()
    act = module(name, channels=8).cuda()
    with torch.autocast("cuda", torch.bfloat16):
        y = act(x.clone(memory_format=torch.preserve_format))
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=torch.channels_last)
    (grad,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert grad.dtype == dtype
    assert grad.is_contiguous(memory_format=torch.channels_last)


def test_options_reach_the_class():
    x = torch.tensor([[[[-2.0]]]])
    assert module("elu", options={"alpha": 2})(x.clone()).item() == pytest.approx(2 * (math.exp(-2) - 1))
    assert module("trelu", options={"mean_shift": 0})(x).item() == -0.25
    assert module("ftswish_plus", options={"threshold": -1})(x).item() == pytest.approx(-0.9)
    assert module("star_relu", options={"scale": 1, "bias": 0.5})(x).item() == 0.5
    assert module("prelu", leak=0.1, granularity="layer")(x).item() == pytest.approx(-0.2)


def test_an_elu_with_a_negative_alpha_can_be_trained():
    x = torch.tensor([[[[-1.0]]]], requires_grad=True)
    module("elu", options={"alpha": -1})(x.clone()).sum().backward()
    assert x.grad.item() == pytest.approx(-math.exp(-1))


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("prelu", {}, 32 + 32 + 64 + 4 * (64 + 128 + 256 + 512)),
        ("prelu", {"granularity": "layer"}, 19),
        ("star_relu", {}, 2 * 19),
        ("mish", {}, 0),
    ],
)
def test_parameter_counts_of_xresnet18(name, options, count):
    net = xresnet("xresnet18", activation_factory(Activation(name=name, **options)))
    assert activation_parameter_count(net) == count
