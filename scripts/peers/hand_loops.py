"""P1 and P3: a loop written by hand around timm's net, fed by torchvision's or by timm's loader."""

import time
from abc import abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from peers.contender import Contender, Fitted, Window, WindowClosed, endlessly
from peers.nets import load_weights, parameter_groups, timm_net

Batches = Iterable[tuple[Tensor, Tensor]]


class HandLoop(Contender):
    """The usual loop; a subclass says where batches come from."""

    @abstractmethod
    def train_loader(self) -> Any:
        """Sized batches of normalised, augmented images, shuffled, the last incomplete one dropped."""

    @abstractmethod
    def valid_loader(self) -> Any:
        """Batches of normalised validation images."""

    def input(self, window: Window) -> None:
        with suppress(WindowClosed):
            for batch in window.over(endlessly(self.train_loader())):
                self.batch_on_device(*batch)

    def ready(self, window: Window) -> None:
        cell = self.cell
        images = torch.randn(cell.batch, 3, cell.size, cell.size, device=self.device)
        labels = torch.randint(10, (cell.batch,), device=self.device)
        # Laid out before the clock starts, as a batch that is ready would be.
        images = images.contiguous(memory_format=self._layout)
        self._train(window, repeat((images, labels)), window.length)

    def training(self, window: Window) -> None:
        loader = self.train_loader()
        self._train(window, endlessly(loader), max(window.length, len(loader) * self.cell.epochs))

    def _train(self, window: Window, batches: Batches, steps: int) -> None:
        trainer = Trainer(self, 0, steps)
        with suppress(WindowClosed):
            trainer.train(window.over(batches))

    def fit(self, seed: int) -> Fitted:
        torch.manual_seed(seed)
        train, valid = self.train_loader(), self.valid_loader()
        trainer = Trainer(self, seed, len(train) * self.cell.epochs)
        seconds = []
        for _ in range(self.cell.epochs):
            started = time.perf_counter()
            trainer.train(train)
            accuracy = trainer.accuracy(valid)
            seconds.append(time.perf_counter() - started)
        return Fitted(seconds, accuracy)

    @property
    def _layout(self) -> torch.memory_format:
        return torch.channels_last if self.tuned else torch.contiguous_format

    def batch_on_device(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The batch where, and laid out as, the net wants it."""
        images = images.to(self.device, non_blocking=True, memory_format=self._layout)
        return images, labels.to(self.device, non_blocking=True)

    def net(self, seed: int) -> torch.nn.Module:
        """The net with a seed's initial weights."""
        net = timm_net(self.cell)
        load_weights(net, self.cell.weights_of(seed))
        return net.to(self.device).to(memory_format=self._layout)


class Trainer:
    """Net, optimizer and schedule of one training."""

    def __init__(self, loop: HandLoop, seed: int, steps: int) -> None:
        recipe, self.loop, self.net = loop.cell.recipe, loop, loop.net(seed)
        self.smoothing = recipe["label_smoothing"]
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.net, recipe["weight_decay"]),
            lr=recipe["lr"],
            betas=(recipe["momentum_max"], recipe["sq_momentum"]),
            eps=recipe["eps"],
            fused=loop.tuned or None,
        )
        # The peak is the cell's very step: torch counts from the end of the step before.
        rising = max(1, int(steps * recipe["pct_start"]))
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            recipe["lr"],
            total_steps=steps + 1,
            pct_start=(rising + 1) / (steps + 1),
            div_factor=recipe["div_start"],
            final_div_factor=recipe["div_end"] / recipe["div_start"],
            base_momentum=recipe["momentum_min"],
            max_momentum=recipe["momentum_max"],
        )

    def train(self, batches: Batches) -> None:
        """One epoch."""
        self.net.train()
        for batch in batches:
            images, labels = self.loop.batch_on_device(*batch)
            with self.loop.autocast():
                loss = F.cross_entropy(self.net(images), labels, label_smoothing=self.smoothing)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad(set_to_none=True)

    @torch.inference_mode()
    def accuracy(self, batches: Batches) -> float:
        """Share of the validation images classified rightly."""
        self.net.eval()
        right, seen = torch.zeros((), dtype=torch.long, device=self.loop.device), 0
        for batch in batches:
            images, labels = self.loop.batch_on_device(*batch)
            with self.loop.autocast():
                right += (self.net(images).argmax(1) == labels).sum()
            seen += len(labels)
        return right.item() / seen


class TorchvisionTimm(HandLoop):
    """P1: torchvision's ImageFolder and transforms, torch's DataLoader, timm's net."""

    def train_loader(self) -> Any:
        from torchvision import transforms as T

        steps = [
            T.RandomResizedCrop(self.cell.size, scale=(self.cell.recipe["min_scale"], 1.0)),
            T.RandomHorizontalFlip(),
        ]
        return self._loader("train", steps, self.cell.batch, shuffle=True, drop_last=True)

    def valid_loader(self) -> Any:
        from torchvision import transforms as T

        steps = [T.Resize(self.cell.size + 32), T.CenterCrop(self.cell.size)]
        return self._loader("valid", steps, 2 * self.cell.batch)

    def _loader(self, part: str, steps: list[Any], batch: int, **options: Any) -> Any:
        from torchvision import datasets
        from torchvision import transforms as T

        normalise = T.Normalize(self.cell.recipe["mean"], self.cell.recipe["std"])
        images = datasets.ImageFolder(
            Path(self.cell.images) / part, T.Compose([*steps, T.ToTensor(), normalise])
        )
        return torch.utils.data.DataLoader(
            images,
            batch,
            num_workers=self.workers,
            persistent_workers=self.tuned and self.workers > 0,
            pin_memory=self.tuned and self.device.type == "cuda",
            **options,
        )


class TimmLoader(HandLoop):
    """P3: timm's dataset, transforms and prefetching loader, and its net."""

    own_workers = 1

    def train_loader(self) -> Any:
        return self._loader(
            "train", self.cell.batch, True, scale=(self.cell.recipe["min_scale"], 1.0), color_jitter=None
        )

    def valid_loader(self) -> Any:
        size = self.cell.size
        return self._loader("valid", 2 * self.cell.batch, False, crop_pct=size / (size + 32))

    def _loader(self, part: str, batch: int, training: bool, **options: Any) -> Any:
        from timm.data import ImageDataset, create_loader

        return create_loader(
            ImageDataset(str(Path(self.cell.images) / part)),
            self.cell.size,
            batch,
            is_training=training,
            interpolation="bilinear",
            mean=tuple(self.cell.recipe["mean"]),
            std=tuple(self.cell.recipe["std"]),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=self.tuned and self.device.type == "cuda",
            device=self.device,
            **options,
        )
