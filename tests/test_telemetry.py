"""Telemetry while training: right numbers, at the right steps, and no trace in the training itself."""

import gc
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from lrelu_bench.activation_config import Activation
from lrelu_bench.activations.factory import activation_factory, activation_sites
from lrelu_bench.config import Experiment
from lrelu_bench.data.datasets import Split
from lrelu_bench.data.procedural import ProceduralImages
from lrelu_bench.data.splits import split_indices
from lrelu_bench.models import xresnet
from lrelu_bench.runner import build_loader, build_net
from lrelu_bench.telemetry_file import EDGES, Telemetry
from lrelu_bench.training.loop import Fit
from lrelu_bench.training.precision import Compute
from lrelu_bench.training.telemetry import ELEMENTS, TelemetryRecorder, sampled_steps
from lrelu_bench.unit import Unit

CAPPED = {"name": "learned_relu", "leak": 0.1, "sub": 0.25, "maxv": 0.25}


def tiny_net(activation):
    """Two sites, of 4 and 6 channels, behind each other."""
    torch.manual_seed(0)
    act = activation_factory(Activation.model_validate(activation))
    return nn.Sequential(nn.Conv2d(3, 4, 3), act(4), nn.Conv2d(4, 6, 3), act(6))


def one_step(net, dtype=torch.float32, lr=0.1):
    """Sample one step of plain gradient descent: (telemetry, the outputs it should have seen)."""
    recorder = TelemetryRecorder(net, steps_per_epoch=1, epochs=1)
    seen = []
    hooks = [
        site.module.register_forward_hook(lambda module, inputs, y: seen.append(y.detach().float().clone()))
        for site in activation_sites(net)
    ]
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    recorder.before_step(1, lr)
    with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
        loss = net(4 * torch.randn(2, 3, 8, 8)).float().square().mean()
    for hook in hooks:
        hook.remove()
    loss.backward()
    optimizer.step()
    recorder.after_step()
    return recorder.after_epoch(), [y.numpy() for y in seen]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("granularity", ["layer", "channel"])
def test_output_statistics_are_those_of_the_outputs(dtype, granularity):
    net = tiny_net(CAPPED | {"granularity": granularity})
    telemetry, outputs = one_step(net, dtype)
    assert telemetry.site.tolist() == ["1", "3"]
    assert telemetry.channels.tolist() == [4, 6]
    for site, y in enumerate(outputs):
        assert y.size < ELEMENTS, "all of it is read"
        assert telemetry.mean[0, site] == pytest.approx(y.mean(dtype=np.float64), rel=1e-6)
        assert telemetry.std[0, site] == pytest.approx(y.std(dtype=np.float64), rel=1e-6)
        assert telemetry.near_zero[0, site] == pytest.approx((abs(y) < 0.05).mean())
        assert telemetry.capped[0, site] == pytest.approx((y == 0.25).mean())
        assert telemetry.capped[0, site] > 0.01
        inside = np.histogram(y, EDGES)[0]
        assert telemetry.histogram[0, site].tolist() == [0, *inside, 0]


@pytest.mark.parametrize(
    ("activation", "capped"),
    [
        ({"name": "relu"}, False),
        ({"name": "leaky_relu"}, False),
        ({"name": "learned_relu_v3", "maxv": 0.25}, False),
        ({"name": "general_relu", "maxv": 0.25}, True),
        ({"name": "learned_relu_v1", "maxv": 0.25}, True),
    ],
    ids=str,
)
def test_only_what_has_a_cap_is_capped(activation, capped):
    telemetry, outputs = one_step(
        tiny_net(activation if isinstance(activation, dict) else {"name": activation})
    )
    if not capped:
        assert np.isnan(telemetry.capped).all()
        return
    assert telemetry.capped[0] == pytest.approx([(y == 0.25).mean() for y in outputs])
    assert telemetry.capped.min() > 0


def test_histograms_count_what_lies_outside_and_what_is_no_number():
    net = tiny_net({"name": "relu"})
    recorder = TelemetryRecorder(net, 1, 1)
    recorder.before_step(1, 0.1)
    inf = float("inf")
    values = torch.tensor([-inf, -4.01, -4.0, 0.0, 0.24, 11.99, 12.0, inf, float("nan")])
    recorder.observe(0, values.expand(1, 4, 1, -1))
    recorder.observe(1, torch.full((1, 6, 2, 2), 3e38, dtype=torch.bfloat16))
    recorder.after_step()
    telemetry = recorder.after_epoch()
    expected = np.zeros(66, int)
    expected[[0, 1, 17, 64, 65]] = 8, 4, 8, 4, 12
    assert telemetry.histogram[0, 0].tolist() == expected.tolist()
    assert telemetry.mean[0, 1] == pytest.approx(3e38, rel=1e-2)
    assert telemetry.std[0, 1] == 0, "a square too large for fp32 is no infinity"
    assert np.isnan(telemetry.mean[0, 0])


def test_a_large_output_is_read_in_part_whole_channels_at_a_time():
    recorder = TelemetryRecorder(tiny_net({"name": "relu"}), 1, 1)
    recorder.before_step(1, 0.1)
    channels = torch.tensor([0.1, 1.1, 2.1, 3.1])
    large = channels.view(1, 4, 1, 1).expand(16, 4, 64, 64)
    recorder.observe(0, large)
    recorder.observe(1, torch.zeros(1, 6, 1, 1))
    recorder.after_step()
    counts = recorder.after_epoch().histogram[0, 0]
    assert counts.sum() == ELEMENTS
    assert set(counts.tolist()) == {0, ELEMENTS // 4}


def test_parameter_statistics_by_hand():
    net = tiny_net(CAPPED)
    net[1].bounds = {"leak": (0.1, 0.5)}
    with torch.no_grad():
        net[1].leak.copy_(torch.tensor([0.0, 0.2, 0.3, 0.9]).view(4, 1, 1))
    before = [{n: p.detach().clone().numpy() for n, p in act.named_parameters()} for act in (net[1], net[3])]
    telemetry, _ = one_step(net, lr=1e-3)
    assert telemetry.parameter.tolist() == ["leak", "sub", "maxv"]
    for site, module in enumerate((net[1], net[3])):
        for p, name in enumerate(("leak", "sub", "maxv")):
            now, then = getattr(module, name).detach().numpy(), before[site][name]
            gradient = getattr(module, name).grad.numpy()
            found = [getattr(telemetry, f"param_{what}")[0, site, p] for what in ("min", "mean", "max")]
            assert found == pytest.approx([now.min(), now.mean(), now.max()])
            assert telemetry.grad_norm[0, site, p] == pytest.approx(np.linalg.norm(gradient))
            ratio = np.linalg.norm((now - then).ravel()) / np.linalg.norm(then.ravel())
            assert telemetry.update_ratio[0, site, p] == pytest.approx(ratio, rel=1e-3)
            start, end = telemetry.of_parameter(site, p)
            assert start == pytest.approx(then.ravel())
            assert end == pytest.approx(now.ravel())
    assert telemetry.at_bound[0, 0, 0] == 0.5
    assert np.isnan(telemetry.at_bound[0, 0, 1:]).all()
    assert np.isnan(telemetry.at_bound[0, 1]).all()


def test_a_parameter_clamped_to_its_bounds_is_at_them():
    net = tiny_net(CAPPED)
    net[1].bounds = {"leak": (0.1, 0.7)}
    with torch.no_grad():
        net[1].leak.copy_(torch.tensor([0.0, 0.2, 0.3, 0.9]).view(4, 1, 1)).clamp_(0.1, 0.7)
    telemetry, _ = one_step(net, lr=0.0)
    assert telemetry.at_bound[0, 0, 0] == 0.5


def test_a_frozen_parameter_has_no_gradient_norm_and_no_update():
    net = tiny_net(CAPPED)
    net[1].leak.requires_grad_(False)
    telemetry, _ = one_step(net)
    assert np.isnan(telemetry.grad_norm[0, 0, 0])
    assert telemetry.update_ratio[0, 0, 0] == 0
    assert np.isfinite(telemetry.grad_norm[0, 1, 0])


def test_the_curves_are_the_activations_at_the_start_and_after_each_epoch():
    net = tiny_net(CAPPED)
    with torch.no_grad():
        net[1].leak.copy_(torch.tensor([0.0, 0.1, 0.2, 0.3]).view(4, 1, 1))
    recorder = TelemetryRecorder(net, 1, 1)
    recorder.before_step(1, 0.1)
    net(torch.randn(1, 3, 8, 8))
    with torch.no_grad():
        net[1].sub.fill_(0.5)
    recorder.after_step()
    telemetry = recorder.after_epoch()
    x = telemetry.curve_x

    def general(leak, sub):
        return np.minimum(np.maximum(x, 0) + leak * np.minimum(x, 0) - sub, 0.25)

    assert telemetry.curves.shape == (2, 2, len(x), 3)
    for time, sub in enumerate((0.25, 0.5)):
        assert telemetry.curves[time, 0, :, 0] == pytest.approx(general(0.15, sub), abs=1e-6)
        spread = telemetry.curves[time, 0, 0, 2] - telemetry.curves[time, 0, 0, 1]
        assert spread == pytest.approx(4 * 0.8 * 0.3), "80 % of the channels' range at x = -4"


@pytest.mark.parametrize(("steps", "epochs"), [(97, 5), (30, 5), (97, 200), (1, 1), (1, 2), (3, 1), (5, 3)])
def test_samples_are_spread_evenly_from_the_first_step_to_the_last(steps, epochs):
    sampled = sampled_steps(steps, epochs)
    assert (sampled[0], sampled[-1]) == (1, steps * epochs)
    assert len(sampled) <= min(400, max(2, 20 * epochs))
    gaps = np.diff(sampled)
    if len(gaps) > 1:
        assert gaps.min() >= 8, "at most every eighth step pays"
        assert gaps.max() - gaps.min() <= 1


def test_the_samples_of_the_posts_cell():
    assert len(sampled_steps(97, 5)) == 50
    assert len(sampled_steps(97, 80)) == 400


@pytest.fixture(scope="module")
def split():
    images = ProceduralImages(train_per_class=2, valid_per_class=1)
    return Split(images, *split_indices(images.names, images.folders, "v2"))


def fit(split, with_telemetry, precision="fp32", **changes):
    """A short real run at the product's own loop: (net, rows, telemetry of the last epoch)."""
    values = {"dataset": "procedural", "size": 32, "arch": "xresnet18", "protocol": "leaderboard-2019"}
    values |= {"activation": "learned_relu", "epochs": 2, "batch_size": 4}
    experiment = Experiment.model_validate(values | changes)
    compute = Compute(torch.device("cpu"), precision)
    torch.manual_seed(0)
    net = build_net(experiment)
    loader = build_loader(Unit(experiment, 0, compute, None), split)
    recorder = TelemetryRecorder(net, loader.steps_per_epoch, 2) if with_telemetry else None
    run = Fit(net, loader, experiment.effective_recipe, compute, seed=0, telemetry=recorder)
    rows, telemetry = [], None
    for row in run.epochs(2):
        rows.append((row.train_loss, row.valid_loss, row.correct, row.lr))
        telemetry = recorder.after_epoch() if recorder else None
    return net, rows, telemetry


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"activation": "relu", "mixup": 0.4},
        {"activation": "learned_relu_v2", "protocol": "leaderboard-2020", "precision": "bf16"},
    ],
    ids=["fp32", "relu-mixup", "v2-ranger-bf16"],
)
def test_training_is_the_same_bit_for_bit_with_and_without(split, changes):
    with_, rows, telemetry = fit(split, True, **changes)
    state = torch.get_rng_state()
    without, same_rows, _ = fit(split, False, **changes)
    assert rows == same_rows
    assert torch.equal(state, torch.get_rng_state())
    for (name, a), (_, b) in zip(with_.state_dict().items(), without.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert telemetry.step.tolist() == list(sampled_steps(5, 2))
    assert np.isfinite(telemetry.mean).all()
    assert telemetry.lr[-1] == np.float32(rows[-1][-1])


@pytest.mark.parametrize("arch", ["xresnet18", "xresnet50"])
@pytest.mark.parametrize("name", ["relu", "leaky_relu", "general_relu", "learned_relu"])
def test_every_activation_of_a_net_is_a_site(arch, name, monkeypatch):
    options = {"maxv": 5.0} if name == "general_relu" else {}
    net = xresnet(arch, activation_factory(Activation.model_validate({"name": name} | options)))
    sites = activation_sites(net)
    assert len(sites) == {"xresnet18": 19, "xresnet50": 51}[arch]
    recorder, called = TelemetryRecorder(net, 1, 1), []
    monkeypatch.setattr(recorder, "observe", lambda site, y: called.append((site, y.shape[1])))
    recorder.before_step(1, 0.1)
    net(torch.zeros(2, 3, 64, 64).to(memory_format=torch.channels_last))
    expected = [(index, site.channels) for index, site in enumerate(sites)]
    assert called == expected, "once each, in the order of the forward pass"


def test_no_hook_and_no_output_outlives_its_step():
    net = tiny_net(CAPPED)
    recorder = TelemetryRecorder(net, 1, 1)
    alive = []
    recorder.before_step(1, 0.1)
    hook = net[3].register_forward_hook(lambda m, i, y: alive.append(weakref.ref(y.untyped_storage())))
    output = net(torch.randn(2, 3, 8, 8))
    hook.remove()
    assert alive[0]() is not None
    output.sum().backward()
    recorder.after_step()
    del output
    gc.collect()
    assert alive[0]() is None
    assert not any(module._forward_hooks for module in net)


def test_a_step_that_was_broken_off_leaves_nothing_behind():
    net = tiny_net(CAPPED)
    recorder = TelemetryRecorder(net, 8, 1)
    recorder.before_step(1, 0.1)
    recorder.before_step(2, 0.1)
    assert not any(module._forward_hooks for module in net)
    net(torch.randn(2, 3, 8, 8))
    recorder.after_step()
    recorder.before_step(8, 0.1)
    net(torch.randn(2, 3, 8, 8))
    recorder.after_step()
    assert recorder.after_epoch().step.tolist() == [8]


def test_truncate_goes_on_as_if_the_rest_had_not_been():
    def steps(recorder, net, first, last):
        for step in range(first, last + 1):
            recorder.before_step(step, 0.1)
            net(torch.full((2, 3, 8, 8), float(step)))
            recorder.after_step()
            if step % 8 == 0:
                recorder.after_epoch()

    net = tiny_net(CAPPED)
    straight, rewound = (TelemetryRecorder(net, 8, 3) for _ in range(2))
    steps(straight, net, 1, 24)
    steps(rewound, net, 1, 19)
    rewound.truncate(11)
    steps(rewound, net, 12, 24)
    a, b = straight.after_epoch(), rewound.after_epoch()
    assert a.step.tolist() == list(sampled_steps(8, 3))
    for name in ("step", "mean", "values", "curves", "histogram"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_what_a_run_writes_is_what_is_loaded(tmp_path):
    telemetry, _ = one_step(tiny_net(CAPPED))
    (tmp_path / "telemetry.npz").write_bytes(telemetry.packed())
    loaded = Telemetry.load(tmp_path)
    for name, array in vars(telemetry).items():
        np.testing.assert_array_equal(getattr(loaded, name), array)
        assert getattr(loaded, name).dtype == array.dtype
