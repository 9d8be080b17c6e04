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

from lrelu_bench.evidence.differences import difference
from lrelu_bench.evidence.summaries import summarize
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
        found = [summarize(list(measure)) for measure in runs.T]
        cells = (f"{one.mean:.3g} ± {one.half_width:.2g}" for one in found)
        print(f"| {name} | {len(runs)} | {' | '.join(cells)} |")
    print(f"\n| difference | {' | '.join(MEASURES)} |\n|---|" + "---:|" * len(MEASURES))
    for first, second in pairs(list(numbers)):
        apart = [
            difference(list(own), list(theirs))
            for own, theirs in zip(numbers[first].T, numbers[second].T, strict=True)
        ]
        bounds = (f"{d.mean - d.half_width:.3g} to {d.mean + d.half_width:.3g}" for d in apart)
        print(f"| {first} - {second} | {' | '.join(bounds)} |")


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
