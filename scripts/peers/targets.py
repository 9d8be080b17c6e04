"""What the product is to reach, and whether a benchmark's rows say that it does."""

from collections.abc import Mapping, Sequence
from typing import Any

from peers.names import AGAIN, KEEPING, TUNED_PEERS

TARGETS = {("training", "relu"): 1.10, ("training", "learned_relu"): 1.35, ("cold", "relu"): 1.5}
"""By row and activation: so many times the best tuned peer's speed, on a CPU."""
LEAST_BLOCKS = 5
"""Of fewer, the interval holds the median in three of four cases, not in nineteen of twenty."""


def targets(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What each target's row says: reached, missed, or open where the interval holds the target,
    or where there are too few blocks for an interval.

    Beside it, where they ran: the ratio to the peer with our malloc setting, and of the product to itself.
    """
    judged = []
    for row in rows:
        wanted = TARGETS.get((row["row"], row["activation"]))
        best = None if wanted is None or row["device"] != "cpu" else best_tuned(row)
        if best is None:
            continue
        ratio = row["contenders"][best]["ours_faster_by"]
        outcome = "reached" if ratio["low"] >= wanted else "missed" if ratio["high"] < wanted else "open"
        if len(row["contenders"][best]["seconds"]) < LEAST_BLOCKS:
            outcome = "open"
        judged.append(
            {"row": row["row"], "activation": row["activation"], "target": wanted, "against": best}
            | {"ratio": ratio, "outcome": outcome, "noise": _ratio(row, AGAIN)}
            | {"with_our_malloc": _ratio(row, KEEPING)}
        )
    return judged


def best_tuned(row: Mapping[str, Any]) -> str | None:
    """The fastest tuned peer of a row."""
    peers = {name: one for name, one in row["contenders"].items() if name in TUNED_PEERS}
    rated = {name: one["ours_faster_by"]["median"] for name, one in peers.items() if "ours_faster_by" in one}
    return min(rated, key=lambda name: rated[name], default=None)


def _ratio(row: Mapping[str, Any], name: str) -> Any:
    return row["contenders"].get(name, {}).get("ours_faster_by")
