"""Smoother statistics, higher accuracy sooner? The committed MNIST runs, activation by activation.

For each run, over its activation sites and sampled steps:

- roughness: mean of |change of the output's mean| + |change of its standard deviation| from one sampled step
  to the next, divided by the site's mean standard deviation;
- distance: mean of |output's mean| + |its standard deviation - 1|;
- near zero: mean share of outputs within 0.05 of zero.

Prints Markdown: means over seeds with 95 % t intervals, and differences with 95 % Welch intervals.

Example: python scripts/mnist_statistics.py results
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import stats

from lrelu_bench.report.labels import activation_label
from lrelu_bench.results import load_epochs, load_result
from lrelu_bench.telemetry_file import Telemetry

MEASURES = ("roughness", "distance", "near zero %", "epoch 1 %", "epoch 2 %", "last epoch %")
Numbers = dict[str, np.ndarray]
"""By activation, an array (runs, measures)."""


def main() -> None:
    """Read, reduce and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path, default=Path("results"))
    numbers = collected(parser.parse_args().results)
    print(f"| activation | n | {' | '.join(MEASURES)} |")
    print("|---|---:|" + "---:|" * len(MEASURES))
    for name, runs in numbers.items():
        half = runs.std(0, ddof=1) / len(runs) ** 0.5 * stats.t.ppf(0.975, len(runs) - 1)
        cells = (f"{mean:.3g} ± {around:.2g}" for mean, around in zip(runs.mean(0), half, strict=True))
        print(f"| {name} | {len(runs)} | {' | '.join(cells)} |")
    print(f"\n| difference | {' | '.join(MEASURES)} |\n|---|" + "---:|" * len(MEASURES))
    for first, second in pairs(list(numbers)):
        found = stats.ttest_ind(numbers[first], numbers[second], equal_var=False).confidence_interval()
        bounds = zip(np.ravel(found.low), np.ravel(found.high), strict=True)
        print(f"| {first} - {second} | {' | '.join(f'{low:.3g} to {high:.3g}' for low, high in bounds)} |")


def collected(results: Path) -> Numbers:
    """Every finished MNIST run under a results folder."""
    rows: dict[str, list[list[float]]] = {}
    for path in sorted(results.glob("mnist*/seed-*")):
        result = load_result(path)
        if result.status == "complete":
            rows.setdefault(activation_label(result.activation), []).append(measured(path))
    return {name: np.array(found) for name, found in sorted(rows.items(), key=lambda item: item[0] != "relu")}


def measured(run: Path) -> list[float]:
    """The measures of one run."""
    seen, accuracy = Telemetry.load(run), [100 * row.accuracy for row in load_epochs(run)]
    distance = (np.abs(seen.mean) + np.abs(seen.std - 1)).mean()
    return [seen.roughness, distance, 100 * seen.near_zero.mean(), accuracy[0], accuracy[1], accuracy[-1]]


def pairs(names: list[str]) -> Iterator[tuple[str, str]]:
    """Each activation against relu, and each learned one against the fixed general ReLU."""
    for name in names:
        if name != "relu":
            yield name, "relu"
    fixed = [name for name in names if name.startswith("general_relu")]
    yield from ((name, other) for name in names if name.startswith("learned") for other in fixed)


if __name__ == "__main__":
    main()
