"""The training loop: set the learning rate, forward, backward, step; then validate; epoch by epoch."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrelu_bench.data.loader import Loader
from lrelu_bench.protocols import Recipe
from lrelu_bench.results import EpochRow
from lrelu_bench.training.optim import build_optimizer, set_hyperparameters
from lrelu_bench.training.precision import Compute
from lrelu_bench.training.schedules import SCHEDULES


@dataclass(frozen=True)
class Step:
    """Where training stands, for a progress display."""

    epoch: int
    epochs: int
    step: int
    steps: int
    """Done and total optimizer steps of this epoch."""
    loss: float
    """Mean training loss of this epoch so far."""
    images_per_second: float
    done: float
    """Share of all training steps done."""


@dataclass
class Fit:
    """One training run in progress; iterate `epochs()` and read `predictions` at the end."""

    net: nn.Module
    loader: Loader
    recipe: Recipe
    compute: Compute
    seed: int
    on_step: Callable[[Step], None] = lambda step: None
    activation_weight_decay: float = 0.0
    report_every: float = 0.5
    """Least seconds between two calls of `on_step`: each reads the loss, which waits for the device."""
    predictions: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))
    """Predicted class of every validation image at the last finished epoch, uint8."""

    def __post_init__(self) -> None:
        device = self.compute.device
        channels = self.loader.split.source.channels
        self._mean = torch.tensor(self.recipe.mean[:channels], device=device) * 255
        self._std = torch.tensor(self.recipe.std[:channels], device=device) * 255

    def epochs(self, count: int) -> Iterator[EpochRow]:
        """Train `count` epochs, validating after each. Stops early where a loss is not finite."""
        self.net.to(self.compute.device).to(memory_format=torch.channels_last)
        torch.backends.cudnn.benchmark = True
        # What a result calls fp32 is fp32: cuDNN's convolutions would use TF32.
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
        optimizer, lookahead = build_optimizer(self.net, self.recipe, self.activation_weight_decay)
        scaler = self.compute.scaler()
        schedule = SCHEDULES[self.recipe.schedule]
        steps = self.loader.steps_per_epoch
        for epoch in range(count):
            rng = np.random.default_rng((self.seed, epoch, 1))
            self.net.train()
            total = torch.zeros((), device=self.compute.device)
            seen, started = 0, time.perf_counter()
            reported = started
            for step, (pixels, labels) in enumerate(self.loader.train_batches(epoch)):
                lr, momentum = schedule(self.recipe, epoch * steps + step, count * steps)
                set_hyperparameters(optimizer, lr, momentum)
                loss = self.train_loss(*self.on_device(pixels, labels), rng)
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                scaler.step(optimizer)
                if lookahead is not None and not self.overflowed(scaler, optimizer):
                    lookahead.after_step()
                scaler.update()
                optimizer.zero_grad(set_to_none=True)
                total += loss.detach() * len(labels)
                seen += len(labels)
                now = time.perf_counter()
                if now - reported > self.report_every or step + 1 == steps:
                    reported = now
                    done = (epoch * steps + step + 1) / (count * steps)
                    rate = seen / (now - started)
                    self.on_step(Step(epoch + 1, count, step + 1, steps, total.item() / seen, rate, done))
            train_loss = total.item() / seen
            trained = time.perf_counter()
            valid_loss, correct = self.validate()
            n = len(self.loader.split.valid)
            yield EpochRow(
                epoch=epoch + 1,
                train_loss=train_loss,
                valid_loss=valid_loss,
                accuracy=correct / n,
                correct=correct,
                lr=lr,
                train_seconds=trained - started,
                valid_seconds=time.perf_counter() - trained,
                images_per_second=seen / (trained - started),
            )
            if not np.isfinite([train_loss, valid_loss]).all():
                return

    def overflowed(self, scaler: torch.amp.GradScaler, optimizer: torch.optim.Optimizer) -> bool:
        """Whether the scaler skipped this step because a gradient was not finite (fp16 alone)."""
        if not scaler.is_enabled():
            return False
        return any(
            not torch.isfinite(parameter.grad).all()
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        )

    def on_device(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (N, H, W, C) to a normalised, channels_last (N, C, H, W) float batch, and its labels."""
        pixels = pixels.to(self.compute.device, non_blocking=True)
        labels = labels.to(self.compute.device, non_blocking=True)
        return ((pixels - self._mean) / self._std).permute(0, 3, 1, 2), labels

    def train_loss(self, images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
        """Label-smoothed cross entropy of a batch, of mixed-up images where the recipe says so (a scalar).

        Mixup as fastai's: one weight per image from Beta(alpha, alpha), the larger share to the image itself.
        """
        smoothing = self.recipe.label_smoothing
        if not self.recipe.mixup:
            with self.compute.autocast():
                return F.cross_entropy(self.net(images), labels, label_smoothing=smoothing)
        alpha = self.recipe.mixup
        drawn = rng.beta(alpha, alpha, len(labels))
        share = torch.from_numpy(np.maximum(drawn, 1 - drawn).astype(np.float32)).to(images.device)
        order = torch.from_numpy(rng.permutation(len(labels))).to(images.device)
        weights = share.view(-1, 1, 1, 1)
        with self.compute.autocast():
            logits = self.net(images * weights + images[order] * (1 - weights))
            own, other = (
                F.cross_entropy(logits, target, label_smoothing=smoothing, reduction="none")
                for target in (labels, labels[order])
            )
        return (share * own + (1 - share) * other).mean()

    @torch.inference_mode()
    def validate(self) -> tuple[float, int]:
        """(mean validation loss, number of images classified rightly); keeps the predictions."""
        self.net.eval()
        predictions, correct = [], torch.zeros((), dtype=torch.long, device=self.compute.device)
        total = torch.zeros((), device=self.compute.device)
        for pixels, labels in self.loader.valid_batches():
            images, target = self.on_device(pixels, labels)
            with self.compute.autocast():
                logits = self.net(images)
                total += F.cross_entropy(
                    logits, target, label_smoothing=self.recipe.label_smoothing, reduction="sum"
                )
            predicted = logits.argmax(1)
            correct += (predicted == target).sum()
            predictions.append(predicted)
        self.predictions = torch.cat(predictions).to(torch.uint8).cpu().numpy()
        return total.item() / len(self.predictions), int(correct.item())
