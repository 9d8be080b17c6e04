"""From folders to judged rows, and a comparison to a file, without losing one that somebody else wrote."""

from collections.abc import Sequence
from pathlib import Path

from lrelu_bench.atomic_file import write_atomically
from lrelu_bench.errors import BenchError
from lrelu_bench.report.compare import CompareRow, collect
from lrelu_bench.report.compare import rows as compare_rows
from lrelu_bench.report.judging import judged
from lrelu_bench.report.render import Format, render

_MARKS: dict[Format, tuple[str, str]] = {
    "html": ("<!doctype html>", '<meta name="generator" content="lrelu-bench '),
    "md": ("| Data | px | Epochs | Net | Protocol |", ""),
    "latex": ("% \\usepackage{booktabs}, and with pdfLaTeX", ""),
    "csv": ("dataset,version,source_px,subset_per_class,", ""),
    "json": ('{\n "schema_version": ', '\n "rows": ['),
}
"""Per format, how a file of ours begins, and what stands near it besides. A table has no mark."""
_BEGINNING = 4096


def judged_runs(paths: Sequence[Path], baseline: str) -> tuple[list[CompareRow], list[str]]:
    """The rows of all finished runs in these folders with their verdicts, and a sentence on each one skipped.

    Raises `BenchError` as `compare.collect` and `judging.judged` do.
    """
    found, skipped = collect(paths)
    return judged(compare_rows(found), skipped, baseline), skipped


def write(rows: Sequence[CompareRow], skipped: Sequence[str], format: Format, path: Path, force: bool) -> str:
    """Write a comparison; returns what was written, such as `report.html: 9 rows of 25 runs, 226 kB`.

    Raises `BenchError` where that would destroy what lrelu-bench did not write and `force` does not ask for
    it, and where the file cannot be written.
    """
    _require_ours(path, format, force)
    text = render(rows, skipped, format)
    write_atomically(path, text)
    runs = sum(row.n for row in rows)
    counted = f"{len(rows)} row{'s' * (len(rows) != 1)} of {runs} run{'s' * (runs != 1)}"
    return f"{path}: {counted}, {max(1, round(len(text.encode()) / 1000)):,} kB"


def _require_ours(path: Path, format: Format, force: bool) -> None:
    # Who compares again after each run replaces the last comparison of the same format, and nothing else. An
    # empty file has nothing to lose.
    if path.is_dir():
        raise BenchError(f"{path}: is a folder; name a file, such as {path / 'report.html'}")
    if path.exists() and not path.is_file():
        raise BenchError(f"{path}: is no plain file; leave --output out to write to a terminal or a pipe")
    if force:
        return
    try:
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING).decode(errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise BenchError(
            f"{path}: cannot read what is there ({error.strerror}); name another file"
        ) from error
    first, near = _MARKS.get(format, ("\0", ""))
    if beginning and not (beginning.startswith(first) and near in beginning):
        raise BenchError(
            f"{path}: is there already and not a comparison of this format by lrelu-bench; "
            "name another file or replace it with --force"
        )
