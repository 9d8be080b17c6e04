"""Batches of transformed images, prepared ahead by a background thread.

Pillow and NumPy release the interpreter lock while they work, so threads suffice: no worker processes to
start, feed or lose, and on two cores none that steals one from the convolutions.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lrelu_bench.data.datasets import Split
from lrelu_bench.data.transforms import CROPS, VALIDATIONS, Crops, random_crops
from lrelu_bench.protocols import Recipe

Batch = tuple[Tensor, Tensor]
"""Images uint8 (N, size, size, channels) and labels int64 (N,)."""
AHEAD = 2
"""Batches prepared before they are asked for."""


class Batches(ABC):
    """Training and validation batches of a split under a recipe: which images, in which order, cut how.

    Args:
        size: side of the squares the net sees, px.
    """

    made_by: ClassVar[str]
    """What computes the pixels, as a run's environment records it. Runs of all kinds share a row: where their
    pixels differ at all, it is by one grey level, as between releases of Pillow."""

    def __init__(self, split: Split, recipe: Recipe, size: int, seed: int) -> None:
        self.split, self.recipe, self.size, self.seed = split, recipe, size, seed

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        return self.recipe.steps_per_epoch(len(self.split.train))

    @abstractmethod
    def train_batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """One shuffled, augmented epoch (0-based) from its batch `start` (0-based) on.

        The same for the same seed and epoch.
        """

    @abstractmethod
    def valid_batches(self) -> Iterator[Batch]:
        """The validation set in order, in batches twice the training size."""

    def _drawn(self, epoch: int) -> tuple[np.ndarray, Crops | None]:
        """The images of an epoch in order, and where they are cropped, if they are."""
        rng = np.random.default_rng((self.seed, epoch))
        order, source = rng.permutation(self.split.train), self.split.source
        if self.recipe.crop == "none":
            return order, None
        sizes = source.heights[order], source.widths[order]
        return order, random_crops(rng, *sizes, self.recipe.min_scale, self.recipe.crop == "extent")

    def _train_bounds(self) -> list[int]:
        n, batch = len(self.split.train), self.recipe.batch_size
        return [min(step * batch, n) for step in range(self.steps_per_epoch + 1)]

    @property
    def train_batch_sizes(self) -> list[int]:
        """Images in each training batch of an epoch."""
        return [stop - start for start, stop in pairwise(self._train_bounds())]

    def _valid_bounds(self) -> list[int]:
        n = len(self.split.valid)
        return [*range(0, n, 2 * self.recipe.batch_size), n]


class Loader(Batches):
    """Batches that Pillow makes on the CPU, in threads.

    Args:
        workers: threads that transform images; one is enough beside a CPU that trains.
        pin: put batches in page-locked memory, for asynchronous copies to a GPU.
    """

    made_by = "pillow"

    def __init__(
        self, split: Split, recipe: Recipe, size: int, seed: int, workers: int = 1, pin: bool = False
    ) -> None:
        super().__init__(split, recipe, size, seed)
        self.workers, self.pin = workers, pin

    def train_batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """One epoch, as `Batches` says."""
        (order, crops), source = self._drawn(epoch), self.split.source
        bounds = self._train_bounds()[start:]
        if crops is None:
            return self._prefetched(order, bounds, lambda i: source.image(order[i]))
        drawn, crop = crops, CROPS[self.recipe.crop]

        def transform(position: int) -> np.ndarray:
            pixels = crop(source.image(order[position]), drawn.box(position), self.size)
            return pixels[:, ::-1] if drawn.flip[position] else pixels

        return self._prefetched(order, bounds, transform)

    def valid_batches(self) -> Iterator[Batch]:
        """The validation set in order, in batches twice the training size."""
        order, source = self.split.valid, self.split.source
        validate = VALIDATIONS[self.recipe.validation]
        return self._prefetched(
            order, self._valid_bounds(), lambda i: validate(source.image(order[i]), self.size)
        )

    def _prefetched(
        self, order: np.ndarray, bounds: list[int], transform: Callable[[int], np.ndarray]
    ) -> Iterator[Batch]:
        labels = torch.from_numpy(self.split.source.labels[order])
        with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor(self.workers) as pool:

            def prepare(start: int, stop: int) -> Batch:
                shape = (stop - start, self.size, self.size, self.split.source.channels)
                batch = torch.empty(shape, dtype=torch.uint8, pin_memory=self.pin)
                pixels = batch.numpy()

                def fill(i: int) -> None:
                    pixels[i - start] = transform(i)

                # Reading the results raises what a thread raised.
                for _ in pool.map(fill, range(start, stop)):
                    pass
                return batch, labels[start:stop]

            pending: deque[Future[Batch]] = deque()
            for start, stop in pairwise(bounds):
                pending.append(ahead.submit(prepare, start, stop))
                if len(pending) > AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
