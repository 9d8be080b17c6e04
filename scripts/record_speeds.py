"""Write `lrelu_bench/reference/speeds.csv`, by which sweeps are estimated, from this repository's results.

python scripts/record_speeds.py
"""

import csv
import sys
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
    folders = [root / "results", *sorted(path for path in (root / "results").iterdir() if path.is_dir())]
    found = [(folder, speed) for folder in folders for speed in measured_speeds(folder).known]
    lines = [_row(speed, folder.relative_to(root).as_posix()) for folder, speed in found if not speed.brief]
    return sorted(lines, key=lambda row: (row["kind"] != "gpu", [row[name] for name in COLUMNS]))


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
