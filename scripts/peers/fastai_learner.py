"""P2: fastai's DataLoaders, xresnet and Learner."""

import math
import random
import time
from contextlib import suppress
from functools import partial
from itertools import repeat
from typing import Any

import torch
from fastai.basics import (
    Callback,
    CancelFitException,
    CancelValidException,
    DataLoaders,
    Learner,
    OptimWrapper,
    defaults,
)
from fastai.callback.channelslast import ChannelsLast
from fastai.callback.progress import ProgressCallback
from fastai.callback.schedule import Learner as _WithOneCycle  # noqa: F401 (adds fit_one_cycle)
from fastai.metrics import accuracy
from fastai.optimizer import Adam
from fastai.vision.augment import FlipItem, RandomResizedCrop
from fastai.vision.data import ImageDataLoaders, Normalize
from torch import nn

from peers.contender import Contender, Fitted, Window, WindowClosed, endlessly
from peers.nets import fastai_net, load_weights


class FastaiLearner(Contender):
    """What fastai's own tutorials do, with the cell's numbers; validation is RandomResizedCrop's own."""

    own_workers = int(defaults.cpus)

    def input(self, window: Window) -> None:
        with suppress(WindowClosed):
            for _ in window.over(endlessly(self._data().train)):
                pass

    def ready(self, window: Window) -> None:
        cell = self.cell
        images = torch.randn(cell.batch, 3, cell.size, cell.size, device=self.device)
        batch = images, torch.randint(10, (cell.batch,), device=self.device)
        batches = list(repeat(batch, window.length))
        self._timed(DataLoaders(batches, [batch], device=self.device), window)

    def training(self, window: Window) -> None:
        self._timed(self._data(), window)

    def _timed(self, data: Any, window: Window) -> None:
        epochs = max(self.cell.epochs, math.ceil(window.length / len(data.train)))
        self._train(self._learner(data, 0), epochs, _Ticks(window))

    def fit(self, seed: int) -> Fitted:
        torch.manual_seed(seed)
        random.seed(seed)
        learner, clock = self._learner(self._data(), seed), _Clock()
        self._train(learner, self.cell.epochs, clock)
        return Fitted(clock.seconds, float(learner.recorder.values[-1][-1]))

    def _data(self) -> Any:
        recipe, cell = self.cell.recipe, self.cell
        return ImageDataLoaders.from_folder(
            cell.images,
            item_tfms=[RandomResizedCrop(cell.size, min_scale=recipe["min_scale"]), FlipItem(0.5)],
            batch_tfms=[Normalize.from_stats(recipe["mean"], recipe["std"])],
            bs=cell.batch,
            val_bs=2 * cell.batch,
            num_workers=self.workers,
            device=self.device,
            pin_memory=self.tuned and self.device.type == "cuda",
        )

    def _learner(self, data: Any, seed: int) -> Any:
        recipe, net = self.cell.recipe, fastai_net(self.cell)
        load_weights(net, self.cell.weights_of(seed))
        options = {"eps": recipe["eps"]}
        tuned = partial(
            OptimWrapper,
            opt=torch.optim.AdamW,
            betas=(recipe["momentum_max"], recipe["sq_momentum"]),
            fused=True,
            **options,
        )
        learner = Learner(
            data,
            net.to(self.device),
            loss_func=nn.CrossEntropyLoss(label_smoothing=recipe["label_smoothing"]),
            opt_func=tuned if self.tuned else partial(Adam, sqr_mom=recipe["sq_momentum"], **options),
            metrics=accuracy,
            wd=recipe["weight_decay"],
            cbs=[ChannelsLast(), _Autocast(self)] if self.tuned else [],
        )
        learner.remove_cbs(ProgressCallback)
        learner.logger = _silent
        return learner

    def _train(self, learner: Any, epochs: int, callback: Callback) -> None:
        recipe = self.cell.recipe
        learner.fit_one_cycle(
            epochs,
            recipe["lr"],
            div=recipe["div_start"],
            div_final=recipe["div_end"],
            pct_start=recipe["pct_start"],
            moms=(recipe["momentum_max"], recipe["momentum_min"], recipe["momentum_max"]),
            cbs=[callback],
        )


class _Autocast(Callback):  # type: ignore[misc]
    """Mixed precision on any device, and images laid out for it: fastai's own casts on CUDA alone."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender

    def before_batch(self) -> None:
        images = (self.xb[0].contiguous(memory_format=torch.channels_last),)
        self.learn.xb = images
        self.context = self.contender.autocast()
        self.context.__enter__()  # type: ignore[no-untyped-call]

    def after_pred(self) -> None:
        self.learn.pred = self.pred.float()

    def after_loss(self) -> None:
        self.context.__exit__(None, None, None)


class _Clock(Callback):  # type: ignore[misc]
    """The seconds of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def before_epoch(self) -> None:
        self.started = time.perf_counter()

    def after_epoch(self) -> None:
        self.seconds.append(time.perf_counter() - self.started)


class _Ticks(Callback):  # type: ignore[misc]
    """A tick after each step, and no validation between epochs."""

    def __init__(self, window: Window) -> None:
        self.window = window

    def after_batch(self) -> None:
        if not self.training:
            return
        try:
            self.window.tick()
        except WindowClosed as closed:
            raise CancelFitException from closed

    def before_validate(self) -> None:
        raise CancelValidException


def _silent(*values: object) -> None:
    """A table of epochs has no place in the benchmark's output."""
