"""Writing a comparison to a file without losing one that somebody else wrote."""

from collections.abc import Sequence
from pathlib import Path

from lrelu_bench.errors import BenchError
from lrelu_bench.report.compare import CompareRow
from lrelu_bench.report.render import Format

_MARKS: dict[Format, tuple[str, str]] = {
    "html": ("<!doctype html>", '<meta name="generator" content="lrelu-bench '),
    "md": ("| Data | px | Epochs | Net | Protocol |", ""),
    "latex": ("% \\usepackage{booktabs}, and with pdfLaTeX", ""),
    "csv": ("dataset,version,source_px,subset_per_class,", ""),
    "json": ('{\n "schema_version": ', '\n "rows": ['),
}
"""Per format, how a file of ours begins, and what stands near it besides. A table has no mark."""
_BEGINNING = 4096


def require_ours(path: Path, format: Format, force: bool) -> None:
    """Raises `BenchError` where writing to `path` would destroy what lrelu-bench did not write.

    Who compares again after each run replaces the last comparison of the same format; anything else that is
    there stays unless `force` says otherwise. An empty file has nothing to lose.
    """
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


def summary(path: Path, text: str, rows: Sequence[CompareRow]) -> str:
    """What was written: `report.html: 9 rows of 25 runs, 226 kB`."""
    runs = sum(row.n for row in rows)
    counted = f"{len(rows)} row{'s' * (len(rows) != 1)} of {runs} run{'s' * (runs != 1)}"
    return f"{path}: {counted}, {max(1, round(len(text.encode()) / 1000)):,} kB"
