"""The choice between a fused pass and torch's operators, with the times made up."""

from types import SimpleNamespace

import pytest
import torch

from lrelu_bench.activations import general_form
from lrelu_bench.activations.general_form import fused, unfused
from lrelu_bench.activations.kernels import choosing

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """No answers yet, and little to compute."""
    monkeypatch.setattr(choosing, "_chosen", {})
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)  # asks the driver
    monkeypatch.setattr(choosing, "SHAPES", ((2, 4, 3, 3), (2, 8, 1, 2)))


class Clock:
    """Names the sites that steps call, and says how long each takes."""

    def __init__(self, **times):
        self.times = {name: iter(given) for name, given in times.items()}
        self.called, self.asked = [], []

    def site(self, name, compute):
        def site(*arguments):
            self.called.append((name, arguments))
            return compute(*arguments)

        return site

    def __call__(self, step):
        step()
        self.asked.append(self.called[-1][0])
        return next(self.times[self.asked[-1]])

    def answer(self, parameters=3, dtype=torch.float32, fused=fused, unfused=unfused):
        sites = self.site("fused", fused), self.site("unfused", unfused)
        return choosing.fused_is_faster(CPU, dtype, parameters, *sites, self)


def forever(*times):
    """The times of a round, again and again."""
    while True:
        yield from times


@pytest.mark.parametrize(("fused", "answer"), [(0.9, True), (1.0, False), (1.1, False)])
def test_the_faster_one_is_chosen_and_a_tie_stays_with_torch(fused, answer):
    assert Clock(fused=forever(fused), unfused=forever(1.0)).answer() is answer


def test_the_sum_over_the_cases_decides_and_of_each_the_least():
    # Three rounds in each of four cases: 1 + 4 + 4 + 4 to 5 + 3 + 3 + 3, though fused loses the most rounds.
    fused = [1, 90, 90, *[4, 4, 4] * 3]
    unfused = [5, 5, 5, *[3, 3, 3] * 3]
    assert Clock(fused=fused, unfused=unfused).answer() is True
    choosing._chosen.clear()
    assert Clock(fused=fused, unfused=[3, 3, 3, *unfused[3:]]).answer() is False


def test_the_two_take_turns():
    clock = Clock(fused=forever(1.0), unfused=forever(2.0))
    clock.answer()
    assert clock.asked == ["fused", "unfused"] * choosing.ROUNDS * 4


def test_it_is_asked_once_for_each_kind():
    assert Clock(fused=forever(1.0), unfused=forever(2.0)).answer()
    later = Clock(fused=forever(2.0), unfused=forever(1.0))
    assert later.answer()
    assert not later.called
    assert not later.answer(parameters=2)
    assert not later.answer(dtype=torch.bfloat16)
    assert later.answer()


def test_nothing_is_timed_while_a_graph_is_captured_nor_chosen_anew_after(monkeypatch):
    clock = Clock(fused=forever(1.0), unfused=forever(2.0))
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert not clock.answer()
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    assert not clock.answer()
    assert not clock.called
    assert clock.answer(parameters=2)


@pytest.mark.parametrize("parameters", [0, 2, 3])
def test_what_is_measured_is_what_training_does(parameters):
    """Channels_last, with and without a residual, and with gradients for everything."""
    clock = Clock(fused=forever(1.0), unfused=forever(2.0))

    def relu(x, norm, form, residual):
        assert form == ()
        return torch.relu(norm(x) if residual is None else norm(x) + residual)

    with torch.inference_mode():
        clock.answer(parameters, **({} if parameters else {"fused": relu, "unfused": relu}))
    seen = {(x.shape, residual is not None) for _, (x, _, _, residual) in clock.called}
    assert seen == {(shape, added) for shape in choosing.SHAPES for added in (True, False)}
    for _, (x, module, form, residual) in clock.called:
        assert module.training
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert sum(parameter is not None for parameter in form) == parameters
        assert len(form) in (0, 3)
        leaves = [x, *form, residual]
        assert all(leaf.requires_grad for leaf in leaves if leaf is not None)


def test_both_compute_the_same():
    outputs = {}

    def kept(name, site):
        def keep(*arguments):
            outputs.setdefault(name, []).append(site(*arguments))
            return outputs[name][-1]

        return keep

    clock = Clock(fused=forever(1.0), unfused=forever(2.0))
    clock.answer(fused=kept("fused", fused), unfused=kept("unfused", unfused))
    assert type(outputs["fused"][0].grad_fn).__name__ == "_NormGeneralReLUBackward"
    for ours, theirs in zip(outputs["fused"], outputs["unfused"], strict=True):
        assert ours.std() > 0.1
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("capped", "parameters"), [(True, 3), (False, 2)])
def test_a_site_asks_on_cuda_alone(capped, parameters, monkeypatch):
    asked = []
    monkeypatch.setattr(choosing, "fused_is_faster", lambda *question: asked.append(question))
    form = [torch.ones(4, 1, 1)] * parameters + [None] * (not capped)
    assert general_form._pays(torch.ones(2, 4, 3, 3), form)
    assert not asked
    on_cuda = SimpleNamespace(device=torch.device("cuda", 1), dtype=torch.float16)
    assert not general_form._pays(on_cuda, form)
    assert asked == [(on_cuda.device, torch.float16, parameters, fused, unfused, choosing.queued)]


def test_torchs_generator_is_left_where_it_was():
    before = torch.get_rng_state()
    Clock(fused=forever(1.0), unfused=forever(2.0)).answer()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seconds", [1e-4, 1e-2])
def test_the_device_sleeps_until_all_steps_are_queued_however_slow_the_host(seconds, monkeypatch):
    clock, slept = [0.0], []

    def step():
        clock[0] += seconds

    monkeypatch.setattr(choosing.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(torch.cuda, "_sleep", slept.append)
    monkeypatch.setattr(choosing, "launched", lambda work, repeats: (work, repeats))
    assert choosing.queued(step, 3) == (step, 3)
    (cycles,) = slept
    at_two_gigahertz = cycles / 2e9
    assert 2 * 3 * seconds == pytest.approx(at_two_gigahertz)
