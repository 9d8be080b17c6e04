"""What can happen to a decoded cache on a disk: `CACHE_FAULTS`, each a way to harm one.

Harm the folder of a whole cache, then open the data: what is damaged must be found, said and built anew.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class CacheFault:
    """One harm; `what` is a pattern that the words for it match."""

    name: str
    harm: Callable[[Path], object]
    what: str


def flip(path: Path, at: float, bit: int = 0) -> None:
    """Flip a bit of the byte at `at`, a fraction of the file's length."""
    content = bytearray(path.read_bytes())
    content[min(int(at * len(content)), len(content) - 1)] ^= 1 << bit
    path.write_bytes(content)


def _cut(name: str, keep: float) -> Callable[[Path], object]:
    def harm(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(keep * len(content))])

    return harm


def _zeroed(folder: Path) -> None:
    """What a crash of the machine leaves of pages that never reached the disk."""
    with (folder / "pixels.bin").open("r+b") as file:
        file.seek(8192)
        file.write(bytes(4096))


def _swapped(folder: Path) -> None:
    content = (folder / "pixels.bin").read_bytes()
    (folder / "pixels.bin").write_bytes(content[4096:8192] + content[:4096] + content[8192:])


def _longer(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes() + b"tail")


def _other_labels(folder: Path) -> None:
    with np.load(folder / "index.npz") as index:
        columns = dict(index)
    columns["labels"] = columns["labels"][::-1]
    np.savez(folder / "index.npz", **columns)


def _changed_meta(**changes: object) -> Callable[[Path], object]:
    def harm(folder: Path) -> None:
        meta = json.loads((folder / "meta.json").read_text())
        (folder / "meta.json").write_text(json.dumps({**meta, **changes}))

    return harm


def _meta(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "meta.json").write_text(text)


def _in_the_way(name: str) -> Callable[[Path], object]:
    def harm(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return harm


CACHE_FAULTS = [
    CacheFault("a bit of the first pixel", lambda at: flip(at / "pixels.bin", 0), "1 of .* blocks changed"),
    CacheFault("a bit in the middle", lambda at: flip(at / "pixels.bin", 0.5, 7), "1 of .* blocks changed"),
    CacheFault("a bit of the last pixel", lambda at: flip(at / "pixels.bin", 1), "1 of .* blocks changed"),
    CacheFault("a page of zeros", _zeroed, "1 of .* blocks changed"),
    CacheFault("pages swapped", _swapped, "blocks changed"),
    CacheFault("pixels cut", _cut("pixels.bin", 0.7), "pixels.bin has .* bytes, not"),
    CacheFault("pixels empty", _cut("pixels.bin", 0), "empty file"),
    CacheFault("pixels longer", _longer("pixels.bin"), "pixels.bin has .* bytes, not"),
    CacheFault("pixels gone", lambda at: (at / "pixels.bin").unlink(), "pixels.bin is missing"),
    CacheFault("pixels a folder", _in_the_way("pixels.bin"), "directory"),
    CacheFault("a bit of the index", lambda at: flip(at / "index.npz", 0.5), "index.npz does not have"),
    CacheFault("labels in another order", _other_labels, "index.npz does not have"),
    CacheFault("index cut", _cut("index.npz", 0.9), "index.npz does not have"),
    CacheFault("index longer", _longer("index.npz"), "index.npz does not have"),
    CacheFault("index gone", lambda at: (at / "index.npz").unlink(), "index.npz is missing"),
    CacheFault("index a folder", _in_the_way("index.npz"), "directory"),
    CacheFault("meta cut", _cut("meta.json", 0.5), "."),
    CacheFault("meta empty", _meta(""), "."),
    CacheFault("meta gone", lambda at: (at / "meta.json").unlink(), "meta.json is missing"),
    CacheFault("meta of bytes", lambda at: (at / "meta.json").write_bytes(b"\xff\xfe\x00"), "."),
    CacheFault("meta a list", _meta("[1, 2]"), "meta.json is no mapping"),
    CacheFault("meta nested without end", _meta("[" * 100_000), "."),
    CacheFault(
        "meta of another digest", _changed_meta(digest="sha256:" + "0" * 64), "meta.json does not have"
    ),
    CacheFault("meta that claims official bytes", _changed_meta(official=True), "meta.json does not have"),
    CacheFault("meta of no schema", _changed_meta(schema=0), "meta.json does not have"),
    CacheFault("meta without its digest", _changed_meta(meta_digest=None), "meta.json does not have"),
    CacheFault("all gone but the folder", lambda at: (shutil.rmtree(at), at.mkdir()), "meta.json is missing"),
]
"""What can happen to a cache."""


def as_schema_1(folder: Path, pixels_digest: str) -> None:
    """Rewrite the meta of a cache as the first schema had it."""
    meta = json.loads((folder / "meta.json").read_text())
    kept = ("archive", "dataset", "digest", "official", "count", "pixel_bytes", "pillow")
    older = {"schema": 1, **{key: meta[key] for key in kept}, "pixels_digest": pixels_digest}
    (folder / "meta.json").write_text(json.dumps(older, indent=2) + "\n")
