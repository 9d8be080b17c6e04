"""The training loop: set the learning rate, forward, backward, step; then validate; epoch by epoch."""

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from lrelu_bench.activation_config import Activation
from lrelu_bench.data.loader import Batches
from lrelu_bench.protocols import Recipe
from lrelu_bench.results import Divergence, EpochRow
from lrelu_bench.training.activation_control import ActivationControl
from lrelu_bench.training.captured import CapturedStepper, CudaGraphs, captures
from lrelu_bench.training.checkpoint import random_state, set_random_state
from lrelu_bench.training.compiled import compiled
from lrelu_bench.training.divergence import Culprit, FiniteGuard
from lrelu_bench.training.last_good import LastGood
from lrelu_bench.training.late_reading import LateReading
from lrelu_bench.training.objective import Mix, Objective, draw_mixes
from lrelu_bench.training.optim import build_optimizer
from lrelu_bench.training.precision import Compute
from lrelu_bench.training.step import EagerStepper, Parts, Stepper
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
class Place:
    """Where in the shuffled epochs a run stands."""

    epoch: int = 0
    """Epochs done, validation included."""
    step: int = 0
    """Optimizer steps done of the next."""
    images: int = 0
    """Trained on in those steps."""
    seconds: float = 0.0
    """Spent on them."""


@dataclass
class Fit:
    """One training run in progress; iterate `epochs()` and read `predictions` at the end."""

    net: nn.Module
    loader: Batches
    recipe: Recipe
    compute: Compute
    seed: int
    on_step: Callable[[Step], None] = lambda step: None
    on_note: Callable[[str], None] = lambda line: None
    """Told, in one line, what a user should know of how the steps are taken."""
    activation: Activation = Activation(name="relu")  # noqa: RUF009 (frozen)
    """The options of learning in force for the net's activations."""
    max_rewinds: int = 0
    """How often to go back to the last good epoch after a divergence, instead of stopping."""
    telemetry: TelemetryRecorder | None = None
    """Samples the activations while they train."""
    report_every: float = 0.5
    """Least seconds between two calls of `on_step`."""
    predictions: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))
    """Predicted class of every validation image at the last finished epoch, uint8."""
    place: Place = field(default_factory=Place)
    """Where the run stands."""
    last_good: LastGood = field(init=False)
    """The state after the last epoch whose numbers were finite; there once `epochs` has begun."""
    _epoch_so_far: tuple[torch.Tensor, dict[str, torch.Tensor]] | None = field(default=None, init=False)
    """Of an epoch that a state is in the middle of: the sum of its losses, and what its guard counted."""
    _random_before: dict[str, Any] | None = field(default=None, init=False)
    """Where the random generators stood when the validation under way began."""

    def __post_init__(self) -> None:
        self.objective = Objective(self.recipe, self.compute, self.loader.split.source.channels)

    def epochs(self, count: int) -> Iterator[EpochRow | Divergence]:
        """Train `count` epochs, validating after each; a divergence stands in place of an epoch that broke.

        After a divergence that is a `stop` nothing more comes; after a `rewind` training goes on behind the
        last good epoch.
        """
        return (event for event in self.in_steps(count) if event is not None)

    def in_steps(
        self, count: int, state: dict[str, Any] | None = None
    ) -> Iterator[EpochRow | Divergence | None]:
        """`epochs`, and None after each step and each batch of validation: others may have a turn.

        Whenever something has come, `state()` is what a later call goes on from, to the same numbers.
        """
        self._begin(count)
        if state is not None:
            self._load(state)
        steps, place = self.loader.steps_per_epoch, self.place
        while place.epoch < count:
            trained = yield from self._train_epoch(count)
            culprit, started = self._guard.culprit(), time.perf_counter()
            if culprit is None:
                valid_loss, correct = yield from self.validate()
                if not math.isfinite(trained.loss + valid_loss):
                    culprit = Culprit(steps, "valid_loss" if math.isfinite(trained.loss) else "loss")
            if culprit is not None:
                divergence = self.last_good.answer(culprit, place.epoch + 1, place.epoch * steps)
                if divergence.action == "rewind":
                    self._stepper.state_replaced()
                    self._go_to(self.last_good.epoch)
                yield divergence
                if divergence.action == "stop":
                    return
                continue
            row = EpochRow(
                epoch=place.epoch + 1,
                train_loss=trained.loss,
                valid_loss=valid_loss,
                accuracy=correct / len(self.loader.split.valid),
                correct=correct,
                lr=trained.lr,
                train_seconds=trained.seconds,
                valid_seconds=time.perf_counter() - started,
                images_per_second=trained.images / trained.seconds,
            )
            self._go_to(row.epoch)
            if row.epoch < count:
                self.last_good.keep(row.epoch)
            yield row

    def _go_to(self, epoch: int) -> None:
        self.place.epoch, self.place.step, self.place.images, self.place.seconds = epoch, 0, 0, 0.0

    def state(self) -> dict[str, Any]:
        """All that the numbers to come depend on, as tensors and plain values; nothing is copied."""
        return {
            "parts": {name: part.state_dict() for name, part in self.last_good.parts.items()},
            "last_good": self.last_good.state_dict(),
            "place": asdict(self.place),
            "total": self._stepper.total,
            "guard": self._guard.state_dict(),
            "telemetry": None if self.telemetry is None else self.telemetry.state_dict(),
            # A validation that is cut short begins anew.
            "random": self._random_before or random_state(self.compute.device),
        }

    def _load(self, state: dict[str, Any]) -> None:
        for name, part in self.last_good.parts.items():
            part.load_state_dict(state["parts"][name])
        self.last_good.load_state_dict(state["last_good"])
        self._stepper.state_replaced()
        self.place = Place(**state["place"])
        # Between two epochs they still speak of the one before.
        self._epoch_so_far = (state["total"], state["guard"]) if self.place.step else None
        if self.telemetry is not None:
            self.telemetry.load_state_dict(state["telemetry"])
        # Last: whatever was built before may have drawn numbers.
        set_random_state(state["random"], self.compute.device)

    def _begin(self, count: int) -> None:
        self.net.to(self.compute.device).to(memory_format=torch.channels_last)
        torch.backends.cudnn.benchmark = True
        # What a result calls fp32 is fp32: cuDNN's convolutions would use TF32.
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
        options = self.activation
        captured = captures(self.compute, self.recipe, options)
        self._optimizer, self._lookahead = build_optimizer(
            self.net, self.recipe, options.weight_decay, options.lr_mult or 1.0, scheduled=captured
        )
        scaler, steps = self.compute.scaler(), count * self.loader.steps_per_epoch
        self._control = ActivationControl(self.net, options, steps, self._lookahead)
        self._guard = FiniteGuard(self.net, self.compute.device)
        self.last_good = LastGood(
            self.net, self._optimizer, self._lookahead, scaler, self._control, self.max_rewinds
        )
        parts = Parts(
            self.net,
            compiled(self.net, self.compute, self._first_images) if self.compute.compile else self.net,
            self.objective,
            self._optimizer,
            self._lookahead,
            scaler,
            self._control,
            self._guard,
        )
        self._stepper: Stepper = (
            CapturedStepper(parts, self.recipe, steps, CudaGraphs(), self.on_note)
            if captured
            else EagerStepper(parts, self.recipe, steps)
        )

    def _first_images(self) -> torch.Tensor:
        return self.objective.on_device(*next(self.loader.train_batches(0)))[0]

    def _train_epoch(self, count: int) -> Generator[None, None, Trained]:
        """An epoch from where the run stands in it; cut short where it is seen to diverge."""
        stepper, steps, place = self._stepper, self.loader.steps_per_epoch, self.place
        first = place.epoch * steps
        stepper.telemetry = self.telemetry
        stepper.start_epoch(first + place.step, steps - place.step, self._mixes(place.epoch)[place.step :])
        if self._epoch_so_far is not None:
            losses, guarded = self._epoch_so_far
            stepper.total.copy_(losses)
            self._guard.load_state_dict(guarded)
            self._epoch_so_far = None
        # To ask the guard costs little on a CPU; elsewhere it waits for the device.
        asks_each_step = self.compute.device.type == "cpu"
        reading = LateReading[tuple[int, int, float]](self.compute.device, 2)
        self.net.train()
        began = time.perf_counter() - place.seconds
        reported = time.perf_counter()
        for pixels, labels in self.loader.train_batches(place.epoch, place.step):
            stepper.step(first + place.step, pixels, labels)
            self.last_good.is_now = False
            now = time.perf_counter()
            place.step += 1
            place.images += len(labels)
            place.seconds = now - began
            if asks_each_step and self._guard.culprit():
                break
            if place.step == steps:
                reading.answer(wait=True)  # an older one would stand in the way of the last
            if now - reported > self.report_every or place.step == steps:
                reported = now
                numbers = torch.stack([stepper.total, self._guard.all_finite()])
                reading.ask(numbers, (place.step, place.images, now))
            answer = reading.answer(wait=place.step == steps)
            if answer is not None:
                (total, finite), (then, images, moment) = answer
                if not finite:
                    break
                rate, share = images / (moment - began), (first + then) / (count * steps)
                self.on_step(Step(place.epoch + 1, count, then, steps, total / images, rate, share))
            yield
        mean_loss, lr = (
            stepper.total.item() / place.images,
            stepper.hyperparameters(first + place.step - 1)[0],
        )
        place.seconds = time.perf_counter() - began
        return Trained(mean_loss, lr, place.images, place.seconds)

    def _mixes(self, epoch: int) -> list[Mix]:
        if not self.recipe.mixup:
            return []
        rng = np.random.default_rng((self.seed, epoch, 1))
        return draw_mixes(self.recipe.mixup, rng, self.loader.train_batch_sizes, self.compute.device)

    def validate(self) -> Generator[None, None, tuple[float, int]]:
        """Returns (mean validation loss, number of images classified rightly); keeps the predictions."""
        self.net.eval()
        self._random_before = random_state(self.compute.device)
        predictions, correct = [], torch.zeros((), dtype=torch.long, device=self.compute.device)
        total = torch.zeros((), device=self.compute.device)
        for pixels, labels in self.loader.valid_batches():
            with torch.inference_mode():
                images, target = self.objective.on_device(pixels, labels)
                loss, logits = self.objective.valid_loss(self.net, images, target)
                predicted = logits.argmax(1)
                total += loss
                correct += (predicted == target).sum()
            predictions.append(predicted)
            yield
        self._random_before = None
        self.predictions = torch.cat(predictions).to(torch.uint8).cpu().numpy()
        return total.item() / len(self.predictions), int(correct.item())
