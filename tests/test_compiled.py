"""torch.compile: believed where its gradients are right, refused where it fails or they are not."""

import pytest
import torch
from test_captured import fit_of, split  # noqa: F401 (a fixture)
from test_training import CPU
from tiny_net import tiny_net
from torch import nn

from lrelu_bench.activation_config import Activation
from lrelu_bench.errors import BenchError
from lrelu_bench.results import EpochRow
from lrelu_bench.training.compiled import compiled
from lrelu_bench.training.precision import Compute

BF16 = Compute(CPU.device, "bf16", compile=True)


def batch():
    return torch.randn(8, 3, 24, 24, generator=torch.Generator().manual_seed(0))


def wrong_gradient(net, name):
    """A stand-in for a compiled net in which one parameter gets another gradient."""

    def forward(images):
        y = net(images)
        value = net.get_parameter(name)
        return y + (value - value.detach()).sum()

    return forward


@pytest.mark.parametrize("compute", [CPU, BF16], ids=["fp32", "bf16"])
def test_a_wrong_gradient_is_refused_by_name(monkeypatch, compute):
    net = tiny_net(Activation(name="learned_relu"))
    monkeypatch.setattr(torch, "compile", lambda net: wrong_gradient(net, "5.leak"))
    with pytest.raises(BenchError, match=r"torch.compile's gradient of 5.leak is wrong by .* leave it out"):
        compiled(net, compute, batch)


@pytest.mark.parametrize("compute", [CPU, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", ["relu", "learned_relu", "learned_relu_v3"])
def test_the_check_leaves_the_net_as_it_was(monkeypatch, compute, name):
    net = tiny_net(Activation(name=name))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    monkeypatch.setattr(torch, "compile", lambda net: net)
    assert compiled(net, compute, batch) is net
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_compiler_that_fails_is_one_sentence(monkeypatch):
    def broken(net):
        def forward(images):
            raise RuntimeError("InvalidCxxCompiler: no working C++ compiler found\nlong story")

        return forward

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(BenchError) as raised:
        compiled(tiny_net(Activation(name="relu")), CPU, batch)
    assert str(raised.value) == (
        "--compile: torch.compile fails (InvalidCxxCompiler: no working C++ compiler found); leave it out"
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_training_is_eager_training(split, precision):  # noqa: F811
    rows = {}
    for compile_ in (False, True):
        compute = Compute(CPU.device, precision, compile=compile_)
        fit = fit_of(split, compute, batch_size=8, epochs=2)
        assert isinstance(fit.net[2], nn.Module)
        try:
            rows[compile_] = list(fit.epochs(2))
        except BenchError as error:
            if "torch.compile fails" in str(error):
                pytest.skip(str(error))
            raise
    for eager, other in zip(rows[False], rows[True], strict=True):
        assert isinstance(other, EpochRow)
        assert other.train_loss == pytest.approx(eager.train_loss, rel=1e-4 if precision == "fp32" else 2e-2)
