"""The optimizers against hand-written steps and fastai's, and what decays."""

import copy
import math

import pytest
import torch
from torch import nn

from lrelu_bench.activation_config import Activation
from lrelu_bench.activations.factory import activation_factory
from lrelu_bench.activations.learned import LearnedReLU
from lrelu_bench.models import xresnet
from lrelu_bench.protocols import PROTOCOLS
from lrelu_bench.training.optim import build_optimizer, parameter_groups, set_hyperparameters


def recipe(protocol, **changes):
    return PROTOCOLS[protocol]("imagewoof", 128, 5).model_copy(update=changes)


def net_of(name):
    torch.manual_seed(0)
    return xresnet("xresnet18", activation_factory(Activation(name=name)))


def groups_by_decay(net, protocol, activation_weight_decay=0.0):
    groups = parameter_groups(net, recipe(protocol), activation_weight_decay)
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert len(decay) == len(list(net.parameters()))
    return decay


def test_the_board_decays_weights_only_and_the_course_everything_but_activations():
    net = net_of("learned_relu")
    for protocol, norms in (("leaderboard-2019", 0.0), ("course-2019", 1e-2), ("leaderboard-2020", 0.0)):
        decay = groups_by_decay(net, protocol)
        for module in net.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if isinstance(module, LearnedReLU):
                    expected = 0.0
                elif isinstance(module, nn.BatchNorm2d) or name == "bias":
                    expected = norms
                else:
                    expected = 1e-2
                assert decay[id(parameter)] == expected, (protocol, type(module), name)


def test_activation_parameters_decay_when_asked():
    net = net_of("learned_relu")
    decay = groups_by_decay(net, "leaderboard-2019", activation_weight_decay=0.05)
    ours = [p for m in net.modules() if isinstance(m, LearnedReLU) for p in m.parameters()]
    assert {decay[id(p)] for p in ours} == {0.05}


@pytest.mark.parametrize("name", ["learned_relu_v1", "learned_relu_v2", "learned_relu_v3", "learned_relu"])
@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_without_a_gradient_activation_parameters_never_move(name, protocol):
    net = net_of(name)
    before = copy.deepcopy(net.state_dict())
    optimizer, lookahead = build_optimizer(net, recipe(protocol), 0.0)
    for _ in range(7):
        for module in net.modules():
            for parameter in module.parameters(recurse=False):
                parameter.grad = None if isinstance(module, LearnedReLU) else torch.ones_like(parameter)
        optimizer.step()
        if lookahead:
            lookahead.after_step()
    for key, value in net.state_dict().items():
        if key.endswith(("leak", "sub", "maxv")):
            assert torch.equal(value, before[key]), key
    assert not torch.equal(net[0].weight, before["0.weight"])


def quadratic(parameter):
    return (parameter * torch.tensor([1.0, 3.0, -2.0], dtype=torch.float64) - 1).square().sum()


def trajectory(protocol, steps=25):
    """A Linear's weight under the protocol's optimizer, its momentum scheduled."""
    net = nn.Linear(3, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(net.weight, 2.0)
    optimizer, lookahead = build_optimizer(net, recipe(protocol, lr=0.05), 0.0)
    path = []
    for step in range(steps):
        set_hyperparameters(optimizer, 0.05 / (step + 1), momentum_at(step, protocol))
        optimizer.zero_grad()
        quadratic(net.weight).backward()
        optimizer.step()
        if lookahead:
            lookahead.after_step()
        path.append(net.weight.detach().clone().flatten())
    return torch.stack(path)


def momentum_at(step, protocol):
    return 0.95 if protocol == "leaderboard-2020" else 0.95 - 0.004 * step


def test_sgd_with_momentum_step_by_step():
    weight = torch.full((3,), 2.0, dtype=torch.float64)
    buffer = torch.zeros_like(weight)
    for step, expected in enumerate(trajectory("course-mnist", steps=10)):
        leaf = weight.clone().requires_grad_()
        (grad,) = torch.autograd.grad(quadratic(leaf), leaf)
        buffer = momentum_at(step, "sgd") * buffer + grad
        weight = weight - 0.05 / (step + 1) * buffer
        torch.testing.assert_close(weight, expected, rtol=1e-9, atol=0)


def test_adam_with_decoupled_decay_step_by_step():
    weight = torch.full((3,), 2.0, dtype=torch.float64)
    first, second = torch.zeros_like(weight), torch.zeros_like(weight)
    for step, expected in enumerate(trajectory("leaderboard-2019")):
        leaf = weight.clone().requires_grad_()
        (grad,) = torch.autograd.grad(quadratic(leaf), leaf)
        lr, beta1, beta2 = 0.05 / (step + 1), momentum_at(step, "adam"), 0.99
        first, second = beta1 * first + (1 - beta1) * grad, beta2 * second + (1 - beta2) * grad**2
        debiased = first / (1 - beta1 ** (step + 1)), second / (1 - beta2 ** (step + 1))
        weight = weight * (1 - lr * 1e-2) - lr * debiased[0] / (debiased[1].sqrt() + 1e-6)
        torch.testing.assert_close(weight, expected, rtol=1e-9, atol=0)


def test_ranger_step_by_step():
    weight = torch.full((3,), 2.0, dtype=torch.float64)
    slow, first, second = weight.clone(), torch.zeros_like(weight), torch.zeros_like(weight)
    beta1, beta2 = 0.95, 0.99
    for step, expected in enumerate(trajectory("leaderboard-2020"), 1):
        leaf = weight.clone().requires_grad_()
        (grad,) = torch.autograd.grad(quadratic(leaf), leaf)
        lr = 0.05 / step
        first, second = beta1 * first + (1 - beta1) * grad, beta2 * second + (1 - beta2) * grad**2
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * beta2**step / (1 - beta2**step)
        update = first / (1 - beta1**step)
        if length > 5:
            rectified = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            update = update * math.sqrt(rectified) / ((second / (1 - beta2**step)).sqrt() + 1e-6)
        weight = weight * (1 - lr * 1e-2) - lr * update
        if step % 6 == 0:
            slow = slow + 0.5 * (weight - slow)
            weight = slow.clone()
        torch.testing.assert_close(weight, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("protocol", ["leaderboard-2019", "leaderboard-2020"])
def test_trajectories_equal_fastais(protocol):
    fastai = pytest.importorskip("fastai.optimizer", reason="needs fastai (the test extra)")
    weight = nn.Parameter(torch.full((3,), 2.0, dtype=torch.float64))
    if protocol == "leaderboard-2020":
        theirs = fastai.ranger([weight], lr=0.05, mom=0.95, sqr_mom=0.99, eps=1e-6, wd=1e-2)
    else:
        theirs = fastai.Adam([weight], lr=0.05, mom=0.95, sqr_mom=0.99, eps=1e-6, wd=1e-2)
    for step, expected in enumerate(trajectory(protocol)):
        theirs.set_hypers(lr=0.05 / (step + 1), mom=momentum_at(step, protocol))
        theirs.zero_grad()
        quadratic(weight).backward()
        theirs.step()
        # fastai and torch add eps at different places.
        torch.testing.assert_close(weight.detach(), expected, rtol=1e-5, atol=1e-8)
