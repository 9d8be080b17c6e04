"""What the input alone can deliver: images/s of both loaders over the same epochs, and how they differ.

One is Pillow in threads on the CPU, the other the batched transforms on the device that trains. Epochs are
timed in turns in one run, up to the last batch's arrival on the device, with the labels; nothing trains.
Prints Markdown.

Example: python scripts/measure_loaders.py woof128 --set subset=100 --epochs 5
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
from measuring import print_setting, ratio_cell

from lrelu_bench.config_file import load_experiment
from lrelu_bench.data.archives import data_home
from lrelu_bench.data.datasets import open_split
from lrelu_bench.data.device_loader import DeviceImages
from lrelu_bench.data.loader import Batch, Batches
from lrelu_bench.runner import build_loader
from lrelu_bench.shipped import config_path
from lrelu_bench.training.precision import choose_compute
from lrelu_bench.unit import Unit


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config", nargs="?", default="woof128")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--epochs", type=int, default=5, help="timed epochs of each loader (default 5)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    options = parser.parse_args()

    experiment = load_experiment(config_path(options.config), options.changes)
    compute = choose_compute(options.device, experiment.precision)
    device = compute.device
    split, unit = open_split(experiment, data_home()), Unit(experiment, 0, compute, Path())
    started = time.perf_counter()
    images = DeviceImages(split, device)
    _wait(device)
    taken = time.perf_counter() - started
    loaders = (build_loader(unit, split), build_loader(unit, split, images))
    apart, equal = difference(*(loader.train_batches(0) for loader in loaders))  # warms both up, too
    pairs = [
        (rate(loaders[0], epoch, device), rate(loaders[1], epoch, device))
        for epoch in range(1, 1 + options.epochs)
    ]
    print_setting(experiment, compute, len(pairs), loaders[0].steps_per_epoch)
    print("| | images/s (median) |\n|---|---|")
    print(f"| Pillow in threads | {median(a for a, _ in pairs):.0f} |")
    print(f"| batched on {device.type} | {median(b for _, b in pairs):.0f} |")
    print(f"| paired ratio | {ratio_cell([b / a for a, b in pairs])} |")
    print(f"| images taken to the device, once | {images.pixels.nbytes / 1e9:.2f} GB in {taken:.1f} s |")
    print(f"| pixels of an epoch that are equal | {100 * equal:.4f} %, the others within {apart} |")


def difference(ours: Iterator[Batch], theirs: Iterator[Batch]) -> tuple[int, float]:
    """Greatest difference in grey levels between two loaders' batches, and the share of equal values."""
    greatest, equal, seen = 0, 0, 0
    for (a, _), (b, _) in zip(ours, theirs, strict=True):
        levels = (a.cpu().short() - b.cpu().short()).abs()
        greatest = max(greatest, int(levels.max()))
        equal += int((levels == 0).sum())
        seen += levels.numel()
    return greatest, equal / seen


def rate(loader: Batches, epoch: int, device: torch.device) -> float:
    """Images/s of one epoch's batches, from the first request until all are on the device."""
    started, images = time.perf_counter(), 0
    for pixels, labels in loader.train_batches(epoch):
        pixels.to(device, non_blocking=True)
        images += len(labels.to(device, non_blocking=True))
    _wait(device)
    return images / (time.perf_counter() - started)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
