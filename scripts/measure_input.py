"""What the input costs: a training epoch, augmentation included, against forward and backward alone.

The two are timed in alternating blocks of equally many steps of the same net at the same batch size, in one
run. An epoch's block is the product's own loop: loading, augmentation, forward, backward and optimizer. The
other's batch is ready on the device. Prints Markdown.

Example: python scripts/measure_input.py woof128 --blocks 5 --steps 8
"""

import argparse
import time
from statistics import median

import torch
from measuring import block_of, print_setting, ratio_cell
from torch.nn import functional as F

from lrelu_bench import environment
from lrelu_bench.config_file import load_experiment
from lrelu_bench.results import EpochRow
from lrelu_bench.shipped import config_path
from lrelu_bench.training.loop import Fit
from lrelu_bench.training.precision import Compute, choose_compute


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
    fit = block_of(experiment, compute, options.steps)
    epoch_rate(fit)  # warm up: allocator, kernels, page cache
    pairs = [(epoch_rate(fit), ready_rate(fit, compute, options.steps)) for _ in range(options.blocks)]
    print_setting(experiment, compute, len(pairs), options.steps)
    print("| | images/s (median) |\n|---|---|")
    print(f"| training epoch, augmentation and optimizer included | {median(e for e, _ in pairs):.1f} |")
    print(f"| forward + backward on a ready batch | {median(r for _, r in pairs):.1f} |")
    print(f"| paired ratio | {ratio_cell([epoch / ready for epoch, ready in pairs])} |")
    print(f"| peak resident memory of this process | {environment.peak_memory_bytes() / 1e9:.2f} GB |")


def epoch_rate(fit: Fit) -> float:
    """Images/s of one short epoch of the product's own loop, validation excluded."""
    row = next(iter(fit.epochs(1)))
    if not isinstance(row, EpochRow):
        raise SystemExit("the epoch diverged; lower lr")
    return row.images_per_second


def ready_rate(fit: Fit, compute: Compute, steps: int) -> float:
    """Images/s of forward and backward alone, on one batch that is already on the device."""
    images, labels = fit.objective.on_device(*next(fit.loader.train_batches(0)))
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


if __name__ == "__main__":
    main()
