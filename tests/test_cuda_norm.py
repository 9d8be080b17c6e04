"""Batch norm with the activation behind it in Triton: interpreted, compiled without a GPU, and on one."""

import importlib
import os
import subprocess
import sys

import pytest
import torch
from test_general_form import TOLERANCE, assert_all_close, drawn, form, norm
from torch import nn

from lrelu_bench.activations import general_form
from lrelu_bench.activations.general_form import formula
from lrelu_bench.activations.kernels import choosing

triton = pytest.importorskip("triton", reason="needs Triton, which torch brings on Linux")
cuda_norm = importlib.import_module("lrelu_bench.activations.kernels.cuda_norm")
norm_programs = cuda_norm.norm_programs

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(
    not INTERPRETED, reason="runs in a process of its own: Triton reads its mode when imported"
)
compiled = pytest.mark.skipif(INTERPRETED, reason="needs Triton's compiler")
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")

SHAPES = [(2, 1, 3, 3), (3, 3, 5, 7), (2, 24, 3, 3), (1, 48, 7, 5), (2, 130, 3, 3)]
FORMS = ("relu", "open", "capped")
CUTS = {
    "as shipped": {},
    "many parts": {"ELEMENTS": 256, "PROGRAMS": 8},
    "many steps": {"ELEMENTS": 64, "PROGRAMS": 2},
}


@pytest.fixture
def unwritten_is_nan():
    """What a kernel leaves unwritten is NaN instead of what was there before."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=CUTS)
def cut(request, monkeypatch):
    """Partitions in which one program reads everything, and in which parts and steps do not come out even."""
    for name, value in CUTS[request.param].items():
        monkeypatch.setattr(cuda_norm, name, value)
    return request.param


def parameters_of(kind, channels):
    """leak, sub and maxv as the kernels take them; nothing for plain ReLU."""
    values = [] if kind == "relu" else [value.view(-1) for value in form(channels, kind == "capped")]
    return values + [None] * (kind == "open")


def batch(shape, dtype, added):
    # A mean far from zero: sums of squares would cancel. In half precision many values would share a kink.
    x = drawn(shape, torch.float32).add_(30 if dtype == torch.float32 else 1).to(dtype)
    return x, drawn(shape, dtype, seed=5) if added else None, drawn(shape, dtype, seed=6)


def trained(module, x, residual, grad, parameters):
    """y, and the gradients of x, residual, weight, bias and the parameters, by the kernels."""
    mean, invstd = cuda_norm.tracked_moments(x, module)
    of_batch = cuda_norm.Norm(module.weight.detach(), module.bias.detach(), mean, invstd)
    if parameters:
        y = cuda_norm.norm_forward(x, residual, of_batch, parameters)
        *found, of_parameters = cuda_norm.norm_backward(x, residual, grad, of_batch, parameters)
    else:
        y, of_parameters = cuda_norm.norm_forward(x, residual, of_batch, None), ()
        kept = None if residual is None else y
        found = cuda_norm.norm_relu_backward(x, kept, grad, of_batch)
    return [value for value in (y, *found, *of_parameters) if value is not None]


def by_autograd(module, x, residual, grad, parameters):
    """The same in float64, by autograd of the formula behind torch's batch norm."""
    leaves = [t.detach().double().requires_grad_() for t in (x, residual) if t is not None]
    wide = [p.double().view(-1, 1, 1).requires_grad_() for p in parameters if p is not None]
    v = module(leaves[0]) + (0 if residual is None else leaves[1])
    y = formula(v, *wide) if parameters else torch.relu(v)
    found = torch.autograd.grad(y, [*leaves, module.weight, module.bias, *wide], grad.double())
    return [
        y,
        *found[: len(found) - len(wide)],
        *(value.view(-1) for value in found[len(found) - len(wide) :]),
    ]


def statistics(module):
    return [module.running_mean, module.running_var]


@interpreted
@pytest.mark.parametrize(
    ("cut", "dtype"),
    [
        *(("as shipped", dtype) for dtype in TOLERANCE),
        ("many parts", torch.bfloat16),
        ("many steps", torch.float32),
    ],
    indirect=["cut"],
)
@pytest.mark.parametrize("kind", FORMS)
def test_interpreted_training_equals_float64_autograd(kind, dtype, cut, unwritten_is_nan):
    for shape in SHAPES if cut == "as shipped" else SHAPES[1::2]:
        for added in (True, False):
            ours, theirs = norm(shape[1]), norm(shape[1], torch.float64)
            case = (*batch(shape, dtype, added), parameters_of(kind, shape[1]))
            own = trained(ours, *case)
            assert all(t.dtype == dtype and t.stride() == case[0].stride() for t in own[: 2 + added])
            assert all(t.dtype == torch.float32 and t.shape == (shape[1],) for t in own[2 + added :])
            assert_all_close(own, by_autograd(theirs, *case), dtype)
            assert_all_close(statistics(ours), statistics(theirs), torch.float32)
            assert ours.num_batches_tracked == 1


@interpreted
def test_interpreted_statistics_do_not_cancel(cut, unwritten_is_nan):
    x = drawn((3, 24, 5, 7), torch.float32).add_(3000)
    mean, var = cuda_norm.moments(x)
    exact = x.double()
    torch.testing.assert_close(mean.double(), exact.mean((0, 2, 3)), rtol=1e-6, atol=0)
    # x itself is rounded to 1 / 4096, and that is in both.
    torch.testing.assert_close(var.double(), exact.var((0, 2, 3), correction=0), rtol=1e-4, atol=0)
    mean, var = cuda_norm.moments(x[:1, :, :1, :1])
    assert torch.equal(mean, x[0, :, 0, 0])
    assert not var.any()


@interpreted
def test_interpreted_statistics_of_later_batches_move_as_torchs(unwritten_is_nan):
    ours, theirs = norm(3), norm(3, torch.float64)
    ours.momentum = theirs.momentum = 0.75
    for seed in range(3):
        x = drawn((2, 3, 5, 7), torch.float32, seed=seed)
        cuda_norm.tracked_moments(x, ours)
        theirs(x.double())
        assert_all_close(statistics(ours), statistics(theirs), torch.float32)
    assert ours.num_batches_tracked == theirs.num_batches_tracked


@interpreted
def test_interpreted_relu_passes_nothing_at_zero(unwritten_is_nan):
    x, _, grad = batch((3, 24, 5, 7), torch.float32, False)
    module = nn.BatchNorm2d(24)
    nn.init.zeros_(module.weight)
    assert not any(found.any() for found in trained(module, x, None, grad, []))
    nn.init.constant_(module.bias, 1e-30)
    assert trained(module, x, None, grad, [])[3].all()


# numpy tells of what is not finite.
@interpreted
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", FORMS)
def test_interpreted_values_that_are_not_finite_propagate_as_in_evaluation(kind):
    x = torch.tensor([1.0, -1.0, torch.nan, torch.inf, -torch.inf, 0.0]).repeat(3).view(6, 3, 1, 1)
    module, parameters = norm(3), parameters_of(kind, 3)
    constants = [t.detach() for t in (module.weight, module.bias, module.running_mean)]
    tracked = cuda_norm.Norm(*constants, torch.ones(3))
    v = x * constants[0].view(-1, 1, 1) + constants[1].view(-1, 1, 1)
    if parameters:
        y = cuda_norm.norm_forward(x, None, tracked, parameters)
        expected = formula(v, *(p if p is None else p.view(-1, 1, 1) for p in parameters))
    else:
        y, expected = cuda_norm.norm_forward(x, None, tracked, None), torch.relu(v)
    torch.testing.assert_close(y, expected, equal_nan=True)


@interpreted
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["leak", "sub", "maxv"])
@pytest.mark.parametrize("value", [torch.inf, torch.nan])
@pytest.mark.parametrize("bias", [9.0, 0.0], ids=["positive", "both sides"])
def test_interpreted_parameters_that_are_not_finite_stay_out_of_other_sums(
    name, value, bias, unwritten_is_nan
):
    parameters = parameters_of("capped", 3)
    parameters[("leak", "sub", "maxv").index(name)][1] = value
    x, _, grad = batch((3, 3, 5, 7), torch.float32, False)
    ours, theirs = norm(3), norm(3, torch.float64)
    for module in (ours, theirs):
        nn.init.constant_(module.bias, bias)
    assert_all_close(
        trained(ours, x, None, grad, parameters), by_autograd(theirs, x, None, grad, parameters), x.dtype
    )


@interpreted
def test_interpreted_gradient_of_another_layout_is_right(unwritten_is_nan):
    x, _, grad = batch((3, 24, 5, 7), torch.float32, False)
    parameters = parameters_of("capped", 24)
    for one, other in zip(
        *(trained(norm(24), x, None, given, parameters) for given in (grad, grad.contiguous())), strict=True
    ):
        assert torch.equal(one, other)


@interpreted
@pytest.mark.parametrize("training", [True, False])
def test_interpreted_kernels_serve_the_net_as_the_cpus_do(training, monkeypatch):
    x, residual, grad = batch((3, 6, 5, 7), torch.float32, True)
    results = []
    for kernels in (general_form._norm_kernels(x), cuda_norm):
        monkeypatch.setattr(general_form, "_norm_kernels", lambda x, kernels=kernels: kernels)
        module, leaves = norm(6).train(training), [x.clone(), residual.clone(), *form(6)]
        if training:
            leaves = [leaf.requires_grad_() for leaf in leaves]
        with torch.set_grad_enabled(training):
            y = general_form.fused(leaves[0], module, tuple(leaves[2:]), leaves[1])
        wanted = [*leaves, module.weight, module.bias]
        found = torch.autograd.grad(y, wanted, grad) if training else ()
        results.append([y.detach(), *found, *statistics(module)])
    for ours, theirs in zip(*results, strict=True):
        assert ours.stride() == theirs.stride()
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=1e-4)


@interpreted
def test_interpreted_statistics_that_moved_are_not_used_for_an_older_gradient():
    module, x = norm(3).eval(), drawn((2, 3, 5, 7), torch.float32).requires_grad_()
    y = module(x)
    cuda_norm.tracked_moments(x.detach(), module)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.slow
def test_the_triton_programs_as_python_on_the_cpu():
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-k", "interpreted", __file__]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    # Nothing of them was skipped: each has run somewhere.
    assert "skipped" not in done.stdout


def cut_of(rows, width):
    return cuda_norm._Cut.of(torch.empty((1, width, rows, 1), device="meta"))


def pointers(dtype):
    """Triton's types of arguments by name: tensors of the batch in dtype, the rest float32."""
    of_batch = {"x_ptr", "y_ptr", "residual_ptr", "beside_ptr", "grad_ptr", "below_ptr", "grad_x_ptr"}

    def type_of(name):
        if name.endswith("_ptr"):
            return "*" + ("i64" if name == "batches_ptr" else dtype if name in of_batch else "fp32")
        return "fp32" if name in ("momentum", "eps") else "i32"

    return type_of


def compiled_for(capability, program, type_of, **constants):
    """The PTX of a program for devices of that capability, for tensors and widths aligned as in training."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = program.arg_names
    types = {name: "constexpr" if name in constants else type_of(name) for name in names}
    aligned = [i for i, name in enumerate(names) if name.endswith("_ptr") or name == "width"]
    source = ASTSource(
        program,
        types,
        {(names.index(name),): value for name, value in constants.items()},
        {(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    options = {"num_warps": cuda_norm.WARPS}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm["ptx"]


@compiled
@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("added", [True, False], ids=["residual", "alone"])
def test_tritons_compiler_takes_the_programs_and_reads_whole_vectors(kind, added, tmp_path, monkeypatch):
    # The interpreter runs as Python what the compiler may refuse.
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    flags = {"BENT": kind != "relu", "CAPPED": kind == "capped"}
    tile, of_half = cut_of(64 * 16, 512).tile, pointers("bf16")
    for program, more in (
        (norm_programs.norm_forward, {"ADDED": added}),
        (norm_programs.norm_sums, {"BESIDE": added, "BELOW": added}),
        (norm_programs.norm_backward, {"BESIDE": added, "PASSED": added}),
    ):
        assert "ld.global.v4" in compiled_for(90, program, of_half, **flags, **more, **tile)


@compiled
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_tritons_compiler_takes_the_programs_of_sums(dtype, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    cut, type_of = cut_of(64 * 64 * 64, 32), pointers(dtype)
    assert "ld.global.v4" in compiled_for(80, norm_programs.moments, type_of, **cut.tile)
    for tracked in (True, False):
        compiled_for(80, norm_programs.join_moments, type_of, TRACKED=tracked, **cut.joining)
    compiled_for(80, norm_programs.join_sums, type_of, **cut.joining)


@pytest.mark.parametrize("rows", [1, 2, 31, 33, 1024, 4097, 262_144, 3_000_017])
@pytest.mark.parametrize("width", [1, 3, 24, 32, 64, 130, 512, 2048])
def test_every_row_is_in_one_part_and_no_part_is_empty(rows, width):
    cut = cut_of(rows, width)
    each = cut.steps * cut.tile["R"]
    assert (cut.parts - 1) * each < rows <= cut.parts * each
    assert cut.parts * cut.tiles[1] <= cuda_norm.PROGRAMS
    assert cut.joining["P"] >= cut.parts
    assert cut.joins * cut.joining["C"] >= width


def on_gpu(*tensors):
    return [t if t is None else t.cuda() for t in tensors]


@pytest.fixture
def fused(monkeypatch):
    """Whatever is faster."""
    monkeypatch.setattr(choosing, "fused_is_faster", lambda *question: True)


GPU_SHAPES = [*SHAPES, (64, 32, 64, 64), (64, 512, 4, 4), (2, 2048, 4, 4)]


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("dtype", TOLERANCE, ids=["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("kind", FORMS)
def test_on_cuda_training_equals_float64_autograd_and_repeats_bit_for_bit(kind, dtype):
    for shape in GPU_SHAPES:
        for added in (True, False):
            case, parameters = batch(shape, dtype, added), parameters_of(kind, shape[1])
            moved = (*on_gpu(*case), on_gpu(*parameters))
            ours, again, theirs = (
                norm(shape[1]).cuda(),
                norm(shape[1]).cuda(),
                norm(shape[1], torch.float64).cuda(),
            )
            own, repeated = trained(ours, *moved), trained(again, *moved)
            assert_all_close(own, by_autograd(theirs, *moved), dtype)
            assert_all_close(statistics(ours), statistics(theirs), torch.float32)
            for one, other in zip(own + statistics(ours), repeated + statistics(again), strict=True):
                assert torch.equal(one, other)


def site(device, dtype, capped, added):
    """A norm's and an activation's leaves on a device, and the gradient of the output."""
    x, residual, grad = (t if t is None else t.to(device) for t in batch((8, 24, 9, 7), dtype, added))
    parameters = [value.to(device).requires_grad_() for value in form(24, capped)]
    x.requires_grad_()
    if added:
        residual.requires_grad_()
    return norm(24).to(device), x, residual, (*parameters, *([] if capped else [None])), grad


def gradients_at(module, x, residual, three, grad):
    wanted = [t for t in (x, residual, module.weight, module.bias, *three) if t is not None]
    y = general_form.norm_general_relu(x, module, three, residual)
    return y, *torch.autograd.grad(y, wanted, grad)


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("capped", [True, False], ids=["capped", "open"])
@pytest.mark.parametrize("added", [True, False], ids=["residual", "alone"])
def test_on_cuda_a_site_equals_the_cpus(dtype, capped, added, fused):
    sites = [site(device, dtype, capped, added) for device in ("cpu", "cuda")]
    by_cpu, by_cuda = (gradients_at(*made) for made in sites)
    assert type(by_cuda[0].grad_fn).__name__ == "_NormGeneralReLUBackward"
    assert_all_close([t.cpu() for t in by_cuda], [t.double() for t in by_cpu], dtype)
    of_cpu, of_cuda = (statistics(made[0]) for made in sites)
    assert_all_close([t.cpu() for t in of_cuda], [t.double() for t in of_cpu], torch.float32)
    with torch.inference_mode():
        y, expected = (
            general_form.norm_general_relu(x, module.eval(), three, residual).cpu()
            for module, x, residual, three, _ in reversed(sites)
        )
    assert_all_close([y], [expected.double()], dtype)


@pytest.mark.gpu
@gpu
def test_on_cuda_a_graph_replays_a_site(fused):
    made, twin = (site("cuda", torch.bfloat16, True, True) for _ in range(2))
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        gradients_at(*made)  # compiles
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = gradients_at(*made)
    gradients_at(*twin)
    for factor in (-1, 0.5):
        with torch.no_grad():
            for x in (made[1], twin[1]):
                x.mul_(factor)
        graph.replay()
        for ours, theirs in zip(captured, gradients_at(*twin), strict=True):
            assert torch.equal(ours, theirs)
    for ours, theirs in zip(statistics(made[0]), statistics(twin[0]), strict=True):
        assert torch.equal(ours, theirs)
    assert made[0].num_batches_tracked == 3


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("timer", [choosing.launched, choosing.queued])
def test_on_cuda_a_choice_is_made_and_moves_no_random_numbers(timer, monkeypatch):
    monkeypatch.setattr(choosing, "_chosen", {})
    device, before = torch.device("cuda", torch.cuda.current_device()), torch.cuda.get_rng_state()
    question = (device, torch.bfloat16, 3, general_form.fused, general_form.unfused, timer)
    with torch.inference_mode():
        assert choosing.fused_is_faster(*question) in (True, False)
    assert torch.equal(torch.cuda.get_rng_state(), before)
