"""The activation by itself: forward and backward alone and behind batch norm, beside torch's and a copy."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from measuring import ratio_interval
from torch import Tensor, nn

from lrelu_bench.activation_config import Activation
from lrelu_bench.activations.factory import activation_factory
from lrelu_bench.activations.kernels import choosing
from lrelu_bench.activations.norm_act import NormAct
from lrelu_bench.training.precision import Compute
from peers.nets import PlainFormula

STAGES = ((32, 2), (64, 4), (128, 8))
"""Channels, and the side of a pixel in pixels of the net's input: xresnet18's stem and first stages."""
ALONE, BEHIND = 5, 8
"""Least tensors moved, forward and backward together: alone x, y; x, grad, x's gradient. Behind a batch norm
in training x twice, y; x and grad twice, x's gradient: its sums come before what is computed from them."""
LEARNED = Activation(name="learned_relu")


@dataclass(frozen=True)
class Pass:
    """What is timed, and the least number of tensors like its input that it moves."""

    title: str
    against: str
    """Title of the pass that its time is held against."""
    moved: int
    work: Callable[[], object]


def passes(x: Tensor) -> list[Pass]:
    """Every variant on one input (N, C, H, W)."""
    channels, grad, target = x.size(1), torch.randn_like(x), torch.empty_like(x)

    def learned() -> nn.Module:
        return activation_factory(LEARNED)(channels)

    def plain() -> nn.Module:
        return PlainFormula(channels, **LEARNED.constants)

    def ours(name: str) -> nn.Module:
        return NormAct(channels, activation_factory(Activation.model_validate(name)))

    def theirs(act: nn.Module) -> nn.Module:
        return nn.Sequential(nn.BatchNorm2d(channels), act)

    alone, behind = "torch's ReLU", "batch norm + torch's ReLU"
    built: list[tuple[str, str, int, nn.Module]] = [
        (alone, alone, ALONE, nn.ReLU()),
        ("torch's ReLU, a second time", alone, ALONE, nn.ReLU()),
        ("our learned_relu", alone, ALONE, learned()),
        ("the formula in torch's operators", alone, ALONE, plain()),
        (behind, behind, BEHIND, theirs(nn.ReLU(inplace=True))),
        ("our relu with its batch norm", behind, BEHIND, ours("relu")),
        ("our learned_relu with its batch norm", behind, BEHIND, ours("learned_relu")),
        ("batch norm + the formula in torch's operators", behind, BEHIND, theirs(plain())),
    ]
    copy = Pass("a copy", alone, 2, lambda: target.copy_(x))
    return [copy, *(Pass(t, a, moved, _both_ways(m.to(x.device), x, grad)) for t, a, moved, m in built)]


def _both_ways(module: nn.Module, x: Tensor, grad: Tensor) -> Callable[[], object]:
    leaf = x.detach().requires_grad_()
    wanted = [leaf, *module.parameters()]
    return lambda: torch.autograd.grad(module(leaf), wanted, grad)


def kernels(compute: Compute, batch: int, size: int, blocks: int) -> list[dict[str, Any]]:
    """Per shape and pass: milliseconds of each block, taken in turns, and what follows from them."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[compute.precision]
    repeats = 20 if compute.device.type == "cuda" else 4
    found = []
    for channels, stride in STAGES:
        shape = (batch, channels, size // stride, size // stride)
        x = torch.randn(shape, device=compute.device).to(dtype).to(memory_format=torch.channels_last)
        found.append({"shape": shape, "dtype": compute.precision} | _measured(passes(x), x, blocks, repeats))
    return found


def _measured(variants: list[Pass], x: Tensor, blocks: int, repeats: int) -> dict[str, Any]:
    times: dict[str, list[float]] = {one.title: [] for one in variants}
    for block in range(-1, blocks):
        for turn in range(len(variants)):
            one = variants[(block + turn) % len(variants)]
            times[one.title].append(_milliseconds(one.work, repeats, x.is_cuda))
    # The first block compiles and warms up.
    times = {title: values[1:] for title, values in times.items()}
    rate = {
        one.title: one.moved * x.numel() * x.element_size() / median(times[one.title]) / 1e6
        for one in variants
    }
    results = {}
    for one in variants:
        pairs = zip(times[one.title], times[one.against], strict=True)
        middle, low, high = ratio_interval([own / other for own, other in pairs])
        results[one.title] = {
            "milliseconds": times[one.title],
            "against": one.against,
            "ratio": {"median": middle, "low": low, "high": high},
            "least_gbs": rate[one.title],
            "share_of_copy": rate[one.title] / rate["a copy"],
        }
    return {"passes": results}


def _milliseconds(work: Callable[[], object], repeats: int, on_gpu: bool) -> float:
    work()
    if on_gpu:
        # As the graphs of training have it, which wait for no launch.
        return choosing.queued(work, repeats)
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - started) * 1e3 / repeats
