"""What telemetry costs: training steps with it, at the rate of a real run, against the same steps without.

The two are timed in alternating blocks of equally many steps of the same net, in one run of the product's own
loop; which of a pair comes first alternates too. What the end of an epoch costs is timed beside. Prints
Markdown.

Example: python scripts/measure_telemetry.py woof128 --blocks 9 --steps 24
"""

import argparse
import time
from statistics import median

from measuring import block_of, print_setting, ratio_cell

from lrelu_bench.config_file import load_experiment
from lrelu_bench.data.datasets import expected_counts
from lrelu_bench.results import EpochRow
from lrelu_bench.shipped import config_path
from lrelu_bench.training.loop import Fit
from lrelu_bench.training.precision import choose_compute
from lrelu_bench.training.telemetry import TelemetryRecorder


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config", nargs="?", default="woof128")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--blocks", type=int, default=9, help="pairs of blocks (default 9)")
    parser.add_argument("--steps", type=int, default=24, help="steps in a block (default 24)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    options = parser.parse_args()

    experiment = load_experiment(config_path(options.config), options.changes)
    compute = choose_compute(options.device, experiment.precision)
    steps_per_epoch = experiment.effective_recipe.steps_per_epoch(expected_counts(experiment)[0])
    fit = block_of(experiment, compute, options.steps)
    seconds_per_step(fit)  # warm up: allocator, kernels, page cache
    pairs, ends = [], []
    for block in range(options.blocks):
        recorder = TelemetryRecorder(fit.net, steps_per_epoch, experiment.epochs)
        seconds: dict[bool, float] = {}
        for on in (False, True) if block % 2 else (True, False):
            fit.telemetry = recorder if on else None
            seconds[on] = seconds_per_step(fit)
        pairs.append((seconds[True], seconds[False]))
        started = time.perf_counter()
        size = len(recorder.after_epoch().packed())
        ends.append(time.perf_counter() - started)

    sampled = sum(step <= options.steps for step in recorder.steps)
    print_setting(experiment, compute, len(pairs), options.steps)
    print("| | seconds (median) |\n|---|---|")
    print(
        f"| step with telemetry, {sampled} of {options.steps} sampled | {median(a for a, _ in pairs):.4f} |"
    )
    print(f"| step without | {median(b for _, b in pairs):.4f} |")
    print(f"| end of an epoch, {size / 1000:.0f} kB to write | {median(ends):.4f} |")
    print(f"| paired ratio of steps | {ratio_cell([a / b for a, b in pairs])} |")


def seconds_per_step(fit: Fit) -> float:
    """Of one block, loading included and validation excluded."""
    row = next(iter(fit.epochs(1)))
    assert isinstance(row, EpochRow), "it diverged"
    return row.train_seconds / fit.loader.steps_per_epoch


if __name__ == "__main__":
    main()
