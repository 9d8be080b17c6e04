"""Steps that can be captured: on a CPU with a graph that does its work anew, on CUDA with real ones."""

import copy
import math

import pytest
import torch
from no_waiting import no_waiting
from test_divergence import EVERYTHING, poison
from test_training import CPU, Silent, experiment
from tiny_net import tiny_net

from lrelu_bench import runner
from lrelu_bench.activation_config import Activation
from lrelu_bench.checkpoint_header import About
from lrelu_bench.data import device_loader
from lrelu_bench.data.datasets import Split
from lrelu_bench.data.device_loader import DeviceImages
from lrelu_bench.data.procedural import ProceduralImages
from lrelu_bench.data.splits import split_indices
from lrelu_bench.errors import BenchError
from lrelu_bench.protocols import PROTOCOLS
from lrelu_bench.results import Divergence, EpochRow
from lrelu_bench.runner import build_loader, build_net
from lrelu_bench.training import checkpoint, loop
from lrelu_bench.training.captured import WARM_STEPS, captures
from lrelu_bench.training.loop import Fit
from lrelu_bench.training.optim import build_optimizer, set_hyperparameters
from lrelu_bench.training.precision import Compute
from lrelu_bench.training.scheduled import DeviceSchedule
from lrelu_bench.training.schedules import SCHEDULES
from lrelu_bench.training.telemetry import TelemetryRecorder
from lrelu_bench.unit import Unit

CUDA = torch.device("cuda")


@pytest.fixture(scope="module")
def split():
    images = ProceduralImages(train_per_class=6, valid_per_class=1)
    return Split(images, *split_indices(images.names, images.folders, "v2"))


class WorkedAnew:
    """A graph for the CPU: a replay does the captured work once more, on the same memory."""

    def __init__(self):
        self.captured, self.replayed = 0, 0

    def __call__(self, work):
        self.captured += 1

        def replay():
            self.replayed += 1
            return work()

        return replay


def fit_of(split, compute=CPU, net=None, **changes):
    config = experiment(**changes)
    torch.manual_seed(0)
    unit = Unit(config, 0, compute, None)
    images = DeviceImages(split, compute.device) if compute.device.type == "cuda" else None
    loader = build_loader(unit, split, images)
    net = tiny_net(config.activation) if net is None else net(config)
    return Fit(
        net,
        loader,
        config.effective_recipe,
        compute,
        0,
        activation=config.activation,
        max_rewinds=config.effective_max_rewinds,
        telemetry=TelemetryRecorder(net, loader.steps_per_epoch, config.epochs),
    )


def captured_on_cpu(monkeypatch):
    graphs = WorkedAnew()
    monkeypatch.setattr(loop, "captures", lambda *of: True)
    monkeypatch.setattr(loop, "CudaGraphs", lambda: graphs)
    return graphs


def trained(fit, epochs):
    events = []
    for event in fit.epochs(epochs):
        events.append(event)
        if isinstance(event, EpochRow):
            seen = fit.telemetry.after_epoch()
    return events, seen


CASES = {
    "adam": {"activation": "relu"},
    "learned": {"activation": "learned_relu"},
    "clamped in forward": {"activation": "learned_relu_v2", "protocol": "course-2019"},
    "mixup": {"activation": "learned_relu_v3", "mixup": 0.4},
    "ranger": {"activation": "learned_relu", "protocol": "leaderboard-2020"},
    "every option": {"activation": EVERYTHING},
    "every option, ranger": {"activation": EVERYTHING, "protocol": "leaderboard-2020"},
    "a smaller last batch": {"activation": "learned_relu", "protocol": "course-2019", "batch_size": 7},
    "sgd": {
        "activation": "relu",
        "recipe": {"optimizer": "sgd", "momentum_min": 0.9, "momentum_max": 0.9},
        "lr": 0.05,
    },
}


def in_float64(fit):
    """The same training where rounding is too small for its steps to blow it up."""
    fit.net.double()
    on_device = fit.objective.on_device

    def doubled(pixels, labels):
        images, target = on_device(pixels, labels)
        return images.double(), target

    fit.objective.on_device = doubled
    return fit


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_captured_steps_train_as_eager_ones_do(split, monkeypatch, changes):
    changes = {"batch_size": 8, "epochs": 3, **changes}
    eager = in_float64(fit_of(split, **changes))
    expected, their_telemetry = trained(eager, 3)
    graphs = captured_on_cpu(monkeypatch)
    captured = in_float64(fit_of(split, **changes))
    rows, telemetry = trained(captured, 3)
    # What is left are the rates, which a graph reads as float32.
    for row, other in zip(rows, expected, strict=True):
        assert row.train_loss == pytest.approx(other.train_loss, rel=1e-6)
        assert row.valid_loss == pytest.approx(other.valid_loss, rel=1e-6)
        assert row.lr == other.lr
    for name, value in captured.net.state_dict().items():
        torch.testing.assert_close(value, eager.net.state_dict()[name], rtol=1e-6, atol=1e-6)
    assert telemetry.step.tolist() == their_telemetry.step.tolist()
    assert telemetry.lr.tolist() == their_telemetry.lr.tolist()
    for name in ("mean", "std", "values", "param_mean", "update_ratio"):
        both = (torch.from_numpy(getattr(one, name)) for one in (telemetry, their_telemetry))
        torch.testing.assert_close(
            *both, rtol=1e-6, atol=1e-6, equal_nan=True, msg=lambda m, n=name: f"{n}: {m}"
        )
    steps = 3 * captured.loader.steps_per_epoch
    # Kinds are few, and each is taken once before it is captured.
    assert graphs.captured <= 8
    assert graphs.replayed >= steps - WARM_STEPS - 9 - 3 * ("smaller" in str(changes))


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
@pytest.mark.parametrize("after", [2, 9])
def test_captured_steps_go_on_from_a_saved_state(split, tmp_path, monkeypatch, changes, after):
    changes = {"batch_size": 8, "epochs": 2, **changes}
    captured_on_cpu(monkeypatch)
    whole = fit_of(split, **changes)
    expected, _ = trained(whole, 2)
    begun = fit_of(split, **changes)
    for number, _ in enumerate(begun.in_steps(2), 1):
        if number == after:
            break
    path = tmp_path / "saved"
    checkpoint.save(path, About(1, 0, 0, {}), begun.state())
    again = fit_of(split, **changes)
    rows = [row for row in again.in_steps(2, checkpoint.load(path)) if row is not None]
    losses = [row.train_loss for row in expected][-len(rows) :]
    assert [row.train_loss for row in rows] == losses
    for name, value in again.net.state_dict().items():
        assert torch.equal(value, whole.net.state_dict()[name]), name


def test_after_a_rewind_graphs_are_captured_anew(split, monkeypatch):
    changes = {
        "activation": {"name": "learned_relu", "ema": 0.9},
        "epochs": 3,
        "batch_size": 8,
        "on_divergence": "rewind",
    }
    steps = fit_of(split, **changes).loader.steps_per_epoch

    def broken():
        fit = fit_of(split, **changes)
        begin = fit._begin

        def begin_poisoned(count):
            begin(count)
            poison(fit, lambda seen: seen == 2 * steps)

        fit._begin = begin_poisoned
        return trained(fit, 3)[0]

    expected = broken()
    graphs = captured_on_cpu(monkeypatch)
    events = broken()
    assert [type(event) for event in events] == [EpochRow, Divergence, EpochRow, EpochRow]
    assert events[1] == expected[1]
    for event, other in zip(events, expected, strict=True):
        if isinstance(event, EpochRow):
            assert event.train_loss == pytest.approx(other.train_loss, rel=1e-4)
    assert graphs.captured >= 2


def test_a_capture_that_fails_is_told_and_training_goes_on(split, monkeypatch):
    def refuse(work):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    expected, _ = trained(fit_of(split, batch_size=8), 1)
    monkeypatch.setattr(loop, "captures", lambda *of: True)
    monkeypatch.setattr(loop, "CudaGraphs", lambda: refuse)
    said = []
    fit = fit_of(split, batch_size=8)
    fit.on_note = said.append
    rows, _ = trained(fit, 1)
    assert rows[0].train_loss == pytest.approx(expected[0].train_loss, rel=1e-5)
    assert said == [
        "the steps run without a CUDA graph, because one could not be captured "
        "(operation not permitted when stream is capturing)"
    ]


def recipe(**changes):
    return PROTOCOLS["leaderboard-2019"]("imagewoof", 128, 5).model_copy(update=changes)


@pytest.mark.parametrize("momenta", [(0.95, 0.85), (0.9, 0.9), (0.5, 0.0)])
def test_a_fixed_kernel_with_a_moving_decay_is_adamw(momenta):
    changed = recipe(momentum_max=momenta[0], momentum_min=momenta[1], decay_norm_and_bias=True)
    nets = [tiny_net(Activation(name="learned_relu", lr_mult=0.3, weight_decay=0.1)) for _ in range(2)]
    own, _ = build_optimizer(nets[0], changed, 0.1, 0.3, scheduled=True)
    theirs, _ = build_optimizer(nets[1], changed, 0.1, 0.3)
    steps = 40
    schedule = DeviceSchedule(own, changed, steps)
    schedule.start_epoch(0, [0.0] * steps)
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        for mine, other in zip(*(net.parameters() for net in nets), strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        schedule.go_to(step)
        own.step()
        set_hyperparameters(theirs, *SCHEDULES[changed.schedule](changed, step, steps))
        theirs.step()
    for mine, other in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_a_schedule_reads_a_state_it_was_given():
    net = tiny_net(Activation(name="learned_relu"))
    optimizer, _ = build_optimizer(net, recipe(), 0.0, scheduled=True)
    schedule = DeviceSchedule(optimizer, recipe(), 10)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    schedule.bind()
    schedule.start_epoch(4, [0.25, 0.5])
    schedule.go_to(5)
    assert schedule.average_weight.item() == 0.5
    rate = SCHEDULES["one_cycle"](recipe(), 5, 10)[0]
    kept = optimizer._kept[0].item()
    assert kept == pytest.approx(1 - rate * 1e-2, rel=1e-6)
    assert all(group["lr"].item() > 0 for group in optimizer.param_groups)


def test_what_cannot_be_captured_is_refused_where_it_was_asked_for():
    relu = Activation(name="relu")
    cuda = {"device": CUDA, "precision": "bf16"}
    assert captures(Compute(**cuda), recipe(), relu)
    assert not captures(Compute(**cuda, cuda_graph=False), recipe(), relu)
    assert not captures(CPU, recipe(), relu)
    assert not captures(Compute(CUDA, "fp16"), recipe(), relu)
    assert not captures(Compute(**cuda), recipe(optimizer="ranger"), relu)
    with pytest.raises(BenchError, match="--cuda-graph: it needs a CUDA device, and this run is on the CPU"):
        captures(Compute(CPU.device, "fp32", cuda_graph=True), recipe(), relu)
    with pytest.raises(BenchError, match="fp16's loss scaling"):
        captures(Compute(CUDA, "fp16", cuda_graph=True), recipe(), relu)
    with pytest.raises(BenchError, match="ranger's momentum cannot move"):
        captures(Compute(**cuda, cuda_graph=True), recipe(optimizer="ranger"), relu)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_graphs_train_as_eager_steps_do_on_cuda(split, changes, precision, monkeypatch):
    # cuDNN may choose other algorithms for the second run, and some tens of large steps, as the course takes
    # them, blow any difference up.
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    changes = {"batch_size": 8, "epochs": 3, "lr": 1e-3, **changes}
    rows = {}
    for graph in (False, True):
        said = []
        fit = fit_of(split, Compute(CUDA, precision, cuda_graph=graph), build_net, **changes)
        fit.on_note = said.append
        rows[graph], _ = trained(fit, 3)
        assert not said
        assert not graph or fit._stepper._replays
    for row, other in zip(rows[True], rows[False], strict=True):
        assert row.train_loss == pytest.approx(other.train_loss, rel=3e-2 if precision == "fp32" else 5e-2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_graphs_and_eager_steps_differ_by_rounding_alone_on_cuda(split, changes, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    changes = {"batch_size": 8, "epochs": 3, "lr": 1e-3, **changes}
    rows = {}
    for graph in (False, True):
        fit = in_float64(fit_of(split, Compute(CUDA, "fp32", cuda_graph=graph), build_net, **changes))
        rows[graph], _ = trained(fit, 3)
        assert not graph or fit._stepper._replays
    for row, other in zip(rows[True], rows[False], strict=True):
        assert row.train_loss == pytest.approx(other.train_loss, rel=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_no_step_waits_for_the_device(split, monkeypatch):
    monkeypatch.setattr(device_loader, "_TOGETHER", 16)
    fit = fit_of(split, Compute(CUDA, "bf16"), build_net, batch_size=8, epochs=5, mixup=0.4)
    fit.on_note, fit.report_every = pytest.fail, 0
    ticks = fit.in_steps(5)
    for _ in range(3):  # until every kind of step has been captured
        while next(ticks) is None:
            pass
    next(ticks)  # an epoch brings its tables over
    with no_waiting():
        for _ in range(fit.loader.steps_per_epoch - 2):
            next(ticks)
    assert len(fit._stepper._replays) == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_rewind_beside_another_seed_leaves_that_one_alone(split, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    changes = {"batch_size": 8, "epochs": 4, "on_divergence": "rewind"}
    compute = Compute(CUDA, "fp32")
    alone, _ = trained(fit_of(split, compute, build_net, **changes), 4)
    fits = [fit_of(split, compute, build_net, **changes) for _ in range(2)]
    streams, running = [torch.cuda.Stream() for _ in fits], [fit.in_steps(4) for fit in fits]
    torch.cuda.synchronize()
    events, ticks = ([], []), 0
    while any(running):
        for place, (stream, one) in enumerate(zip(streams, running, strict=True)):
            if one is None:
                continue
            with torch.cuda.stream(stream):
                event = next(one, StopIteration)
                if event is StopIteration:
                    running[place] = None
                elif event is not None:
                    events[place].append(event)
                    fits[place].telemetry.so_far()
        ticks += 1
        if ticks == 2 * fits[0].loader.steps_per_epoch:
            torch.nn.init.constant_(fits[0].net[5].act.leak, math.nan)
    assert [type(event) for event in events[0]].count(Divergence) == 1
    assert len(events[0]) == 5
    assert all(fit._stepper._replays for fit in fits)
    for row, expected in zip(events[1], alone, strict=True):
        assert row.train_loss == pytest.approx(expected.train_loss, rel=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_run_on_cuda_captures_by_itself(split, tmp_path):
    unit = Unit(experiment(batch_size=8), 0, Compute(CUDA, "bf16"), tmp_path)
    result = runner.run(unit, split, Silent(), DeviceImages(split, CUDA))
    assert result.status == "complete"
