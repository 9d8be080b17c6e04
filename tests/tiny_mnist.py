"""MNIST in the official files' format, but tiny and of random pixels."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from lrelu_bench.data import mnist

COUNTS = {"train": 40, "t10k": 30}


def pixels(part: str) -> np.ndarray:
    """The images of a file, uint8 (n, 28, 28)."""
    rng = np.random.default_rng(COUNTS[part])
    return rng.integers(0, 256, (COUNTS[part], 28, 28), dtype=np.uint8)


def labels(part: str) -> np.ndarray:
    """The labels of a file, uint8 (n,)."""
    return (np.arange(COUNTS[part]) % 10).astype(np.uint8)


def write_tiny_mnist(
    folder: Path, monkeypatch: pytest.MonkeyPatch, parts: tuple[str, ...] = tuple(COUNTS)
) -> Path:
    """Write the files of `parts` into `folder` and have the package take all four for the official ones."""
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for part, count in COUNTS.items():
        images = b"\0\0\x08\x03" + np.array([count, 28, 28], ">u4").tobytes() + pixels(part).tobytes()
        classes = b"\0\0\x08\x01" + np.array([count], ">u4").tobytes() + labels(part).tobytes()
        for name, content in (("images-idx3", images), ("labels-idx1", classes)):
            packed = gzip.compress(content, mtime=0)
            digests[f"{part}-{name}-ubyte.gz"] = hashlib.md5(packed).hexdigest()
            if part in parts:
                (folder / f"{part}-{name}-ubyte.gz").write_bytes(packed)
    monkeypatch.setattr(mnist, "FILES", digests)
    monkeypatch.setattr(mnist, "COUNTS", {"mnist": (40, 30), "mnist-t10k": (27, 3)})
    return folder
