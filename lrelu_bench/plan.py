"""What a run would do, without doing it: `run --dry-run`."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lrelu_bench.activations.norm_act import NormAct
from lrelu_bench.config import Experiment
from lrelu_bench.data import mnist
from lrelu_bench.data.archives import data_home, sources, state
from lrelu_bench.data.datasets import archive_of, expected_counts
from lrelu_bench.runner import build_net
from lrelu_bench.training.precision import Compute

STATUS_SENTENCES = {
    "ready": "decoded and ready",
    "archive": "archive here, decoded at the first run",
    "partial": "partly downloaded, the rest fetched at the first run",
    "absent": "fetched at the first run",
    "damaged": "its cache is damaged and the archive gone: `data fetch` brings it anew",
}


@dataclass(frozen=True)
class Plan:
    """Counts and estimates of one run of an experiment."""

    data: str
    train_images: int
    valid_images: int
    steps_per_epoch: int
    parameters: int
    memory_bytes: int
    """Estimated: weights, gradients, optimizer state and the tensors autograd keeps for one batch."""


def plan(experiment: Experiment, compute: Compute) -> Plan:
    """Count what a run would do; touches neither network nor disk, beyond asking what is there.

    Raises `BenchError` where the training images do not fill one batch.
    """
    recipe = experiment.effective_recipe
    train, valid = expected_counts(experiment)
    net = build_net(experiment)
    weights = sum(p.numel() for p in net.parameters())
    fixed, per_image = _memory(experiment, compute, net)
    return Plan(
        data=_data_sentence(experiment),
        train_images=train,
        valid_images=valid,
        steps_per_epoch=recipe.steps_per_epoch(train),
        parameters=weights,
        memory_bytes=fixed + per_image * recipe.batch_size,
    )


def _memory(experiment: Experiment, compute: Compute, net: nn.Module) -> tuple[int, int]:
    """Bytes that training needs whatever the batch, and those for each of its images."""
    # fp32: weight, moments (one or two), Lookahead's copy, each again in the last good state; and gradient.
    copies = {"sgd": 5, "adam": 7, "ranger": 9}[experiment.effective_recipe.optimizer]
    weights = sum(p.numel() for p in net.parameters())
    return 4 * copies * weights, saved_bytes(net, experiment.size, 4 if compute.precision == "fp32" else 2)


def fitting_batch(experiment: Experiment, compute: Compute, free: int) -> int:
    """A batch size that should fit into `free` bytes: the experiment's, halved at least once.

    The estimate is doubled: it knows neither cuDNN's workspaces nor the gradients of what it counts.
    """
    fixed, per_image = _memory(experiment, compute, build_net(experiment))
    batch = experiment.effective_recipe.batch_size // 2
    while batch > 1 and 2 * (fixed + per_image * batch) > free:
        batch //= 2
    return max(batch, 1)


def saved_bytes(net: nn.Module, size: int, item: int) -> int:
    """Bytes that autograd keeps per image between forward and backward, at `item` bytes per element.

    Counts the output of each module that does not work in place, by passing one image through the net.
    """
    kept = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal kept
        if not getattr(module, "inplace", False):
            kept += output.numel() * item

    fused = [module for module in net.modules() if isinstance(module, NormAct) and module.fused_act]
    inside = {id(part) for module in fused for part in module.modules()}
    leaves = [module for module in net.modules() if not list(module.children()) and id(module) not in inside]
    handles = [module.register_forward_hook(count) for module in [*leaves, *fused]]
    with torch.inference_mode():
        channels = next(module.in_channels for module in leaves if isinstance(module, nn.Conv2d))
        net.eval()(torch.zeros(1, channels, size, size))
    for handle in handles:
        handle.remove()
    return kept


def _data_sentence(experiment: Experiment) -> str:
    if experiment.dataset == "procedural":
        return "procedural: drawn by the package, nothing to download"
    if experiment.dataset in mnist.COUNTS:
        here = mnist.is_here(experiment.dataset, data_home())
        return f"{mnist.state(data_home())}{'' if here else '; the rest fetched at the first run'}"
    archive = archive_of(experiment)
    found = state(archive, data_home())
    where = f"{found.path}" if found.path else sources(archive)[0]
    return f"{archive.name}: {STATUS_SENTENCES[found.status]} ({where})"
