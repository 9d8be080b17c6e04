"""Write the comparison of results/ between the results marks of README.md; --check says if it is stale."""

import argparse
import sys
from pathlib import Path

from lrelu_bench.atomic_file import write_atomically
from lrelu_bench.errors import BenchError
from lrelu_bench.report.compare import collect, rows
from lrelu_bench.report.judging import judged
from lrelu_bench.report.markdown import markdown

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- results:start -->", "<!-- results:end -->"


def updated(readme: str, table: str) -> str:
    """The README with the table between its marks; raises `BenchError` where the marks are not there once."""
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end or readme.count(START) + readme.count(END) != 2:
        raise BenchError(
            f"README.md: needs one {START} and after it one {END}; add them where the table goes"
        )
    return f"{before}{START}\n\n{table}\n{END}{after}"


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done or up to date, 1 stale (`--check`), 2 cannot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where README.md is stale")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of README.md and results/")
    options = parser.parse_args(arguments)
    path = options.root / "README.md"
    try:
        runs, skipped = collect([options.root / "results"])
        judged_rows = judged(rows(runs), skipped)
        # Named from the root, so that the README does not depend on where the checkout lies.
        skipped = [sentence.replace(f"{options.root}/", "") for sentence in skipped]
        old = path.read_text(encoding="utf-8")
        new = updated(old, markdown(judged_rows, skipped))
        if new != old and not options.check:
            write_atomically(path, new)
    except (BenchError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    if new != old and options.check:
        print("README.md: the results table is stale; run python scripts/update_readme.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
