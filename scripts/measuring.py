"""What the measuring scripts share: their blocks of training steps, and how a ratio is reported."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from lrelu_bench import environment
from lrelu_bench.config import Experiment
from lrelu_bench.data.archives import data_home
from lrelu_bench.data.datasets import Split, open_split
from lrelu_bench.data.device_loader import DeviceImages
from lrelu_bench.runner import build_loader, build_net
from lrelu_bench.training import cpu
from lrelu_bench.training.loop import Fit
from lrelu_bench.training.precision import Compute
from lrelu_bench.unit import Unit


def block_of(experiment: Experiment, compute: Compute, steps: int) -> Fit:
    """The product's own loop with epochs of this many steps and next to no validation."""
    split = open_split(experiment, data_home())
    recipe = experiment.effective_recipe
    shuffled = np.random.default_rng(0).permutation(split.train)[: steps * recipe.batch_size]
    block = Split(split.source, shuffled, split.valid[:2])
    images = DeviceImages(block, compute.device) if compute.device.type == "cuda" else None
    loader = build_loader(Unit(experiment, 0, compute, Path()), block, images)
    if compute.device.type == "cpu":
        cpu.prepare()
    return Fit(build_net(experiment), loader, recipe, compute, seed=0, activation=experiment.activation)


def print_setting(experiment: Experiment, compute: Compute, pairs: int, steps: int) -> None:
    """Print what the figures were measured on."""
    described = environment.describe()
    versions = ", ".join(f"{key} {value}" for key, value in described["versions"].items())
    batch = experiment.effective_recipe.batch_size
    print(f"`{experiment.slug}`, batch {batch}, {compute.device.type} {compute.precision}\n")
    print(f"- hardware: {described['cpu']} ({described['cores']} cores), {described['threads']} threads")
    print(f"- versions: {versions}; commit {described['commit']}")
    print(f"- n = {pairs} pairs of blocks of {steps} steps\n")


def ratio_interval(ratios: Sequence[float]) -> tuple[float, float, float]:
    """The median, and both ends of its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(sorted(ratios), (10_000, len(ratios))), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return median(ratios), float(low), float(high)


def ratio_cell(ratios: Sequence[float]) -> str:
    """The median with its 95 % bootstrap interval."""
    middle, low, high = ratio_interval(ratios)
    return f"{middle:.3f} (95 % bootstrap interval {low:.3f} to {high:.3f})"
