"""The guard: what went first is named, the last good state comes back, and the record says what was done."""

import copy
import json
import math
import re

import pytest
import torch
from safetensors.torch import load_file
from tiny_net import tiny_net
from torch import nn

from lrelu_bench import runner
from lrelu_bench.activation_config import Activation
from lrelu_bench.activations.base import learned_activations
from lrelu_bench.config import Experiment
from lrelu_bench.data.datasets import Split
from lrelu_bench.data.procedural import ProceduralImages
from lrelu_bench.data.splits import split_indices
from lrelu_bench.report.progress import divergence_line
from lrelu_bench.results import Divergence, EpochRow, load_epochs, load_result
from lrelu_bench.run_folder import RunFolder
from lrelu_bench.runner import build_loader
from lrelu_bench.training.divergence import FiniteGuard
from lrelu_bench.training.loop import Fit
from lrelu_bench.training.precision import Compute
from lrelu_bench.unit import Unit

CPU = Compute(torch.device("cpu"), "fp32")
NAN, INF = math.nan, math.inf


# What went first. The guard is asked only at the end, as on a GPU.


def guarded():
    net = tiny_net(Activation(name="learned_relu"))
    return net, FiniteGuard(net, torch.device("cpu"))


def spoil(tensor, value=NAN):
    with torch.no_grad():
        tensor[-1] = value


def test_a_finite_run_has_no_culprit():
    _, guard = guarded()
    assert guard.culprit() is None
    for _ in range(3):
        guard.after_step(torch.tensor(2.3))
    assert guard.culprit() is None


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_one_channel_of_a_parameter_is_named_with_its_step(value):
    net, guard = guarded()
    for step in range(1, 9):
        if step == 3:
            spoil(net[2].leak, value)
        if step == 4:
            spoil(net[5].sub)
            spoil(net[0].weight)
        guard.after_step(torch.tensor(2.3 if step < 5 else NAN))
    culprit = guard.culprit()
    assert (culprit.step, culprit.layer, culprit.depth, culprit.parameter) == (3, "2", 0, "leak")


def test_of_parameters_that_went_together_the_deepest_is_named():
    net, guard = guarded()
    guard.after_step(torch.tensor(2.3))
    spoil(net[2].leak)
    spoil(net[5].sub)
    guard.after_step(torch.tensor(2.3))
    culprit = guard.culprit()
    assert (culprit.step, culprit.layer, culprit.depth, culprit.parameter) == (2, "5", 1, "sub")


def test_the_loss_of_a_step_is_older_than_the_parameters_after_it():
    net, guard = guarded()
    guard.after_step(torch.tensor(2.3))
    for parameter in net.parameters():
        spoil(parameter)
    guard.after_step(torch.tensor(INF))
    culprit = guard.culprit()
    assert (culprit.step, culprit.parameter, culprit.layer) == (2, "loss", None)


@pytest.mark.parametrize(("broken", "norm"), [(0, "1"), (3, "4"), (8, None)])
def test_a_broken_loss_is_traced_to_the_batch_norm_behind_the_broken_weight(broken, norm):
    net, guard = guarded()
    images = torch.randn(4, 3, 12, 12)
    for step in range(6):
        if step == 3:
            spoil(net[broken].weight)
        guard.after_step(net(images).sum())
    culprit = guard.culprit()
    assert (culprit.step, culprit.parameter, culprit.layer) == (4, "loss", norm)


def test_a_loss_that_recovers_is_not_forgotten_within_the_epoch():
    _, guard = guarded()
    for loss in (2.3, NAN, 2.3):
        guard.after_step(torch.tensor(loss))
    assert guard.culprit().step == 2
    guard.start_epoch()
    guard.after_step(torch.tensor(2.3))
    assert guard.culprit() is None


def test_a_net_without_learned_activations_is_guarded_by_its_loss():
    guard = FiniteGuard(nn.Linear(2, 2), torch.device("cpu"))
    guard.after_step(torch.tensor(1.0))
    assert guard.culprit() is None
    guard.after_step(torch.tensor(NAN))
    assert guard.culprit().parameter == "loss"


# Stop and rewind, in the real loop around a tiny net.


def experiment(**changes):
    values = {
        "dataset": "procedural",
        "size": 32,
        "arch": "xresnet18",
        "activation": "learned_relu",
        "protocol": "leaderboard-2020",
        "epochs": 4,
        "batch_size": 8,
    }
    return Experiment.model_validate(values | changes)


@pytest.fixture(scope="module")
def split():
    images = ProceduralImages(train_per_class=2, valid_per_class=1)
    return Split(images, *split_indices(images.names, images.folders, "v2"))


def fit(split, **changes):
    """2 steps an epoch: batch 8 of 20 images."""
    config = experiment(**changes)
    return Fit(
        net=tiny_net(config.activation),
        loader=build_loader(Unit(config, 0, CPU, None), split),
        recipe=config.effective_recipe,
        compute=CPU,
        seed=0,
        activation=config.activation,
        max_rewinds=config.effective_max_rewinds,
    )


def poison(fit, when, site="5", name="sub"):
    """Make the gradient of one parameter NaN at those backward passes, counted from 1."""
    seen = 0

    def hook(grad):
        nonlocal seen
        seen += 1
        return grad * NAN if when(seen) else grad

    getattr(dict(learned_activations(fit.net))[site], name).register_hook(hook)


def test_stop_ends_the_run_and_names_the_first(split):
    broken = fit(split)
    poison(broken, lambda seen: seen == 6)
    *rows, end = broken.epochs(4)
    assert [row.epoch for row in rows] == [1, 2]
    assert end == Divergence(
        epoch=3,
        step=6,
        parameter="sub",
        layer="5",
        depth=1,
        last_good_epoch=2,
        action="stop",
        activation_lr_mult=None,
    )


def test_the_last_good_state_is_that_of_the_last_good_epoch(split):
    whole = fit(split)
    states = []
    for _ in whole.epochs(3):
        states.append(copy.deepcopy(whole.net.state_dict()))
    broken = fit(split)
    poison(broken, lambda seen: seen == 5)
    list(broken.epochs(3))
    weights = broken.last_good.weights
    assert all(torch.equal(weights[name], value) for name, value in states[1].items())


REWIND = {"on_divergence": "rewind", "max_rewinds": 2}


@pytest.mark.parametrize("protocol", ["leaderboard-2019", "leaderboard-2020"])
def test_rewind_goes_back_and_halves_the_activations_learning_rate(split, protocol):
    options = {
        "protocol": protocol,
        "activation": {"name": "learned_relu", "lr_mult": 0.8, "ema": 0.9},
        "epochs": 3,
    }
    broken = fit(split, **options, **REWIND)
    # Epoch 2 is steps 3 and 4; the second try is 5 and 6, the third 7 and 8.
    poison(broken, lambda seen: seen in (4, 5))
    events = list(broken.epochs(3))
    assert [type(event) for event in events] == [EpochRow, Divergence, Divergence, EpochRow, EpochRow]
    first, second = events[1:3]
    assert (first.epoch, first.step, first.action, first.activation_lr_mult) == (2, 4, "rewind", 0.4)
    assert (second.epoch, second.step, second.action, second.activation_lr_mult) == (2, 3, "rewind", 0.2)
    assert first.last_good_epoch == second.last_good_epoch == 1
    assert [event.epoch for event in (events[0], *events[3:])] == [1, 2, 3]

    # From there on it is the run that had the small learning rate from the end of epoch 1.
    slow = fit(split, **options)
    rows = slow.epochs(3)
    expected = [next(rows)]
    for group in slow._optimizer.param_groups:
        group["lr_mult"] = 0.2 if group["name"] == "activation" else 1.0
    expected += rows
    numbers = [(row.train_loss, row.valid_loss, row.correct, row.lr) for row in expected]
    again = [(row.train_loss, row.valid_loss, row.correct, row.lr) for row in (events[0], *events[3:])]
    assert again == numbers


def test_rewinds_come_to_an_end(split):
    broken = fit(split, **REWIND)
    poison(broken, lambda seen: seen >= 4)
    row, *divergences = broken.epochs(4)
    assert row.epoch == 1
    assert [(d.action, d.activation_lr_mult) for d in divergences] == [
        ("rewind", 0.5),
        ("rewind", 0.25),
        ("stop", None),
    ]


def test_what_is_frozen_is_not_tried_again(split):
    broken = fit(split, activation={"name": "learned_relu", "freeze_at": 0.25}, **REWIND)
    rows = broken.epochs(4)
    next(rows)
    spoil(broken.net[0].weight)
    (end,) = rows
    assert (end.action, end.parameter, end.layer, end.epoch) == ("stop", "loss", "1", 2)


def test_an_infinite_parameter_is_caught_before_its_bound_hides_it(split):
    broken = fit(split, activation={"name": "learned_relu", "bounds": {"leak": [0, 0.5]}})
    rows = broken.epochs(4)
    next(rows)
    spoil(broken.net[5].leak, -INF)
    (end,) = rows
    assert (end.action, end.epoch) == ("stop", 2)


def test_a_step_that_loss_scaling_skips_is_no_divergence_and_moves_no_average(split, monkeypatch):
    # On a CPU what fp16 does on CUDA: gradients that overflow make the scaler skip the step.
    monkeypatch.setattr(Compute, "scaler", lambda self: torch.amp.GradScaler("cpu", init_scale=1024.0))
    scaled = fit(split, activation={"name": "learned_relu", "ema": 0.5}, epochs=3)
    poison(scaled, lambda seen: seen in (2, 5))
    assert all(isinstance(event, EpochRow) for event in scaled.epochs(3))
    moved = int(scaled._optimizer.state[scaled.net[0].weight]["step"])
    assert moved == scaled._lookahead.steps == scaled._control.state_dict()["times_averaged"] == 4


# The whole run.


class Heard:
    def __init__(self):
        self.events = []

    def step(self, step):
        pass

    def epoch(self, row, epochs):
        self.events.append(row)

    def divergence(self, divergence):
        self.events.append(divergence)

    def note(self, line):
        raise AssertionError(line)


EVERYTHING = {
    "name": "learned_relu",
    "learn": ["leak", "sub"],
    "bounds": {"leak": [0, 0.5]},
    "ema": 0.9,
    "ema_use": "forward",
    "freeze_at": 0.5,
    "lr_mult": 2,
    "weight_decay": 0.01,
}


def run(split, tmp_path, monkeypatch, when=None, **changes):
    config = experiment(**changes)
    monkeypatch.setattr(runner, "build_net", lambda config: tiny_net(config.activation))
    begin = Fit._begin

    def poisoned(self, count):
        begin(self, count)
        poison(self, when)

    if when is not None:
        monkeypatch.setattr(Fit, "_begin", poisoned)
    unit, heard = Unit(config, 0, CPU, tmp_path), Heard()
    result = runner.run(unit, split, heard)
    monkeypatch.undo()
    return result, unit.folder.path, heard.events


@pytest.mark.parametrize("protocol", ["leaderboard-2019", "leaderboard-2020"])
def test_every_option_at_once_is_the_same_run_twice(split, tmp_path, monkeypatch, protocol):
    def numbers(folder, **options):
        options = {"activation": EVERYTHING | options, "protocol": protocol}
        _, path, _ = run(split, tmp_path / folder, monkeypatch, **options)
        return [(row.train_loss, row.valid_loss, row.correct) for row in load_epochs(path)]

    first = numbers("a")
    assert first == numbers("b")
    for option, value in {
        "ema_use": "evaluation",
        "freeze_at": 0.25,
        "lr_mult": 1,
        "learn": ["leak"],
    }.items():
        assert numbers(option, **{option: value}) != first, option


def test_a_rewound_run_is_complete_and_says_how_often(split, tmp_path, monkeypatch):
    result, path, events = run(split, tmp_path, monkeypatch, lambda seen: seen == 4, **REWIND)
    assert (result.status, result.epochs_done, result.protocol_label) == ("complete", 4, "custom")
    assert result.deviations[-1] == "up to 2 rewinds after a divergence (protocol 0)"
    assert load_result(path) == result
    (divergence,) = result.divergences
    assert json.loads((path / "result.json").read_text())["divergences"] == [
        {
            "epoch": 2,
            "step": 4,
            "parameter": "sub",
            "layer": "5",
            "depth": 1,
            "last_good_epoch": 1,
            "action": "rewind",
            "activation_lr_mult": 0.5,
        }
    ]
    assert [row.epoch for row in load_epochs(path)] == [1, 2, 3, 4]
    assert events == [load_epochs(path)[0], divergence, *load_epochs(path)[1:]]
    assert not (path / "last_good.safetensors").exists()
    assert (path / "predictions.npz").exists()


def test_a_diverged_run_keeps_its_last_good_weights(split, tmp_path, monkeypatch):
    result, path, _ = run(split, tmp_path, monkeypatch, lambda seen: seen == 4)
    assert (result.status, result.epochs_done, result.diverged_in) == ("diverged", 1, 2)
    assert result.final_accuracy == load_epochs(path)[0].accuracy
    assert load_result(path) == result
    weights = load_file(path / "last_good.safetensors")
    assert weights.keys() == tiny_net(Activation(name="learned_relu")).state_dict().keys()
    assert all(value.isfinite().all() for value in weights.values())
    # Trained again to the end, the folder keeps nothing of it.
    result, path, _ = run(split, tmp_path, monkeypatch)
    assert result.status == "complete"
    assert not (path / "last_good.safetensors").exists()
    assert RunFolder(path).completed(result.config_digest, 0) == result


SAID = Divergence(3, 37, "leak", "4.convs.2", 5, 2, "stop", None)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {},
            "epoch 3 diverged: leak of activation 5 (4.convs.2) was not finite at step 37; "
            "stopped; the last good state is that of the end of epoch 2",
        ),
        (
            {"action": "rewind", "activation_lr_mult": 0.25, "last_good_epoch": 0},
            "epoch 3 diverged: leak of activation 5 (4.convs.2) was not finite at step 37; "
            "back to the start with the activations' learning rate halved, to 0.25 times the schedule's",
        ),
        (
            {"parameter": "loss", "layer": "4.convs.1", "depth": None},
            "epoch 3 diverged: the training loss, from batch norm 4.convs.1 on, was not finite at step 37; "
            "stopped; the last good state is that of the end of epoch 2",
        ),
        (
            {"parameter": "valid_loss", "layer": None, "depth": None, "last_good_epoch": 0},
            "epoch 3 diverged: the validation loss was not finite at step 37; "
            "stopped; the last good state is that of the start",
        ),
    ],
)
def test_a_divergence_is_one_line(changes, line):
    assert divergence_line(Divergence(**(vars(SAID) | changes))) == line
    assert not re.search(r"None", line)
