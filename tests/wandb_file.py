"""What stands in a `.wandb` file, read here and not by W&B: its records in LevelDB's log format."""

import json
import struct
from pathlib import Path
from typing import Any

BLOCK, HEADER = 32768, 7
WHOLE, LAST = 1, 4


def records(path: Path) -> list[Any]:
    """Every record, as W&B's protocol buffer."""
    from wandb.proto import wandb_internal_pb2

    content = path.read_bytes()
    found, parts, at = [], b"", HEADER
    while at + HEADER <= len(content):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + HEADER])
        parts += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (WHOLE, LAST):
            found.append(wandb_internal_pb2.Record.FromString(parts))
            parts = b""
    return found


def values(items: Any) -> dict[str, Any]:
    """Names and values of a record's items; a value within a value is `name/inner`."""
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


class OfflineRun:
    """What W&B would show of a run."""

    def __init__(self, path: Path) -> None:
        self.history: dict[int, dict[str, Any]] = {}
        self.summary: dict[str, Any] = {}
        for record in records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self.config = values(record.run.config.update)
            elif kind == "history":
                self.history[record.history.step.num] = values(record.history.item)
            elif kind == "summary":
                self.summary |= values(record.summary.update)
            elif kind == "exit":
                self.exit_code = record.exit.exit_code
