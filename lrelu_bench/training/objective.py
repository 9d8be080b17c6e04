"""From a batch as a loader gives it to the loss of the net, on the device that trains."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lrelu_bench.protocols import Recipe
from lrelu_bench.training.precision import Compute

Net = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Mix:
    """What mixup does to a batch of N images: as fastai's, a weight for each from Beta(alpha, alpha)."""

    share: Tensor
    """float32 (N,): the larger one, of the image itself."""
    order: Tensor
    """int64 (N,): the image that has the rest."""


def draw_mixes(
    alpha: float, rng: np.random.Generator, sizes: Sequence[int], device: torch.device
) -> list[Mix]:
    """An epoch's mixes for batches of these sizes, drawn in their order and copied to the device at once."""
    drawn = [(rng.beta(alpha, alpha, size), rng.permutation(size)) for size in sizes]
    shares = np.concatenate([np.maximum(share, 1 - share) for share, _ in drawn]).astype(np.float32)
    orders = np.concatenate([order for _, order in drawn])
    parts = (torch.split(torch.from_numpy(values).to(device), list(sizes)) for values in (shares, orders))
    return [Mix(share, order) for share, order in zip(*parts, strict=True)]


class Objective:
    """The recipe's normalisation and losses.

    Args:
        channels: of the images.
    """

    def __init__(self, recipe: Recipe, compute: Compute, channels: int) -> None:
        self.compute, self.smoothing = compute, recipe.label_smoothing
        self._mean = torch.tensor(recipe.mean[:channels], device=compute.device) * 255
        self._std = torch.tensor(recipe.std[:channels], device=compute.device) * 255

    def on_device(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (N, H, W, C) to a normalised, channels_last (N, C, H, W) float batch, and its labels."""
        pixels = pixels.to(self.compute.device, non_blocking=True)
        labels = labels.to(self.compute.device, non_blocking=True)
        return ((pixels - self._mean) / self._std).permute(0, 3, 1, 2), labels

    def train_loss(self, net: Net, images: Tensor, labels: Tensor, mix: Mix | None = None) -> Tensor:
        """Label-smoothed cross entropy of a batch, of mixed-up images if there is a mix (a scalar)."""
        if mix is None:
            with self.compute.autocast():
                return F.cross_entropy(net(images), labels, label_smoothing=self.smoothing)
        weights = mix.share.view(-1, 1, 1, 1)
        with self.compute.autocast():
            logits = net(images * weights + images[mix.order] * (1 - weights))
            own, other = (
                F.cross_entropy(logits, target, label_smoothing=self.smoothing, reduction="none")
                for target in (labels, labels[mix.order])
            )
        return (mix.share * own + (1 - mix.share) * other).mean()

    def valid_loss(self, net: Net, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of the images' losses (a scalar), and the logits (N, classes)."""
        with self.compute.autocast():
            logits = net(images)
            loss = F.cross_entropy(logits, labels, label_smoothing=self.smoothing, reduction="sum")
        return loss, logits
