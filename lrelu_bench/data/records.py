"""What is known of an archive file, kept beside it."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from lrelu_bench.data.disk import torn_writes, write_whole


@dataclass(frozen=True)
class Record:
    """What is known of an archive file, kept in `<name>.json` beside `<name>.tgz`.

    `official` says that a published digest matched; `pinned` that none is published and the first download's
    counts from then on; `origin` is an address or the bare name of the file it was imported from.
    """

    archive: str
    sha256: str
    bytes: int
    official: bool
    pinned: bool
    origin: str
    detail: str


def read_record(path: Path) -> Record | None:
    """The record in the file at `path`; None where there is none or it is damaged."""
    try:
        record = Record(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    types = {"archive": str, "sha256": str, "bytes": int, "official": bool, "pinned": bool}
    typed = all(isinstance(getattr(record, name), kind) for name, kind in types.items())
    return record if typed and len(record.sha256) == 64 else None


def write_record(path: Path, record: Record) -> None:
    """Write it whole or not at all; the caller holds the archive's lock. Raises BenchError as `writing`."""
    for torn in torn_writes(path):
        with suppress(OSError):
            torn.unlink()
    write_whole(path, json.dumps(asdict(record), indent=2) + "\n")
