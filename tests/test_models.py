"""The nets against fastai's own."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from lrelu_bench.activation_config import Activation
from lrelu_bench.activations.factory import activation_factory
from lrelu_bench.models import LAYERS, AveragePool, course_cnn, xresnet

PARAMETERS = {"xresnet18": 11_200_874, "xresnet34": 21_309_034, "xresnet50": 23_547_754}


def build(arch, activation="relu", **options):
    torch.manual_seed(0)
    return xresnet(arch, activation_factory(Activation(name=activation)), **options)


@pytest.mark.parametrize("arch", list(LAYERS))
def test_same_parameters_and_outputs_as_fastais(arch):
    theirs_module = pytest.importorskip(
        "fastai.vision.models.xresnet", reason="needs fastai (the test extra)"
    )
    theirs = getattr(theirs_module, arch)(n_out=10)
    ours = build(arch)
    own, their = ours.state_dict(), theirs.state_dict()
    assert [v.shape for v in own.values()] == [v.shape for v in their.values()]
    generator = torch.Generator().manual_seed(1)
    for value in their.values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) * 0.2 + 0.01)
    ours.load_state_dict(dict(zip(own, their.values(), strict=True)))
    x = torch.randn(2, 3, 97, 64, generator=generator)
    for mode in (True, False):
        torch.testing.assert_close(ours.train(mode)(x), theirs.train(mode)(x))


@pytest.mark.parametrize("arch", list(LAYERS))
def test_parameter_counts_are_pinned(arch):
    assert sum(p.numel() for p in build(arch).parameters()) == PARAMETERS[arch]


def test_every_block_starts_as_its_shortcut():
    net = build("xresnet50")
    zeroed = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d) and not m.weight.any()]
    assert len(zeroed) == 3 + 4 + 6 + 3


def test_the_start_is_kaiming_normal_over_fan_in():
    net = build("xresnet34")
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 100_000:
            expected = (2 / module.weight[0].numel()) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.03)
    assert not net[-1].bias.any()


def test_the_start_can_assume_the_leak():
    plain, leaky = build("xresnet18"), build("xresnet18", init_slope=0.5)
    assert (leaky[0].weight / plain[0].weight).mean().item() == pytest.approx((1 / 1.25) ** 0.5)


def test_the_stem_follows_the_protocol():
    convs = [m for m in build("xresnet18", stem=(32, 64, 64)) if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.stride) for c in convs] == [
        (3, 32, (2, 2)),
        (32, 64, (1, 1)),
        (64, 64, (1, 1)),
    ]


def test_the_course_net_is_the_notebooks():
    torch.manual_seed(0)
    net = course_cnn(activation_factory(Activation(name="relu")))
    assert sum(p.numel() for p in net.parameters()) == 15_682
    convs = [m for m in net if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0]) for c in convs] == [
        (1, 8, 5, 2),
        (8, 16, 3, 2),
        (16, 32, 3, 2),
        (32, 32, 3, 2),
    ]
    for module, kind in zip(net[:3], (nn.Conv2d, nn.ReLU, nn.BatchNorm2d), strict=True):
        assert isinstance(module, kind)
    sides, x = [], torch.zeros(2, 1, 28, 28)
    for module in net:
        x = module(x)
        if isinstance(module, nn.Conv2d):
            sides.append(x.shape[-1])
    assert (sides, x.shape) == ([14, 7, 4, 2], (2, 10))


def test_the_course_nets_start_is_kaiming_with_the_slope_for_convolutions_alone():
    nets = []
    for slope in (0.0, 0.5):
        torch.manual_seed(0)
        nets.append(course_cnn(activation_factory(Activation(name="relu")), init_slope=slope))
    plain, leaky = nets
    assert (leaky[0].weight / plain[0].weight).mean().item() == pytest.approx((1 / 1.25) ** 0.5)
    assert plain[9].weight.std().item() == pytest.approx((2 / 288) ** 0.5, rel=0.03)
    assert plain[-1].weight.abs().max() <= 32**-0.5
    assert plain[-1].bias.any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sides", [(16, 24), (7, 8), (1, 1)])
def test_on_cuda_average_pooling_is_torchs(dtype, sides):
    x = (
        torch.randn(3, 24, *sides, device="cuda")
        .to(dtype, memory_format=torch.channels_last)
        .requires_grad_()
    )
    with torch.autocast("cuda", torch.bfloat16, enabled=dtype == torch.bfloat16):
        own, theirs = AveragePool()(x), functional.avg_pool2d(x, 2, ceil_mode=True)
    grad = torch.randn_like(theirs)
    ours = own, *torch.autograd.grad(own, x, grad)
    for one, other in zip(ours, (theirs, *torch.autograd.grad(theirs, x, grad)), strict=True):
        assert one.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(one, other)
