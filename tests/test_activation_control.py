"""What the options of learned activations promise, on nets small enough to look at every step."""

import copy
import math

import pytest
import torch
from tiny_net import Training
from torch.nn import functional as F

from lrelu_bench.activation_config import Activation
from lrelu_bench.activations.base import learned_activations
from lrelu_bench.activations.factory import activation_factory

BOTH = pytest.mark.parametrize("optimizer", ["adam", "ranger"])
LEARNED = ["learned_relu_v1", "learned_relu_v2", "learned_relu_v3", "learned_relu"]
IMAGES = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(9))


def same(a, b):
    assert a.keys() == b.keys()
    return all(torch.equal(a[key], b[key]) for key in a)


# Bounds.


@BOTH
@pytest.mark.parametrize("name", LEARNED)
def test_nothing_is_outside_its_bounds_after_any_step(optimizer, name):
    bounds = {"sub": (0.2, 0.3), "leak": (0.0, 0.1), "maxv": (9.5, 10.25)}
    starts = {"leak": 0.05, "sub": 0.25, "maxv": 10.0}
    learned = Activation(name=name).learning
    bounds = {key: bounds[key] for key in learned}
    training = Training(optimizer, lr=1.0, name=name, bounds=bounds, ema=0.9, **starts)
    # The bound itself is the fp32 number nearest to it.
    nearest = {key: torch.tensor(pair).unbind() for key, pair in bounds.items()}
    touched = set()
    for _ in range(30):
        training.step()
        for path, module in learned_activations(training.net):
            for key, (low, high) in nearest.items():
                for value in (getattr(module, key).detach(), module.average(key)):
                    assert ((low <= value) & (value <= high)).all(), (path, key, value)
                if ((getattr(module, key) == low) | (getattr(module, key) == high)).any():
                    touched.add(key)
    assert "sub" in touched, "with this learning rate the bounds must bind"


def test_a_gradient_at_a_bound_stays_alive():
    training = Training(bounds={"leak": (0.05, 0.5)})
    (module, _) = [module for _, module in learned_activations(training.net)]
    module.train()(-torch.ones(1, 4, 2, 2)).sum().backward()
    assert (module.leak.grad != 0).all()
    module.leak.grad.fill_(-1.0)
    training.optimizer.step()
    training.control.after_step(1)
    assert (module.leak > 0.05).all(), "a parameter at its bound can come back"


# Averages.


def test_the_average_by_hand():
    training = Training(ema=0.3, granularity="layer", lr=0.1)
    _, module = learned_activations(training.net)[0]
    expected = module.sub.item()
    for t in range(10):
        training.step()
        decay = min(0.3, (1 + t) / (10 + t))  # 0.1, 2/11, 0.25, then 0.3
        expected = decay * expected + (1 - decay) * module.sub.item()
        assert module.average("sub").item() == pytest.approx(expected, rel=1e-5)
    assert module.sub.item() != pytest.approx(0.25, rel=1e-3)


def split_values(ema_use, name="learned_relu"):
    """A module whose parameters and averages differ."""
    module = activation_factory(Activation(name=name, ema=0.9, ema_use=ema_use))(4)
    for key in module.averaged:
        module.average(key).add_(0.2)
    return module


def plain(module, x):
    """The module's formula at its averages."""
    values = {key: getattr(module, key).detach() for key in ("leak", "sub", "maxv")}
    values |= {key: module.average(key) for key in module.averaged}
    y = F.relu(x) + values["leak"] * x.clamp_max(0) - values["sub"]
    return torch.minimum(y, values["maxv"]) if "maxv" in module.learned else y


@pytest.mark.parametrize("name", ["learned_relu", "learned_relu_v3"])
def test_evaluation_alone_uses_the_average_unless_forward_is_asked_for(name):
    x = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    raw = activation_factory(Activation(name=name))(4)
    for ema_use, trains_on_average in ((None, False), ("evaluation", False), ("forward", True)):
        module = split_values(ema_use, name)
        torch.testing.assert_close(module.eval()(x), plain(module, x))
        trained = module.train()(x)
        torch.testing.assert_close(trained, plain(module, x) if trains_on_average else raw(x))


def test_with_forward_the_gradient_at_the_average_reaches_the_parameter():
    x = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    module = split_values("forward")
    module.train()(x).square().sum().backward()
    at_average = activation_factory(Activation(name="learned_relu"))(4)
    for key in module.averaged:
        with torch.no_grad():
            getattr(at_average, key).copy_(module.average(key))
    at_average(x).square().sum().backward()
    for key in ("leak", "sub"):
        assert getattr(module, key).grad.abs().min() > 0
        torch.testing.assert_close(getattr(module, key).grad, getattr(at_average, key).grad)


def test_averages_are_saved_and_are_no_parameters():
    net = Training(ema=0.9).net
    names = [f"{site}.{key}_average" for site in (2, 5) for key in ("leak", "sub", "maxv")]
    assert set(names) <= net.state_dict().keys()
    assert not set(names) & {name for name, _ in net.named_parameters()}


def test_without_ema_there_is_no_average():
    module = activation_factory(Activation(name="learned_relu"))(4)
    assert not list(module.buffers())
    assert module.eval().value("leak") is module.leak


# Freezing.


@BOTH
@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("ema", [{}, {"ema": 0.9}, {"ema": 0.9, "ema_use": "forward"}], ids=str)
def test_frozen_means_that_nothing_moves(optimizer, name, ema):
    training = Training(optimizer, lr=0.5, name=name, freeze_at=0.5, weight_decay=0.9, **ema)
    for _ in range(12):
        assert not training.control.frozen
        before = training.parameters()
        training.step()
    assert training.control.frozen
    assert not same(training.parameters(), before), "up to the freeze they learn"
    frozen, weight = copy.deepcopy(training.net.state_dict()), training.net[0].weight.detach().clone()
    frozen = {key: value for key, value in frozen.items() if key.startswith(("2.", "5."))}
    for _ in range(12):
        training.step()
        state = {key: value for key, value in training.net.state_dict().items() if key in frozen}
        assert same(state, frozen)
    assert not torch.equal(training.net[0].weight, weight), "the rest of the net goes on"
    assert all(module.learning == () for _, module in learned_activations(training.net))


@pytest.mark.parametrize("name", LEARNED)
def test_freezing_takes_what_evaluation_used(name):
    training = Training(lr=0.5, name=name, ema=0.95, freeze_at=1, steps=10)
    for _ in range(9):
        training.step()
    unfrozen = copy.deepcopy(training)
    unfrozen.options = unfrozen.options.model_copy(update={"freeze_at": None})
    unfrozen.control._freeze_step = None
    unfrozen.step()
    training.step()
    assert training.control.frozen
    for (_, module), (_, free) in zip(
        *(learned_activations(net) for net in (training.net, unfrozen.net)), strict=True
    ):
        for key in module.averaged:
            average = free.average(key)
            if name == "learned_relu_v2":
                average = average.clamp(*module.BOUNDS[key])
            assert torch.equal(getattr(module, key), average)
        assert not torch.equal(free.sub, module.sub), "the parameter itself was elsewhere"
    if name != "learned_relu_v2":
        assert torch.equal(training.net.eval()(IMAGES), unfrozen.net.eval()(IMAGES))


@pytest.mark.parametrize(
    ("freeze_at", "steps", "step"), [(0.5, 24, 12), (0.5, 5, 3), (0.55, 100, 55), (1.0, 7, 7), (0.01, 10, 1)]
)
def test_the_step_of_the_freeze(freeze_at, steps, step):
    training = Training(freeze_at=freeze_at, steps=steps)
    for done in range(1, steps + 1):
        training.control.after_step(done)
        assert training.control.frozen == (done >= step)


@BOTH
@pytest.mark.parametrize("stop", [5, 14], ids=["before the freeze", "after it"])
def test_what_was_saved_goes_on_as_if_it_had_not_stopped(optimizer, stop):
    options = {
        "freeze_at": 0.5,
        "ema": 0.9,
        "lr_mult": 0.3,
        "weight_decay": 0.1,
        "bounds": {"sub": (0.2, 0.3)},
    }
    whole = Training(optimizer, **options)
    for _ in range(stop):
        whole.step()
    saved = copy.deepcopy({name: part.state_dict() for name, part in whole.parts().items()})
    resumed = Training(optimizer, seed=1, **options)
    resumed.done = whole.done
    for name, part in resumed.parts().items():
        part.load_state_dict(copy.deepcopy(saved[name]))
    assert resumed.control.frozen == (stop > 12)
    for training in (whole, resumed):
        while training.done < 24:
            training.step()
    assert same(whole.net.state_dict(), resumed.net.state_dict())
    assert resumed.control.frozen


def test_a_state_from_before_the_freeze_thaws():
    training = Training(freeze_at=0.5)
    before = copy.deepcopy({name: part.state_dict() for name, part in training.parts().items()})
    for _ in range(12):
        training.step()
    for name, part in training.parts().items():
        part.load_state_dict(copy.deepcopy(before[name]))
    training.done = 0
    start = training.parameters()
    training.step()
    assert not training.control.frozen
    assert not same(training.parameters(), start)


# What learns, and how fast.


@BOTH
def test_only_what_learn_names_moves(optimizer):
    training = Training(optimizer, learn=["sub"], weight_decay=0.5, ema=0.9)
    before = training.parameters()
    for _ in range(8):
        training.step()
    for key, value in training.parameters().items():
        assert torch.equal(value, before[key]) == (not key.endswith("sub")), key
    for _, module in learned_activations(training.net):
        assert module.learning == module.averaged == ("sub",)


@BOTH
def test_lr_mult_is_a_factor_on_the_schedule(optimizer):
    # Under gradients that do not depend on the net, half the rate moves as if the schedule were halved.
    slow, halved = Training(optimizer, lr_mult=0.5), Training(optimizer)
    for training in (slow, halved):
        for _, module in learned_activations(training.net):
            for parameter in module.parameters():
                parameter.register_hook(
                    lambda grad, of=training: torch.full_like(grad, math.sin(2.0 * of.done))
                )
    for step in range(1, 10):
        slow.lr, halved.lr = 0.1 / step, 0.05 / step
        slow.step()
        halved.step()
        assert same(slow.parameters(), halved.parameters())
    assert slow.parameters()["2.leak"].mean() != pytest.approx(0.05)
    assert not torch.equal(slow.net[0].weight, halved.net[0].weight), "the rest of the net is not slowed"


def test_a_skipped_step_moves_nothing_but_counts():
    training = Training(ema=0.5, bounds={"sub": (0.0, 0.3)}, freeze_at=0.5, steps=4)
    with torch.no_grad():
        for _, module in learned_activations(training.net):
            module.sub.fill_(0.4)
    before = copy.deepcopy(training.net.state_dict())
    training.control.after_step(1, moved=False)
    assert same(training.net.state_dict(), before)
    training.control.after_step(2, moved=False)
    assert training.control.frozen
