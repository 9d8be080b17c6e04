"""Write `lrelu_bench/reference/speeds.csv`, by which sweeps are estimated, from this repository's results.

python scripts/record_speeds.py
"""

import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from lrelu_bench.sweep.estimate import Speed, measured_speeds

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "lrelu_bench" / "reference" / "speeds.csv"
COLUMNS = [
    "arch",
    "size",
    "activation",
    "batch_size",
    "precision",
    "kind",
    "device",
    "runs_at_once",
    "images_per_second",
    "runs",
    "source",
]


def rows(root: Path = ROOT) -> list[dict[str, str]]:
    """A row per net, size, activation, batch, precision and device that the repository has runs of."""
    results = root / "results"
    folders = [results, *sorted(path for path in results.iterdir() if path.is_dir())]
    found = [(folder, speed) for folder in folders for speed in measured_speeds(folder).known]
    lines = [_row(speed, folder.relative_to(root).as_posix()) for folder, speed in found if not speed.brief]
    for path in sorted(results.glob("benchmarks/*-training.json")):
        lines += [_row(speed, path.relative_to(root).as_posix()) for speed in _benchmarked(path)]
    return sorted(lines, key=lambda row: (row["kind"] != "gpu", [row[name] for name in COLUMNS]))


def _benchmarked(path: Path) -> Iterable[Speed]:
    """The speeds of a benchmark of whole runs of woof128 in bf16, each at the latest commit it has."""
    told = json.loads(path.read_text())
    latest = {}
    for run in told["runs"]:
        if run["cuda_graph"]:  # as a run has it unless it is told otherwise
            key = run["arch"], run["activation"], run["batch_size"], run["seeds_at_once"]
            # The first epochs begin with what is done once.
            latest[key] = run["images_per_second_by_epoch_of_seed_0"][-1] * run["seeds_at_once"]
    for (arch, activation, batch_size, at_once), speed in latest.items():
        gpu = told["hardware"]["gpu"]
        yield Speed(arch, 128, activation, batch_size, "bf16", gpu, True, speed, at_once, str(path))


def _row(speed: Speed, source: str) -> dict[str, str]:
    values = {
        **vars(speed),
        "kind": "gpu" if speed.gpu else "cpu",
        "images_per_second": f"{speed.images_per_second:.4g}",
        "source": source,
    }
    return {name: str(values[name]) for name in COLUMNS}


def main() -> None:
    """Write the table."""
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows())
    print(f"{TABLE.relative_to(ROOT)}: {len(rows())} rows", file=sys.stderr)


if __name__ == "__main__":
    main()
