"""Batches of transformed images, prepared ahead by a background thread.

Pillow and NumPy release the interpreter lock while they work, so threads suffice: no worker processes to
start, feed or lose, and on two cores none that steals one from the convolutions.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from lrelu_bench.data.datasets import Split
from lrelu_bench.data.transforms import CROPS, VALIDATIONS, random_crops
from lrelu_bench.protocols import Recipe

Batch = tuple[Tensor, Tensor]
"""Images uint8 (N, size, size, channels) and labels int64 (N,)."""
AHEAD = 2
"""Batches prepared before they are asked for."""


class Loader:
    """Training and validation batches of a split under a recipe.

    Args:
        size: side of the squares the net sees, px.
        workers: threads that transform images; one is enough beside a CPU that trains.
        pin: put batches in page-locked memory, for asynchronous copies to a GPU.
    """

    def __init__(
        self, split: Split, recipe: Recipe, size: int, seed: int, workers: int = 1, pin: bool = False
    ) -> None:
        self.split, self.recipe, self.size, self.seed = split, recipe, size, seed
        self.workers, self.pin = workers, pin

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        return self.recipe.steps_per_epoch(len(self.split.train))

    def _train_bounds(self) -> list[int]:
        n, batch = len(self.split.train), self.recipe.batch_size
        return [min(step * batch, n) for step in range(self.steps_per_epoch + 1)]

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        """One shuffled, augmented epoch (0-based); the same for the same seed and epoch."""
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(self.split.train)
        source = self.split.source
        if self.recipe.crop == "none":
            return self._prefetched(order, self._train_bounds(), lambda i: source.image(order[i]))
        crop = CROPS[self.recipe.crop]
        crops = random_crops(
            rng,
            source.heights[order],
            source.widths[order],
            self.recipe.min_scale,
            self.recipe.crop == "extent",
        )

        def transform(position: int) -> np.ndarray:
            pixels = crop(source.image(order[position]), crops.box(position), self.size)
            return pixels[:, ::-1] if crops.flip[position] else pixels

        return self._prefetched(order, self._train_bounds(), transform)

    def valid_batches(self) -> Iterator[Batch]:
        """The validation set in order, in batches twice the training size."""
        order, batch = self.split.valid, 2 * self.recipe.batch_size
        bounds = [*range(0, len(order), batch), len(order)]
        validate = VALIDATIONS[self.recipe.validation]
        source = self.split.source
        return self._prefetched(order, bounds, lambda i: validate(source.image(order[i]), self.size))

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
