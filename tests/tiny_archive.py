"""Tiny archives in the official layout, drawn as noise: no photograph is ever needed, or committed."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lrelu_bench.data.catalog import ARCHIVES, Archive

Member = tuple[str, bytes]


def tiny_archive(name: str = "imagewoof2-160", train: int = 4, val: int = 2, **changes: Any) -> Archive:
    """The catalogued archive, but with `train` and `val` images per class and no digests."""
    known = ARCHIVES[name]
    classes = len(known.classes)
    expected: dict[str, Any] = {"train": train * classes, "val": val * classes, "digests": ()}
    return replace(known, **{**expected, **changes})


def write_tiny_archive(
    path: Path,
    name: str = "imagewoof2-160",
    train: int = 4,
    val: int = 2,
    *,
    v1_val: int = 1,
    size: tuple[int, int] = (40, 60),
) -> Path:
    """Write a .tgz of `train` + `val` noise JPEGs per class, their sides drawn from `size` (both ends in).

    Of each class `v1_val` images are named `ILSVRC2012_val_*`: the first lies in train, further ones in val.
    """
    return write_members(path, tiny_members(name, train, val, v1_val=v1_val, size=size))


def tiny_members(
    name: str = "imagewoof2-160",
    train: int = 4,
    val: int = 2,
    *,
    v1_val: int = 1,
    size: tuple[int, int] = (40, 60),
) -> list[Member]:
    """(path in the archive, encoded bytes) of every member of a tiny archive, in no sorted order."""
    members: list[Member] = [(f"{name}/noisy_labels.csv", b"path,noisy_labels_0\n")]
    for label, (wnid, _) in enumerate(ARCHIVES[name].classes):
        # v2 spread v1's validation images over both folders; the tiny archive does too.
        v1_in_train = min(v1_val, 1, train)
        for folder, count, v1_count in (("train", train, v1_in_train), ("val", val, v1_val - v1_in_train)):
            for n in reversed(range(count)):
                serial = 1000 * label + 100 * (folder == "val") + n
                stem = f"ILSVRC2012_val_{serial:08d}" if n < v1_count else f"{wnid}_{serial}"
                members.append((f"{name}/{folder}/{wnid}/{stem}.JPEG", noise_jpeg(serial, size)))
    return members


def noise_jpeg(seed: int, size: tuple[int, int] = (40, 60)) -> bytes:
    """A JPEG of coarse noise; every seventh is greyscale, as some photographs are."""
    random = np.random.RandomState(seed)
    height, width = (int(side) for side in random.randint(size[0], size[1] + 1, size=2))
    noise = random.randint(0, 256, size=(8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((width, height))
    file = io.BytesIO()
    (image.convert("L") if seed % 7 == 0 else image).save(file, "JPEG", quality=80)
    return file.getvalue()


def write_members(path: Path, members: list[Member], extra: tuple[tarfile.TarInfo, ...] = ()) -> Path:
    """Write a .tgz of `members`, then of `extra` headers without data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in extra:
            tar.addfile(info)
    return path
