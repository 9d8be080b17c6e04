"""The training loop: set the learning rate, forward, backward, step; then validate; epoch by epoch."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrelu_bench.config import Activation
from lrelu_bench.data.loader import Batches
from lrelu_bench.protocols import Recipe
from lrelu_bench.results import Divergence, EpochRow
from lrelu_bench.training.activation_control import ActivationControl
from lrelu_bench.training.divergence import Culprit, FiniteGuard, LastGood
from lrelu_bench.training.optim import build_optimizer, set_hyperparameters
from lrelu_bench.training.precision import Compute
from lrelu_bench.training.schedules import SCHEDULES
from lrelu_bench.training.telemetry import TelemetryRecorder


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


@dataclass(frozen=True)
class Trained:
    """What an epoch's training gave, before validation."""

    loss: float
    """Mean per image."""
    lr: float
    """Of the last step."""
    images: int
    seconds: float


@dataclass
class Fit:
    """One training run in progress; iterate `epochs()` and read `predictions` at the end."""

    net: nn.Module
    loader: Batches
    recipe: Recipe
    compute: Compute
    seed: int
    on_step: Callable[[Step], None] = lambda step: None
    activation: Activation = Activation(name="relu")  # noqa: RUF009 (frozen)
    """The options of learning in force for the net's activations."""
    max_rewinds: int = 0
    """How often to go back to the last good epoch after a divergence, instead of stopping."""
    telemetry: TelemetryRecorder | None = None
    """Samples the activations while they train."""
    report_every: float = 0.5
    """Least seconds between two calls of `on_step`: each reads the loss, which waits for the device."""
    predictions: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))
    """Predicted class of every validation image at the last finished epoch, uint8."""
    last_good: LastGood = field(init=False)
    """The state after the last epoch whose numbers were finite; there once `epochs` has begun."""

    def __post_init__(self) -> None:
        device = self.compute.device
        channels = self.loader.split.source.channels
        self._mean = torch.tensor(self.recipe.mean[:channels], device=device) * 255
        self._std = torch.tensor(self.recipe.std[:channels], device=device) * 255

    def epochs(self, count: int) -> Iterator[EpochRow | Divergence]:
        """Train `count` epochs, validating after each; a divergence stands in place of an epoch that broke.

        After a divergence that is a `stop` nothing more comes; after a `rewind` training goes on behind the
        last good epoch.
        """
        self._begin(count)
        steps, epoch = self.loader.steps_per_epoch, 0
        while epoch < count:
            trained, culprit = self._train_epoch(epoch, count), self._guard.culprit()
            started = time.perf_counter()
            if culprit is None:
                valid_loss, correct = self.validate()
                if not math.isfinite(trained.loss + valid_loss):
                    culprit = Culprit(steps, "valid_loss" if math.isfinite(trained.loss) else "loss")
            if culprit is not None:
                divergence = self.last_good.answer(culprit, epoch + 1, epoch * steps)
                yield divergence
                if divergence.action == "stop":
                    return
                epoch = self.last_good.epoch
                continue
            epoch += 1
            row = EpochRow(
                epoch=epoch,
                train_loss=trained.loss,
                valid_loss=valid_loss,
                accuracy=correct / len(self.loader.split.valid),
                correct=correct,
                lr=trained.lr,
                train_seconds=trained.seconds,
                valid_seconds=time.perf_counter() - started,
                images_per_second=trained.images / trained.seconds,
            )
            if epoch < count:
                self.last_good.keep(epoch)
            yield row

    def _begin(self, count: int) -> None:
        self.net.to(self.compute.device).to(memory_format=torch.channels_last)
        torch.backends.cudnn.benchmark = True
        # What a result calls fp32 is fp32: cuDNN's convolutions would use TF32.
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
        options = self.activation
        self._optimizer, self._lookahead = build_optimizer(
            self.net, self.recipe, options.weight_decay, options.lr_mult or 1.0
        )
        self._scaler = self.compute.scaler()
        steps = count * self.loader.steps_per_epoch
        self._control = ActivationControl(self.net, options, steps, self._lookahead)
        self._guard = FiniteGuard(self.net, self.compute.device)
        self.last_good = LastGood(
            self.net, self._optimizer, self._lookahead, self._scaler, self._control, self.max_rewinds
        )

    def _train_epoch(self, epoch: int, count: int) -> Trained:
        """One epoch, counted from 0; cut short where it is seen to diverge."""
        optimizer, scaler, steps = self._optimizer, self._scaler, self.loader.steps_per_epoch
        schedule = SCHEDULES[self.recipe.schedule]
        # To ask the guard costs little on a CPU; elsewhere it waits for the device.
        asks_each_step = self.compute.device.type == "cpu"
        rng = np.random.default_rng((self.seed, epoch, 1))
        self.net.train()
        self._guard.start_epoch()
        total = torch.zeros((), device=self.compute.device)
        seen, started = 0, time.perf_counter()
        reported = started
        for step, (pixels, labels) in enumerate(self.loader.train_batches(epoch), epoch * steps):
            lr, momentum = schedule(self.recipe, step, count * steps)
            set_hyperparameters(optimizer, lr, momentum)
            if self.telemetry is not None:
                self.telemetry.before_step(step + 1, lr)
            loss = self.train_loss(*self.on_device(pixels, labels), rng)
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scale = scaler.get_scale()
            scaler.step(optimizer)
            scaler.update()
            # A scale that fell says that the gradients were not finite and the step was skipped.
            moved = scaler.get_scale() >= scale
            if self._lookahead is not None and moved:
                self._lookahead.after_step()
            self._guard.after_step(loss)
            self._control.after_step(step + 1, moved)
            if self.telemetry is not None:
                self.telemetry.after_step()
            optimizer.zero_grad(set_to_none=True)
            total += loss.detach() * len(labels)
            seen += len(labels)
            now = time.perf_counter()
            done = step + 1 - epoch * steps
            report = now - reported > self.report_every or done == steps
            if (report or asks_each_step) and self._guard.culprit():
                break
            if report:
                reported = now
                rate, share = seen / (now - started), (step + 1) / (count * steps)
                self.on_step(Step(epoch + 1, count, done, steps, total.item() / seen, rate, share))
        mean_loss = total.item() / seen
        return Trained(mean_loss, lr, seen, time.perf_counter() - started)

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
        # Copies that would wait for all that the device still has to do.
        share, order = (
            torch.from_numpy(values).to(images.device, non_blocking=True)
            for values in (np.maximum(drawn, 1 - drawn).astype(np.float32), rng.permutation(len(labels)))
        )
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
