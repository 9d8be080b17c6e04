"""What the input costs: a training epoch, augmentation included, against forward and backward alone.

The two are timed in alternating blocks of equally many steps of the same net at the same batch size, in one
run. An epoch's block is the product's own loop: loading, augmentation, forward, backward and optimizer. The
other's batch is ready on the device. Prints Markdown.

Example: python scripts/measure_input.py woof128 --blocks 5 --steps 8
"""

import argparse
import time
from statistics import median

import numpy as np
import torch
from torch.nn import functional as F

from lrelu_bench import environment
from lrelu_bench.config_file import load_experiment
from lrelu_bench.data.archives import data_home
from lrelu_bench.data.datasets import Split, open_split
from lrelu_bench.data.loader import Loader
from lrelu_bench.results import EpochRow
from lrelu_bench.runner import build_net
from lrelu_bench.shipped import config_path
from lrelu_bench.training.loop import Fit
from lrelu_bench.training.precision import Compute, choose_compute, return_freed_memory


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config", nargs="?", default="woof128")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--blocks", type=int, default=5, help="pairs of blocks (default 5)")
    parser.add_argument("--steps", type=int, default=8, help="steps in a block (default 8)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    options = parser.parse_args()

    experiment = load_experiment(config_path(options.config), options.changes)
    compute = choose_compute(options.device, experiment.precision)
    split = open_split(experiment, data_home())
    images = options.steps * experiment.effective_recipe.batch_size
    shuffled = np.random.default_rng(0).permutation(split.train)[:images]
    block = Split(split.source, shuffled, split.valid[:2])
    recipe = experiment.effective_recipe
    loader = Loader(block, recipe, experiment.size, seed=0, pin=compute.device.type == "cuda")
    fit = Fit(build_net(experiment), loader, recipe, compute, seed=0, activation=experiment.activation)

    if compute.device.type == "cpu":
        return_freed_memory()
    epoch_rate(fit)  # warm up: allocator, kernels, page cache
    pairs = [(epoch_rate(fit), ready_rate(fit, compute, options.steps)) for _ in range(options.blocks)]
    report(experiment.slug, compute, pairs, options.steps, recipe.batch_size)


def epoch_rate(fit: Fit) -> float:
    """Images/s of one short epoch of the product's own loop, validation excluded."""
    row = next(iter(fit.epochs(1)))
    if not isinstance(row, EpochRow):
        raise SystemExit("the epoch diverged; lower lr")
    return row.images_per_second


def ready_rate(fit: Fit, compute: Compute, steps: int) -> float:
    """Images/s of forward and backward alone, on one batch that is already on the device."""
    images, labels = fit.on_device(*next(fit.loader.train_batches(0)))
    images = images.contiguous(memory_format=torch.channels_last)
    fit.net.train()
    started = time.perf_counter()
    for _ in range(steps):
        with compute.autocast():
            loss = F.cross_entropy(fit.net(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        fit.net.zero_grad(set_to_none=True)
    loss.item()
    return steps * len(labels) / (time.perf_counter() - started)


def report(name: str, compute: Compute, pairs: list[tuple[float, float]], steps: int, batch: int) -> None:
    """Print the figures with what they were measured on."""
    ratios = sorted(epoch / ready for epoch, ready in pairs)
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(ratios, (10_000, len(ratios))), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    described = environment.describe()
    versions = ", ".join(f"{key} {value}" for key, value in described["versions"].items())
    print(f"`{name}`, batch {batch}, {compute.device.type} {compute.precision}\n")
    print(f"- hardware: {described['cpu']} ({described['cores']} cores), {described['threads']} threads")
    print(f"- versions: {versions}; commit {described['commit']}")
    print(f"- n = {len(pairs)} pairs of blocks of {steps} steps\n")
    print("| | images/s (median) |\n|---|---|")
    print(f"| training epoch, augmentation and optimizer included | {median(e for e, _ in pairs):.1f} |")
    print(f"| forward + backward on a ready batch | {median(r for _, r in pairs):.1f} |")
    print(f"| paired ratio | {median(ratios):.3f} (95 % bootstrap interval {low:.3f} to {high:.3f}) |")
    print(f"| peak resident memory of this process | {environment.peak_memory_bytes() / 1e9:.2f} GB |")


if __name__ == "__main__":
    main()
