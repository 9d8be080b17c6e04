"""The activations against float64 autograd of their formula, and the conventions that are ours."""

import pytest
import torch
from torch import nn

from lrelu_bench.activation_config import Activation
from lrelu_bench.activations import ACTIVATIONS
from lrelu_bench.activations.factory import activation_factory, activation_parameter_count
from lrelu_bench.activations.general_form import general_relu
from lrelu_bench.activations.learned import LearnedReLU, LearnedReLUv2
from lrelu_bench.models import xresnet

LEARNED = [name for name in ACTIVATIONS if name.startswith("learned_relu")]


def configured(name, **options):
    if name == "general_relu" and not options:
        options = {"leak": 0.1, "sub": 0.4, "maxv": 6.0}
    return Activation(name=name, **options)


def module(name, channels=3, **options):
    return activation_factory(configured(name, **options))(channels)


def formula(x, leak, sub, maxv=None):
    y = torch.where(x > 0, x, leak * x) - sub
    return y if maxv is None else torch.where(y > maxv, maxv, y)


def parameters(shape, leak=0.1, sub=0.25, maxv=1.0):
    spread = (
        torch.linspace(0.8, 1.2, 3, dtype=torch.float64).view(3, 1, 1)
        if shape
        else torch.tensor(1.0).double()
    )
    return [(value * spread).requires_grad_() for value in (leak, sub, maxv)]


@pytest.mark.parametrize("shape", [(), (3, 1, 1)], ids=["layer", "channel"])
@pytest.mark.parametrize("capped", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_equal_float64_autograd_of_the_formula(shape, capped, layout):
    x = torch.randn(4, 3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2
    x = x.to(memory_format=layout).requires_grad_()
    leak, sub, maxv = parameters(shape)
    inputs = [x, leak, sub, *([maxv] if capped else [])]
    grad = torch.randn_like(x)
    ours = torch.autograd.grad(general_relu(*inputs), inputs, grad)
    theirs = torch.autograd.grad(formula(*inputs), inputs, grad)
    for own, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(general_relu, inputs)


def test_zero_is_on_the_negative_side_and_a_tie_with_maxv_is_not_capped():
    x = torch.tensor([[[[0.0]], [[1.25]], [[2.0]]]], requires_grad=True)
    leak, sub, maxv = (torch.tensor(v, requires_grad=True) for v in (0.1, 0.25, 1.0))
    general_relu(x, leak, sub, maxv).sum().backward()
    assert x.grad.flatten().tolist() == pytest.approx([0.1, 1.0, 0.0])
    assert (leak.grad, sub.grad, maxv.grad) == (0.0, -2.0, 1.0)


@pytest.mark.parametrize("name", ["learned_relu_v1", "learned_relu_v2"])
def test_the_posts_first_versions_learn_only_sub(name):
    act = module(name)
    x = torch.linspace(-200, 200, 48).view(1, 3, 4, 4)
    act(x).sum().backward()
    assert act.sub.grad is not None
    assert act.sub.grad != 0
    assert act.leak.grad is None
    assert act.maxv.grad is None


def test_v3_learns_leak_and_sub_and_ignores_maxv():
    act = module("learned_relu_v3")
    x = torch.linspace(-200, 200, 48).view(1, 3, 4, 4)
    y = act(x)
    y.sum().backward()
    assert y.max() > 100
    assert act.leak.shape == act.sub.shape == act.maxv.shape == (3, 1, 1)
    assert act.leak.grad.abs().sum() > 0
    assert act.sub.grad.tolist() == [[[-16.0]]] * 3
    assert act.maxv.grad is None


def test_learned_relu_learns_all_three_at_either_granularity():
    for granularity, count in (("layer", 1), ("channel", 3)):
        act = module("learned_relu", granularity=granularity)
        act(torch.linspace(-20, 20, 48).view(1, 3, 4, 4).flip(1).roll(5, 1) * 5).sum().backward()
        for name in ("leak", "sub", "maxv"):
            parameter = getattr(act, name)
            assert parameter.numel() == count
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() > 0


def test_v2_is_clamped_in_training_only():
    act = LearnedReLUv2(None, leak=0.05, sub=0.25, maxv=10.0)
    with torch.no_grad():
        act.leak.fill_(-1)
        act.sub.fill_(3)
        act.maxv.fill_(1)
    act.eval()(torch.ones(1, 1, 1, 1))
    assert (act.leak.item(), act.sub.item(), act.maxv.item()) == (-1, 3, 1)
    act.train()(torch.ones(1, 1, 1, 1))
    assert (act.leak.item(), act.sub.item(), act.maxv.item()) == (0, 1, 5)


def test_general_relu_is_the_course_formula_and_survives_backward():
    x = torch.tensor([-2.0, 0.5, 10.0], requires_grad=True)
    y = module("general_relu")(x)
    y.sum().backward()
    assert y.tolist() == pytest.approx([-0.6, 0.1, 6.0])
    assert x.grad.tolist() == pytest.approx([0.1, 1.0, 0.0])


@pytest.mark.parametrize("name", LEARNED)
def test_parameters_and_their_gradients_stay_fp32_in_mixed_precision(name):
    act = module(name)
    x = torch.full((64, 3, 32, 32), 0.5, dtype=torch.bfloat16, requires_grad=True)
    act(x).sum().backward()
    assert x.grad.dtype == torch.bfloat16
    assert act.sub.grad.dtype == act.sub.dtype == torch.float32
    # A bf16 sum would stick at 256: 2^8 + 1 is not a bf16 number.
    assert act.sub.grad.sum() == -64 * 3 * 32 * 32


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize(("arch", "sites"), [("xresnet18", 19), ("xresnet34", 35), ("xresnet50", 51)])
def test_one_instance_per_site(name, arch, sites):
    net = xresnet(arch, activation_factory(configured(name)))
    modules = [m for m in net.modules() if isinstance(m, LearnedReLU)]
    assert len(modules) == len({id(m) for m in modules}) == sites
    per_layer = ACTIVATIONS[name].granularity[0] == "layer"
    if per_layer:
        assert activation_parameter_count(net) == 3 * sites
    else:
        assert activation_parameter_count(net) == 3 * sum(m.leak.numel() for m in modules) > 3 * sites


def test_the_number_of_channel_parameters_of_xresnet18_is_pinned():
    # Stem 32 + 32 + 64, then four sites of each stage's width, times three parameters.
    expected = 3 * (32 + 32 + 64 + 4 * (64 + 128 + 256 + 512))
    assert (
        activation_parameter_count(xresnet("xresnet18", activation_factory(configured("learned_relu"))))
        == expected
    )


def test_relu_is_torchs_in_place():
    assert isinstance(module("relu"), nn.ReLU)
    assert module("relu").inplace


def test_traced_gradients_equal_eager_ones():
    act = module("learned_relu")
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    compiled = torch.compile(act, backend="aot_eager")
    eager = torch.autograd.grad(act(x).square().sum(), [x, *act.parameters()])
    for own, expected in zip(
        torch.autograd.grad(compiled(x).square().sum(), [x, *act.parameters()]), eager, strict=True
    ):
        torch.testing.assert_close(own, expected)
