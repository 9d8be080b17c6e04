"""A net of two activation sites and the state of its training, small enough to step in a millisecond."""

import torch
from torch import nn
from torch.nn import functional as F

from lrelu_bench.activation_config import Activation
from lrelu_bench.activations.base import learned_activations
from lrelu_bench.activations.factory import activation_factory
from lrelu_bench.protocols import PROTOCOLS
from lrelu_bench.training.activation_control import ActivationControl
from lrelu_bench.training.optim import build_optimizer, set_hyperparameters

PROTOCOL_OF = {"adam": "leaderboard-2019", "ranger": "leaderboard-2020"}


def tiny_net(options, seed=0):
    """Sites `2` and `5`, each behind a batch norm, for images (N, 3, H, W)."""
    torch.manual_seed(seed)
    act = activation_factory(options)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        act(4),
        nn.Conv2d(4, 6, 3, stride=2),
        nn.BatchNorm2d(6),
        act(6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 10),
    )


class Training:
    """The loop's steps on random batches, the batch of a step following from its number."""

    def __init__(self, optimizer="adam", lr=0.05, steps=24, seed=0, **options):
        self.options = Activation.model_validate({"name": "learned_relu"} | options)
        self.net = tiny_net(self.options, seed)
        recipe = PROTOCOLS[PROTOCOL_OF[optimizer]]("imagewoof", 128, 5)
        self.optimizer, self.lookahead = build_optimizer(
            self.net, recipe, self.options.weight_decay, self.options.lr_mult or 1.0
        )
        self.control = ActivationControl(self.net, self.options, steps, self.lookahead)
        self.lr, self.done = lr, 0

    def step(self):
        generator = torch.Generator().manual_seed(self.done)
        images = torch.randn(8, 3, 12, 12, generator=generator)
        labels = torch.randint(10, (8,), generator=generator)
        set_hyperparameters(self.optimizer, self.lr, 0.9)
        self.net.train()
        F.cross_entropy(self.net(images), labels).backward()
        self.optimizer.step()
        if self.lookahead:
            self.lookahead.after_step()
        self.done += 1
        self.control.after_step(self.done)
        self.optimizer.zero_grad(set_to_none=True)

    def parameters(self):
        """Copies of the activations' parameters by path."""
        return {
            f"{path}.{name}": parameter.detach().clone()
            for path, module in learned_activations(self.net)
            for name, parameter in module.named_parameters()
        }

    def parts(self):
        parts = {"net": self.net, "optimizer": self.optimizer, "control": self.control}
        return parts | ({"lookahead": self.lookahead} if self.lookahead else {})
