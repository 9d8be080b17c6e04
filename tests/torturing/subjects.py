"""The runs that are tortured: every optimizer and option of learning, on a net of a thousand weights."""

from pathlib import Path
from typing import Any

import yaml

_PLAIN: dict[str, Any] = {
    "dataset": "procedural",
    "size": 32,
    "arch": "xresnet18",
    "protocol": "leaderboard-2019",
    "epochs": 3,
    "batch_size": 8,
    "subset": 2,
    "precision": "fp32",
    "activation": "learned_relu",
}
_RANGER = {"protocol": "leaderboard-2020"}


def _learned(**options: Any) -> dict[str, Any]:
    return {"activation": {"name": "learned_relu", **options}}


SUBJECTS: dict[str, dict[str, Any]] = {
    "adam": {},
    "ranger": _RANGER,
    "sgd": {"recipe": {"optimizer": "sgd"}},
    "course": {"protocol": "course-2019", "activation": "learned_relu_v2"},
    "mixup": {"mixup": 0.4, "activation": "relu"},
    "bf16": {"precision": "bf16"},
    "layer": _learned(granularity="layer", lr_mult=3.0, weight_decay=0.01),
    "learn": _learned(learn=["leak"]),
    "bounds": _learned(bounds={"leak": [0.0, 0.06], "sub": [0.2, 0.3]}),
    "ema": _learned(ema=0.9),
    "ema forward": _RANGER | _learned(ema=0.9, ema_use="forward"),
    "freeze": _learned(freeze_at=0.5, ema=0.8),
    "freeze ranger": _RANGER | _learned(freeze_at=0.4),
    "rewind": {"on_divergence": "rewind"},
    "diverging": {},
    "own class": {"activation": "noisy:Noisy"},
    "prelu": {"activation": "prelu"},
}
"""What each changes of the plain config."""

OWN_CLASS = '''"""An activation that draws from every random generator there is, and counts in a buffer."""

import random

import numpy as np
import torch


class Noisy(torch.nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.full((channels, 1, 1), 0.1))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.calls += 1
            x = x * (1 + 0.01 * torch.rand(()) + 0.01 * random.random() + 0.01 * np.random.rand())
        return torch.where(x > 0, x, x * self.slope) + 0.001 * self.calls
'''


def write(folder: Path, name: str) -> Path:
    """The subject's config in `folder`, where its own class lies, too."""
    (folder / "noisy.py").write_text(OWN_CLASS)
    path = folder / f"{name.replace(' ', '-')}.yaml"
    path.write_text(yaml.safe_dump(_PLAIN | SUBJECTS[name]))
    return path


def prepare(name: str) -> None:
    """Give this process the small net, and the subject what breaks it, by its state alone."""
    import torch
    from tiny_net import tiny_net

    from lrelu_bench import runner
    from lrelu_bench.training.step import EagerStepper

    torch.set_num_threads(1)
    runner.build_net = lambda experiment: tiny_net(experiment.activation)  # type: ignore[assignment]
    if name not in ("rewind", "diverging"):
        return
    step = EagerStepper.step

    def breaking(self: EagerStepper, number: int, pixels: torch.Tensor, labels: torch.Tensor) -> None:
        step(self, number, pixels, labels)
        whole = all(group["lr_mult"] == 1 for group in self.parts.optimizer.param_groups)
        if number == 3 and whole:
            with torch.no_grad():
                self.parts.net[5].leak.fill_(torch.nan)
            self.parts.guard.after_step(torch.zeros(()))

    EagerStepper.step = breaking  # type: ignore[method-assign]
