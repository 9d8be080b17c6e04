"""The general form's kernels, alone and fused with batch norm, against float64 autograd of the formula."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from lrelu_bench.activation_config import Activation
from lrelu_bench.activations.factory import activation_factory
from lrelu_bench.activations.general_form import formula, general_relu, norm_general_relu
from lrelu_bench.activations.kernels import loops
from lrelu_bench.activations.norm_act import NormAct

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
TOLERANCE = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
SHAPES = [(4, 6, 5, 8), (2, 64, 16, 16), (1, 3, 1, 1), (5, 1, 7, 3), (3, 7, 33, 9)]


def drawn(shape, dtype, layout="channels_last", seed=0):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2
    return x.to(dtype).to(memory_format=LAYOUTS[layout])


def form(channels, capped=True, leak=0.1, sub=0.25, maxv=1.0):
    """A value per channel, or 0-d ones where `channels` is None."""
    shape = () if channels is None else (channels, 1, 1)
    spread = 1 + 0.1 * torch.rand(shape, generator=torch.Generator().manual_seed(1))
    return [value * spread for value in ((leak, sub, maxv) if capped else (leak, sub))]


def gradients(function, inputs, grad, dtype=None):
    leaves = [t.detach().to(dtype or t.dtype).requires_grad_() for t in inputs]
    y = function(*leaves)
    return y, *torch.autograd.grad(y, leaves, grad.to(y.dtype))


def assert_all_close(own, reference, dtype):
    for ours, theirs in zip(own, reference, strict=True):
        scale = theirs[theirs.isfinite()].abs().max().item() if theirs.isfinite().any() else 1.0
        torch.testing.assert_close(
            ours.double(),
            theirs,
            rtol=TOLERANCE[dtype],
            atol=TOLERANCE[dtype] * max(scale, 1.0),
            equal_nan=True,
        )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("per_channel", [True, False], ids=["channel", "layer"])
@pytest.mark.parametrize("capped", [True, False], ids=["capped", "open"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_the_cpu_kernel_equals_float64_autograd_of_the_formula(shape, per_channel, capped, layout, dtype):
    x = drawn(shape, dtype, layout)
    inputs = [x, *form(shape[1] if per_channel else None, capped)]
    own = gradients(general_relu, inputs, drawn(shape, dtype, layout, seed=2))
    assert type(own[0].grad_fn).__name__ == "_GeneralReLUBackward"
    assert own[0].dtype == own[1].dtype == dtype
    assert own[0].stride() == own[1].stride() == x.stride()
    assert all(of_parameter.dtype == torch.float32 for of_parameter in own[2:])
    reference = gradients(formula, inputs, drawn(shape, dtype, layout, seed=2), torch.float64)
    assert_all_close(own, reference, dtype)


ADVERSARIAL = [0.0, -0.0, 1.25, -2.5, 1e-40, -1e-40, 1e30, -1e30, torch.inf, -torch.inf, torch.nan, 1.0]


@pytest.mark.parametrize("leak", [0.1, 0.0, -0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("value", ADVERSARIAL)
def test_adversarial_values_propagate_as_the_formulas(value, dtype, leak):
    # 1.25 - 0.25 ties with the cap of 1, in bf16 as well.
    # 48 pixels of 3 channels are rows of a whole strip of columns and some left over.
    x = torch.full((8, 3, 2, 3), value, dtype=dtype).to(memory_format=torch.channels_last)
    inputs = [x, *(torch.full((3, 1, 1), v) for v in (leak, 0.25, 1.0))]
    own = gradients(general_relu, inputs, torch.full_like(x, 0.5))
    reference = gradients(formula, inputs, torch.full_like(x, 0.5), torch.float64)
    for ours, theirs in zip(own, reference, strict=True):
        expected = theirs.to(ours.dtype)
        torch.testing.assert_close(ours, expected, rtol=TOLERANCE[dtype], atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ["leak", "sub", "maxv"])
@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_parameters_that_are_not_finite_propagate_as_the_formulas(name, value):
    x = drawn((2, 3, 4, 4), torch.float32)
    parameters = form(3)
    parameters[("leak", "sub", "maxv").index(name)][1] = value
    grad = drawn(x.shape, torch.float32, seed=2)
    own = gradients(general_relu, [x, *parameters], grad)
    for ours, theirs in zip(own, gradients(formula, [x, *parameters], grad, torch.float64), strict=True):
        torch.testing.assert_close(ours, theirs.float(), rtol=2e-5, atol=2e-5, equal_nan=True)


@pytest.mark.parametrize("on_torchs_team", [True, False])
def test_ctrl_c_in_a_kernel_is_raised_and_nothing_half_done_is_returned(on_torchs_team, monkeypatch):
    if not on_torchs_team:
        monkeypatch.setattr(loops, "_torch_team", lambda: None)

    def interrupted(start, stop):
        if start <= 3 * loops.BLOCK < stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loops._share(np.empty((8 * loops.BLOCK, 1), np.uint8), 2, interrupted)


def test_a_block_that_was_lost_outside_of_the_loop_is_noticed(monkeypatch):
    monkeypatch.setattr(loops, "_run_on", lambda threads, take_turns: None)
    with pytest.raises(KeyboardInterrupt):
        loops._share(np.empty((4, 1), np.uint8), 1, lambda start, stop: None)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 0, 4)])
def test_an_empty_batch_gives_empty_outputs_and_zero_gradients(shape):
    x = torch.empty(shape)
    y, of_x, *of_parameters = gradients(general_relu, [x, *form(3)], torch.empty(shape))
    assert y.shape == of_x.shape == shape
    assert all(not of_parameter.any() for of_parameter in of_parameters)


def test_an_input_that_is_not_dense_and_a_gradient_of_another_layout_are_right():
    x = drawn((4, 6, 5, 8), torch.float32)[:, :, ::2]
    inputs = [x, *form(6)]
    grad = torch.ones(1, 1, 1, 1).expand(x.shape)
    own = gradients(general_relu, inputs, grad)
    assert_all_close(own, gradients(formula, inputs, grad, torch.float64), torch.float32)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sums_do_not_depend_on_the_number_of_threads(layout):
    x = drawn((8, 64, 33, 31), torch.float32, layout)
    inputs, grad = [x, *form(64)], drawn(x.shape, torch.float32, layout, seed=3)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(gradients(general_relu, inputs, grad))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        for ours, theirs in zip(result, results[0], strict=True):
            assert torch.equal(ours, theirs)


def norm(channels, dtype=torch.float32):
    made = nn.BatchNorm2d(channels)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        made.weight.copy_(torch.rand(channels, generator=generator) + 0.5)
        made.bias.copy_(torch.randn(channels, generator=generator))
    return made.to(dtype)


@pytest.mark.parametrize("shape", [(4, 6, 5, 8), (8, 64, 16, 16), (2, 512, 4, 4), (3, 7, 33, 9)])
@pytest.mark.parametrize("added", [True, False], ids=["residual", "alone"])
@pytest.mark.parametrize("capped", [True, False], ids=["capped", "open"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_batch_norm_fused_equals_float64_autograd_of_both(shape, added, capped, dtype):
    channels = shape[1]
    # A mean far from zero: sums of squares would cancel. In bf16 many values would then share a kink.
    x = drawn(shape, torch.float32).add_(30 if dtype == torch.float32 else 1).to(dtype)
    inputs = [x, *([drawn(shape, dtype, seed=5)] if added else []), *form(channels, capped)]

    def through(norm, fused):
        def function(x, *rest):
            residual, *parameters = rest if added else (None, *rest)
            three = [*parameters, *([] if capped else [None])]
            if fused:
                return norm_general_relu(x, norm, three, residual)
            return formula(norm(x) if residual is None else norm(x) + residual, *three)

        return function

    grad = drawn(shape, dtype, seed=6)
    ours, theirs = norm(channels), norm(channels, torch.float64)
    own = gradients(through(ours, True), inputs, grad)
    assert type(own[0].grad_fn).__name__ == "_NormGeneralReLUBackward"
    assert own[0].dtype == dtype
    assert own[0].is_contiguous(memory_format=torch.channels_last)
    assert_all_close(own, gradients(through(theirs, False), inputs, grad, torch.float64), dtype)
    statistics = ("running_mean", "running_var")
    assert_all_close(
        [getattr(ours, name) for name in statistics], [getattr(theirs, name) for name in statistics], dtype
    )
    assert ours.num_batches_tracked == 1


@pytest.mark.parametrize("added", [True, False], ids=["residual", "alone"])
def test_batch_norm_fused_learns_weight_and_bias(added):
    x, residual = drawn((4, 6, 5, 8), torch.float32), drawn((4, 6, 5, 8), torch.float32, seed=5)
    weights = []
    for made, dtype, function in (
        (norm(6), torch.float32, norm_general_relu),
        (
            norm(6, torch.float64),
            torch.float64,
            lambda x, n, f, r: formula(n(x) if r is None else n(x) + r, *f),
        ),
    ):
        y = function(x.to(dtype), made, form(6), residual.to(dtype) if added else None)
        weights.append(torch.autograd.grad(y.square().sum(), [made.weight, made.bias]))
    assert_all_close(*weights, torch.float32)


@pytest.mark.parametrize("training", [True, False])
def test_fused_and_unfused_agree_where_one_or_the_other_is_used(training):
    x = drawn((4, 6, 5, 8), torch.float32)
    outputs = []
    for layout in LAYOUTS.values():
        with torch.inference_mode(not training):
            made = norm(6).train(training)
            outputs.append(norm_general_relu(x.to(memory_format=layout), made, form(6)))
    torch.testing.assert_close(outputs[0].contiguous(), outputs[1].contiguous())


def saved_bytes(module, x, residual=None):
    """Bytes of the distinct tensors that a module keeps for its backward pass."""
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.setdefault(t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()),
        lambda held: held,
    ):
        y = module(x, residual)
    kept.pop(y.untyped_storage().data_ptr(), None)  # the next layer keeps that in any case
    return sum(kept.values())


def test_a_learned_relu_behind_a_norm_keeps_no_more_than_relu_in_place():
    x = drawn((8, 32, 16, 16), torch.bfloat16).requires_grad_()
    residual = drawn((8, 32, 16, 16), torch.bfloat16, seed=1)
    made = {name: NormAct(32, activation_factory(Activation(name=name))) for name in ("relu", "learned_relu")}
    assert saved_bytes(made["learned_relu"], x) <= saved_bytes(made["relu"], x) + 32 * 4 * 8
    # The residual is the block's input, which its first convolution keeps.
    added = residual.untyped_storage().nbytes()
    assert (
        saved_bytes(made["learned_relu"], x, residual)
        <= saved_bytes(made["relu"], x, residual) + added + 1024
    )


def test_compiled_gradients_equal_eager_ones():
    made = NormAct(6, activation_factory(Activation(name="learned_relu", maxv=1.0)))
    x = drawn((4, 6, 5, 8), torch.float32).requires_grad_()
    wanted = [x, *made.parameters()]
    eager = torch.autograd.grad(made(x).square().sum(), wanted)
    for backend in ("aot_eager", *(["inductor"] if shutil.which("g++") else [])):
        torch.compiler.reset()
        compiled = torch.compile(made, backend=backend, fullgraph=True)
        own = torch.autograd.grad(compiled(x).square().sum(), wanted)
        for ours, theirs in zip(own, eager, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.skipif(
    not INTERPRETED, reason="runs in a process of its own: Triton reads its mode when imported"
)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_interpreted_triton_kernels_equal_the_formula(layout, dtype):
    from lrelu_bench.activations.kernels import cuda

    for shape in SHAPES:
        for channels in {shape[1], 1}:
            for capped in (True, False):
                parameters = [*(p.view(-1) for p in form(channels, capped)), *([] if capped else [None])]
                x, grad = drawn(shape, dtype, layout), drawn(shape, dtype, layout, seed=2)
                y = cuda.forward(x, parameters)
                of_x, sums = cuda.backward(x, grad, parameters)
                assert y.dtype == of_x.dtype == dtype
                assert y.stride() == of_x.stride() == x.stride()
                inputs = [x, *(p.view(-1, 1, 1) for p in parameters if p is not None)]
                reference = gradients(formula, inputs, grad, torch.float64)
                own = (y, of_x, *(s.view(-1, 1, 1) for s in sums if s is not None))
                assert_all_close(own, reference, dtype)


def test_the_triton_kernels_as_python_on_the_cpu():
    pytest.importorskip("triton", reason="needs Triton, which torch brings on Linux")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-k", "interpreted", __file__]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("dtype", TOLERANCE, ids=["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_cuda_kernels_equal_the_formula_and_repeat_bit_for_bit(layout, dtype):
    for shape in [*SHAPES, (64, 64, 64, 64)]:
        inputs = [t.cuda() for t in (drawn(shape, dtype, layout), *form(shape[1]))]
        grad = drawn(shape, dtype, layout, seed=2).cuda()
        own = gradients(general_relu, inputs, grad)
        assert type(own[0].grad_fn).__name__ == "_GeneralReLUBackward"
        assert_all_close(own, gradients(formula, inputs, grad, torch.float64), dtype)
        for again, first in zip(gradients(general_relu, inputs, grad), own, strict=True):
            assert torch.equal(again, first)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_cuda_graph_replays_forward_and_backward():
    x, grad = drawn((8, 16, 8, 8), torch.bfloat16).cuda(), drawn((8, 16, 8, 8), torch.bfloat16, seed=2).cuda()
    leaves = [t.cuda().requires_grad_() for t in (x, *form(16))]
    torch.autograd.grad(general_relu(*leaves), leaves, grad)  # compiles
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = torch.autograd.grad(general_relu(*leaves), leaves, grad)
    with torch.no_grad():
        leaves[0].mul_(-1)
    graph.replay()
    for ours, theirs in zip(captured, torch.autograd.grad(general_relu(*leaves), leaves, grad), strict=True):
        assert torch.equal(ours, theirs)
