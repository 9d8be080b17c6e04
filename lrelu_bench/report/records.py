"""The comparison as values for programs: CSV and JSON."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from lrelu_bench.csv_cells import printable
from lrelu_bench.evidence.verdicts import Verdict
from lrelu_bench.leaderboard import load_board
from lrelu_bench.report.compare import CompareRow, PooledRow, pooled_rows
from lrelu_bench.report.wording import Notes

JSON_SCHEMA_VERSION = 1


def _plain(row: CompareRow) -> dict[str, Any]:
    """Every value of a row under a name with its unit; lists stay lists, floats lose binary noise."""
    board = row.board
    values: dict[str, Any] = {
        "dataset": row.dataset,
        "version": row.version,
        "source_px": row.source,
        "subset_per_class": row.subset,
        "size_px": row.size,
        "epochs": row.epochs,
        "arch": row.arch,
        "protocol": row.protocol,
        "protocol_label": row.protocol_label,
        "deviations": list(row.deviations),
        "precision": row.precision,
        "activation": row.activation,
        "n": row.n,
        "n_measured": len(row.measured),
        "n_diverged": len(row.diverged),
        "n_unofficial_data": row.unofficial,
        "mean_pct": row.mean,
        "sd_points": row.sd,
        "interval_half_width_points": row.interval,
        "lowest_pct": row.lowest,
        "highest_pct": row.highest,
        "best_epoch_mean_pct": row.best_epoch,
        "seeds": list(row.seeds),
        "accuracies_pct": list(row.accuracies),
        "diverged": [asdict(run) for run in row.diverged],
        "valid_images": row.valid_images,
        "board_pct": board.accuracy if board else None,
        "board_entry": board.measured_with if board else None,
        "board_net": board.net if board else None,
        "board_protocol": board.protocol if board else None,
        "board_runs": board.runs_in_words if board else None,
        "board_url": board.url if board else None,
        "board_first_seen": board.first_seen.isoformat() if board else None,
        "board_last_seen": board.last_seen.isoformat() if board else None,
        "board_history": (load_board().source or "package") if board else None,
        "comparison": row.comparison,
        "comparison_reason": row.reason,
        "runs_above_board": row.above_board,
        "difference_points": row.difference,
        "baseline": row.baseline,
        **_verdict(row.verdict),
        "folders": [str(run.folder) for run in row.runs],
        "claims": [asdict(claim) for claim in row.claims],
    }
    return {name: _rounded(value) for name, value in values.items()}


def _verdict(verdict: Verdict | None) -> dict[str, Any]:
    difference = verdict.difference if verdict else None
    interval = verdict.images_interval if verdict else None
    return {
        "verdict": verdict.word if verdict else None,
        "verdict_reason": verdict.reason if verdict else None,
        "vs_baseline_points": difference.mean if difference else None,
        "vs_baseline_half_width_points": difference.half_width if difference else None,
        "p_welch": difference.p_welch if difference else None,
        "p_holm": verdict.p_adjusted if verdict else None,
        "comparisons": verdict.comparisons if verdict else None,
        "p_permutation": difference.p_permutation if difference else None,
        "superiority": difference.superiority if difference else None,
        "images_interval_low_points": interval[0] if interval else None,
        "images_interval_high_points": interval[1] if interval else None,
    }


def _pooled(one: PooledRow, rows: Sequence[CompareRow]) -> dict[str, Any]:
    """A verdict over cells; `rows` are the places of its cells' rows in the document's."""
    found = one.evidence
    interval = found.images_interval
    values: dict[str, Any] = {
        "protocol_label": one.protocol,
        "activation": one.activation,
        "baseline": one.baseline,
        "rows": [index for index, row in enumerate(rows) if row.pooled == one],
        "cells": found.cells,
        "cells_above": found.above,
        "cells_diverged": one.diverged_cells,
        "n_variant": found.variant_runs,
        "n_baseline": found.baseline_runs,
        "verdict": found.word,
        "verdict_reason": found.reason,
        "vs_baseline_points": found.estimate.mean,
        "vs_baseline_half_width_points": found.estimate.half_width,
        "degrees_of_freedom": found.estimate.degrees,
        "p_welch": found.estimate.p,
        "p_holm": found.p_adjusted,
        "comparisons": found.comparisons,
        "images_interval_low_points": interval[0] if interval else None,
        "images_interval_high_points": interval[1] if interval else None,
    }
    return {name: _rounded(value) for name, value in values.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value


def as_csv(rows: Iterable[CompareRow]) -> str:
    """One line per row of the comparison, below a header."""
    text = io.StringIO()
    lines = [{name: printable(_flat(name, value)) for name, value in _plain(row).items()} for row in rows]
    writer = csv.DictWriter(text, fieldnames=lines[0] if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _flat(name: str, value: Any) -> Any:
    """One CSV cell: lists joined by `; `, a claim as its sentence."""
    if name == "diverged":
        return "; ".join(f"seed {run['seed']} after {run['epochs_done']} epochs" for run in value)
    if name == "claims":
        return "; ".join(f"{claim['id']} {claim['reaches'] or ''}".strip() for claim in value)
    if isinstance(value, list):
        return "; ".join("" if item is None else str(item) for item in value)
    return value


def as_json(rows: Sequence[CompareRow], skipped: Sequence[str]) -> str:
    """All rows with their notes and what was skipped; floats to six digits."""
    document: dict[str, Any] = {
        "schema_version": JSON_SCHEMA_VERSION,
        "rows": [_plain(row) for row in rows],
        "notes": Notes(rows, skipped).lines,
        "skipped": list(skipped),
    }
    pools = pooled_rows(rows)
    if pools:
        document["over_cells"] = [_pooled(one, rows) for one in pools]
    return json.dumps(document, indent=1) + "\n"
