"""Batch norm and the plain ReLU as one pass on the CPU, against float64 autograd and torch's own modules."""

import pytest
import torch
from test_general_form import LAYOUTS, assert_all_close, drawn, norm, saved_bytes
from torch import nn
from torch.nn import functional as F

from lrelu_bench.activation_config import Activation
from lrelu_bench.activations.factory import activation_factory
from lrelu_bench.activations.fixed import ReLU
from lrelu_bench.activations.general_form import norm_general_relu
from lrelu_bench.activations.kernels import cpu, loops
from lrelu_bench.activations.norm_act import NormAct

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
ADDED = pytest.mark.parametrize("added", [True, False], ids=["residual", "alone"])
# Rows of one strip and of several, whole ones and with columns left over; odd numbers of pixels; many blocks.
SHAPES = [
    (4, 6, 5, 8),
    (5, 3, 7, 3),
    (3, 24, 5, 7),
    (3, 48, 5, 5),
    (2, 1, 1, 1),
    (4, 64, 9, 7),
    (2, 512, 4, 4),
]


def unfused(x, norm, residual=None):
    return F.relu(norm(x) if residual is None else norm(x) + residual)


def norm_relu(x, norm, residual=None):
    return norm_general_relu(x, norm, None, residual)


def is_fused(y):
    return type(y.grad_fn).__name__ == "_NormReLUBackward"


def step(function, norm, x, residual, grad, dtype=None):
    """The output, and gradients of x, the norm's weight and bias, and the residual where there is one."""
    leaves = [t.detach().to(dtype or t.dtype).requires_grad_() for t in (x, residual) if t is not None]
    y = function(leaves[0], norm, *leaves[1:])
    wanted = [leaves[0], norm.weight, norm.bias, *leaves[1:]]
    return y, *torch.autograd.grad(y, wanted, grad.to(y.dtype))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@ADDED
@DTYPES
def test_training_equals_float64_autograd(shape, added, dtype, monkeypatch):
    monkeypatch.setattr(loops, "BLOCK", 1 << 12)
    # A mean far from zero: sums of squares would cancel. In bf16 many values would then share a kink.
    x = drawn(shape, torch.float32).add_(30 if dtype == torch.float32 else 1).to(dtype)
    residual, grad = drawn(shape, dtype, seed=5) if added else None, drawn(shape, dtype, seed=6)
    ours, theirs = norm(shape[1]), norm(shape[1], torch.float64)
    own = step(norm_relu, ours, x, residual, grad)
    assert is_fused(own[0])
    assert own[0].dtype == own[1].dtype == dtype
    assert own[0].stride() == own[1].stride() == x.stride()
    assert_all_close(own, step(unfused, theirs, x, residual, grad, torch.float64), dtype)
    statistics = ("running_mean", "running_var")
    assert_all_close(
        [getattr(ours, name) for name in statistics], [getattr(theirs, name) for name in statistics], dtype
    )
    assert ours.num_batches_tracked == 1


@ADDED
@DTYPES
@pytest.mark.parametrize("shape", [(3, 48, 5, 5), (2, 64, 4, 4), (1, 6, 1, 1)], ids=str)
def test_evaluation_equals_float64_with_the_running_statistics(shape, added, dtype, monkeypatch):
    calls, forward = [], cpu.norm_forward
    monkeypatch.setattr(cpu, "norm_forward", lambda *given: calls.append(1) or forward(*given))
    x, residual = drawn(shape, dtype), drawn(shape, dtype, seed=5) if added else None
    outputs = []
    for made, wide in ((norm(shape[1]), dtype), (norm(shape[1], torch.float64), torch.float64)):
        made.running_mean += 0.5
        made.running_var *= 2
        function = norm_relu if wide == dtype else unfused
        with torch.no_grad():
            outputs.append(function(x.to(wide), made.eval(), None if residual is None else residual.to(wide)))
        assert made.num_batches_tracked == 0
    assert calls == [1]
    assert outputs[0].dtype == dtype
    assert_all_close(outputs[:1], outputs[1:], dtype)


def test_evaluation_with_gradients_is_torchs():
    x = drawn((4, 6, 5, 8), torch.float32).requires_grad_()
    y = norm_relu(x, norm(6).eval())
    assert not is_fused(y)
    expected = unfused(x, norm(6).eval())
    for ours, theirs in zip(
        torch.autograd.grad(y.sum(), x), torch.autograd.grad(expected.sum(), x), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("inside", ["x", "residual", "grad"])
@DTYPES
def test_what_is_not_finite_goes_where_torchs_relu_lets_it(inside, value, dtype):
    shape = (2, 40, 4, 3)
    given = {name: drawn(shape, dtype, seed=i) for i, name in enumerate(("x", "residual", "grad"))}
    given[inside][0, 7, 2] = value
    given[inside][1, 39, :, 0] = value
    own = step(norm_relu, norm(40), *given.values())
    assert is_fused(own[0])
    for ours, theirs in zip(own, step(unfused, norm(40), *given.values()), strict=True):
        assert torch.equal(ours.isnan(), theirs.isnan())
        assert torch.equal(ours.isinf(), theirs.isinf())
        if dtype == torch.float32:  # in bf16 torch rounds twice
            torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-5, equal_nan=True)


def test_no_nan_is_rounded_to_a_number():
    made = norm(40)
    with torch.no_grad():
        made.weight.view(torch.int32)[::13] = 0x7FFFFFFF
    y = norm_relu(drawn((2, 40, 4, 3), torch.bfloat16), made)
    assert y.isnan().any((0, 2, 3)).nonzero().flatten().tolist() == [0, 13, 26, 39]


@DTYPES
def test_zero_passes_no_gradient(dtype):
    made = norm(64)
    with torch.no_grad():
        made.weight.zero_()
        made.bias.zero_()
    x, ones = drawn((2, 64, 3, 3), dtype), torch.ones(2, 64, 3, 3).to(memory_format=torch.channels_last)
    y, *gradients = step(norm_relu, made, x, None, ones)
    assert not y.any()
    assert not any(gradient.any() for gradient in gradients)
    residual = ones.to(dtype)
    residual[0], residual[1, :, 0] = 0, -1
    y, *_, of_residual = step(norm_relu, made, x, residual, ones)
    assert torch.equal(y, residual.clamp(min=0))
    assert torch.equal(of_residual, residual.clamp(min=0))


@ADDED
def test_results_do_not_depend_on_the_number_of_threads(added):
    shape = (8, 64, 33, 31)
    x, grad = drawn(shape, torch.bfloat16), drawn(shape, torch.bfloat16, seed=6)
    residual = drawn(shape, torch.bfloat16, seed=5) if added else None
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3, 1):
            torch.set_num_threads(count)
            made = norm(64)
            results.append([*step(norm_relu, made, x, residual, grad), made.running_var])
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        for ours, theirs in zip(result, results[0], strict=True):
            assert torch.equal(ours, theirs)


def test_moments_where_a_block_starts_far_from_its_mean():
    x = drawn((2, 64, 128, 32), torch.float32)
    x[0, :, :8] += 1000  # of a block of 2048 pixels, the first sixteenth and as many again
    x[:, 1], x[:, 2], x[:, 3] = 1e4 + 0.1, 0, 1e4 + x[:, 4] % 1
    mean, var = cpu.moments(x)
    variance, expected = torch.var_mean(x.double(), (0, 2, 3), correction=0)
    assert ((mean - expected).abs() <= 1e-6 * variance.sqrt() + 1e-7 * expected.abs()).all()
    torch.testing.assert_close(var.double(), variance, rtol=2e-5, atol=1e-10)
    assert (var >= 0).all()


def other_layout(x):
    return x.contiguous()


@pytest.mark.parametrize(
    ("of_x", "of_residual"),
    [
        (other_layout, other_layout),
        (lambda x: x, other_layout),
        (lambda x: x, torch.Tensor.double),
        (lambda x: x, lambda x: x[:, :1]),
        (torch.Tensor.double, torch.Tensor.double),
    ],
    ids=["layout", "residual's layout", "residual's dtype", "residual's shape", "dtype"],
)
def test_what_no_kernel_takes_is_computed_by_torch(of_x, of_residual):
    x, residual = (
        of_x(drawn((4, 6, 5, 8), torch.float32)),
        of_residual(drawn((4, 6, 5, 8), torch.float32, seed=5)),
    )
    made = [norm(6, x.dtype) for _ in range(2)]
    grad = drawn((4, 6, 5, 8), torch.float32, seed=6)
    own = step(norm_relu, made[0], x, residual, grad)
    assert not is_fused(own[0])
    for ours, theirs in zip(own, step(unfused, made[1], x, residual, grad), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_single_pixel_is_refused_in_training_as_by_torch():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm_relu(drawn((1, 6, 1, 1), torch.float32), norm(6))


@ADDED
def test_differentiating_twice_is_refused(added):
    x = drawn((4, 6, 5, 8), torch.float32).requires_grad_()
    y = norm_relu(x, norm(6), drawn((4, 6, 5, 8), torch.float32, seed=5) if added else None)
    (once,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        once.sum().backward()


class Louder(ReLU):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("act", "fused"),
    [
        (activation_factory(Activation(name="relu")), True),
        (lambda _: Louder(), False),
        (lambda _: nn.ReLU(), False),
    ],
    ids=["relu", "a user's subclass", "torch's"],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_site_is_fused_where_its_activation_is_relu_itself(act, fused, layout):
    site, x = NormAct(6, act), drawn((4, 6, 5, 8), torch.float32, layout)
    y = site(x, x)
    assert (site.fused_act is not None) == fused
    assert is_fused(y) == (fused and layout == "channels_last")
    factor = 2 if isinstance(site.act, Louder) else 1
    torch.testing.assert_close(y, factor * unfused(x, nn.BatchNorm2d(6), x))


@ADDED
def test_it_keeps_the_norms_input_alone(added):
    x = drawn((8, 32, 16, 16), torch.bfloat16).requires_grad_()
    residual = drawn((8, 32, 16, 16), torch.bfloat16, seed=1) if added else None
    site = NormAct(32, activation_factory(Activation(name="relu")))
    assert saved_bytes(site, x, residual) <= x.untyped_storage().nbytes() + 4 * 32 * 4


def test_compiled_gradients_equal_eager_ones():
    site = NormAct(6, activation_factory(Activation(name="relu")))
    x = drawn((4, 6, 5, 8), torch.float32).requires_grad_()
    wanted = [x, *site.parameters()]
    eager = torch.autograd.grad(site(x).square().sum(), wanted)
    torch.compiler.reset()
    compiled = torch.compile(site, backend="aot_eager", fullgraph=True)
    for ours, theirs in zip(torch.autograd.grad(compiled(x).square().sum(), wanted), eager, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-5)
