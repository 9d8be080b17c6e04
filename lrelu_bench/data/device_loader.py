"""Batches made where the net trains, from pixels that were put there once."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch

from lrelu_bench.data import batched
from lrelu_bench.data.batched import Places, Transform
from lrelu_bench.data.datasets import Split
from lrelu_bench.data.loader import Batch, Batches
from lrelu_bench.data.transforms import largest_crop
from lrelu_bench.protocols import Recipe

_STAGED = 64 << 20
"""Bytes that are copied to the device at a time."""
_TOGETHER = 256
"""Images that are made at a time, of several batches where those are smaller: to start a transform's kernels
takes the host as long for few images as for many."""
_LARGEST_WINDOW = 1024
"""Longest side, px, of what an image is made of: every image of a batch takes as much room as the largest."""


class DeviceImages:
    """The pixels of a split's images on a device, side by side as they are: uint8, no size changed.

    One object serves the loaders of any seed and recipe over the same split.

    Raises `torch.OutOfMemoryError` where the device has no room; `obstacle` tells before.
    """

    def __init__(self, split: Split, device: torch.device) -> None:
        source, images = split.source, _images(split)
        areas = source.heights[images].astype(np.int64) * source.widths[images]
        self.split = split
        self._offsets = np.full(len(source), -1, dtype=np.int64)
        self._offsets[images] = np.cumsum(areas) - areas
        self.pixels = torch.empty((int(areas.sum()), source.channels), dtype=torch.uint8, device=device)
        staged: list[np.ndarray] = []
        start = filled = 0
        for i in images:
            staged.append(source.image(i).reshape(-1, source.channels))
            filled += len(staged[-1])
            if filled * source.channels >= _STAGED or i == images[-1]:
                self.pixels[start : start + filled] = torch.from_numpy(np.concatenate(staged))
                start, filled = start + filled, 0
                staged.clear()

    def places(self, order: np.ndarray) -> Places:
        """Where these images lie."""
        source = self.split.source
        return Places(self._offsets[order], source.heights[order], source.widths[order])


class DeviceLoader(Batches):
    """Batches made on the device that the images are on, in `Loader`'s order and with its crops and flips.

    The pixels are those of `lrelu_bench.data.batched`: at most one grey level from Pillow's.
    """

    made_by = "batched"

    def __init__(self, images: DeviceImages, recipe: Recipe, size: int, seed: int) -> None:
        super().__init__(images.split, recipe, size, seed)
        self.images = images

    def train_batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """One epoch, as `Batches` says."""
        order, crops = self._drawn(epoch)
        transform = batched.training(self.recipe.crop, self.images.places(order), crops, self.size)
        return self._made(order, self._train_bounds()[start:], transform)

    def valid_batches(self) -> Iterator[Batch]:
        """The validation set in order, in batches twice the training size."""
        order = self.split.valid
        transform = batched.validation(self.recipe.validation, self.images.places(order), self.size)
        return self._made(order, self._valid_bounds(), transform)

    def _made(self, order: np.ndarray, bounds: list[int], transform: Transform) -> Iterator[Batch]:
        pixels = self.images.pixels
        # All that an epoch is made from goes over at once; no batch waits for the host.
        table, labels = (
            torch.from_numpy(values).to(pixels.device)
            for values in (transform.table, self.split.source.labels[order])
        )
        batches = list(pairwise(bounds))
        if not batches:
            return
        at_once = max(1, _TOGETHER // (bounds[1] - bounds[0]))
        for i in range(0, len(batches), at_once):
            group = batches[i : i + at_once]
            first = group[0][0]
            made = transform(pixels, table[:, first : group[-1][1]])
            for start, stop in group:
                yield made[start - first : stop - first], labels[start:stop]


def obstacle(split: Split, recipe: Recipe, free: int) -> str | None:
    """Why a split's images cannot be prepared on a device with `free` bytes to spare, as a clause, or None.

    The bytes are those that training leaves.
    """
    source, images = split.source, _images(split)
    heights, widths = source.heights[images].astype(np.int64), source.widths[images].astype(np.int64)
    longest = max(largest_crop(heights, widths)) if recipe.crop == "resize" else 0
    if recipe.validation == "squash":
        longest = max(longest, int(source.heights[split.valid].max()), int(source.widths[split.valid].max()))
    if longest > _LARGEST_WINDOW:
        return f"images of up to {longest:,} px are too large to be prepared on the GPU in batches"
    needed = int((heights * widths).sum()) * source.channels + batched.WORKING_BYTES
    if needed > free:
        return (
            f"the images need {needed / 1e9:.1f} GB of GPU memory and {max(free, 0) / 1e9:.1f} GB are free "
            "beside the training"
        )
    return None


def _images(split: Split) -> np.ndarray:
    """Every image of a split once, in the source's order."""
    found: np.ndarray = np.unique(np.concatenate([split.train, split.valid]))
    return found
