"""Publish results/: the tables of README.md and results/README.md, the report page and the figures.

    python scripts/publish.py            # after runs were added
    python scripts/publish.py --check    # writes nothing; exit code 1 where a table is stale

A table stands between `<!-- name:start -->` and `<!-- name:end -->`; the words around it are written by hand.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path

from lrelu_bench.atomic_file import write_atomically
from lrelu_bench.claims import posted_claims
from lrelu_bench.errors import BenchError
from lrelu_bench.report import comparison_plots, plots, publication
from lrelu_bench.report.claims import assess
from lrelu_bench.report.claims_view import claims_markdown
from lrelu_bench.report.compare import CompareRow
from lrelu_bench.report.inspect import InspectedRun
from lrelu_bench.report.learned import learned_table
from lrelu_bench.report.markdown import markdown, pooled_markdown
from lrelu_bench.report.output import judged_runs, write

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path("results")
_CELL = "imagewoof-v1-128px-{}-leaderboard-2019-{}"
INSIDE = {
    "xresnet18-v3-20-epochs": _CELL.format("20ep-xresnet18-learned_relu_v3", "414e0543"),
    "xresnet34-learned-5-epochs": _CELL.format("5ep-xresnet34-learned_relu", "a6f33a89"),
}
"""Figures of a run from inside: their folder, and the experiment in results/ whose lowest seed they show."""


def blocks(rows: Sequence[CompareRow], skipped: Sequence[str]) -> dict[str, dict[str, str]]:
    """The text of every block by file, from the root, and by name."""
    assessed = [assess(claim, rows) for claim in posted_claims()]
    return {
        "README.md": {"results": f"{publication.answer_table(rows)}\n\n{pooled_markdown(rows)}".rstrip()},
        "results/README.md": {
            "cells": publication.cells_table(rows),
            "claims": claims_markdown(assessed, ()),
            "learned": learned_table(rows),
            "statistics": markdown(rows, skipped),
        },
    }


def updated(name: str, text: str, block: str, content: str) -> str:
    """The text with the content between the block's marks; `BenchError` where they are not there once."""
    start, end = f"<!-- {block}:start -->", f"<!-- {block}:end -->"
    before, first, rest = text.partition(start)
    _, last, after = rest.partition(end)
    if not first or not last or text.count(start) + text.count(end) != 2:
        raise BenchError(f"{name}: needs one {start} and after it one {end}; add them where the table goes")
    return f"{before}{start}\n\n{content.rstrip()}\n\n{end}{after}"


def publish(root: Path, check: bool) -> list[str]:
    """Bring every file up to date, or with `check` none; returns those whose tables were stale."""
    # Named from the root, so that no page depends on where the checkout lies.
    with chdir(root):
        rows, skipped = judged_runs([RESULTS], "relu")
        new: dict[Path, str] = {}
        for name, contents in blocks(rows, skipped).items():
            old = text = Path(name).read_text(encoding="utf-8")
            for block, content in contents.items():
                text = updated(name, text, block, content)
            if text != old:
                new[Path(name)] = text
        if not check:
            for path, text in new.items():
                write_atomically(path, text)
            figures = RESULTS / "figures"
            figures.mkdir(exist_ok=True)
            comparison_plots.draw_comparison(rows, figures)
            for name, folder in INSIDE.items():
                if (RESULTS / folder).is_dir():
                    run = InspectedRun.load(RESULTS / folder)
                    title = f"{run.result.experiment}, seed {run.result.seed}"
                    plots.draw(run.telemetry, title, figures / name, "png")
            write(rows, skipped, "html", RESULTS / "report.html", force=False)
    return [str(path) for path in new]


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done or up to date, 1 stale (`--check`), 2 cannot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a table is stale")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of README.md and results/")
    options = parser.parse_args(arguments)
    try:
        stale = publish(options.root, options.check)
    except (BenchError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    if stale and options.check:
        print(f"{', '.join(stale)}: stale tables; run python scripts/publish.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
