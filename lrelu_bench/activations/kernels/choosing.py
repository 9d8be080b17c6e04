"""Whether a fused pass is faster than torch's batch norm and the activation behind it: measured, once.

On a GPU that depends on the device, the versions of torch and cuDNN, and on what a launch costs beside the
work. The first question of a kind is answered by timing both on tensors made for it; the answer then holds
for the process, so that all seeds of a session are computed alike.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Step = Callable[[], object]
"""Forward and backward once."""
Timer = Callable[[Step], float]
"""The time of a step; in which unit does not matter."""
Site = Callable[[Tensor, nn.BatchNorm2d, Any, Tensor | None], Tensor]
"""What is measured, called with x, the norm, (leak, sub, maxv) and the residual; for plain ReLU with ()."""

SHAPES = ((64, 64, 32, 32), (64, 256, 8, 8))
"""An early and a late layer of an xresnet at 128 px, each measured with and without a residual."""
WARM_UP, ROUNDS, REPEATS = 3, 3, 5
CYCLES = 4e9
"""Of a device, for each second that the host takes to queue steps: at 2 GHz it sleeps twice as long."""

_Kind = tuple[torch.device, torch.dtype, int]
_chosen: dict[_Kind, bool] = {}


def launched(step: Step, repeats: int = REPEATS) -> float:
    """Milliseconds of a step as training without a CUDA graph has it, waiting for launches included."""
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    for _ in range(repeats):
        step()
    stop.record()
    stop.synchronize()
    return float(start.elapsed_time(stop)) / repeats


def queued(step: Step, repeats: int = REPEATS) -> float:
    """Milliseconds of a step where a CUDA graph replays it: all is queued before the device gets to it.

    A device takes some thousand kernels in its queue; no more than that in all repeats.
    """
    started = time.perf_counter()
    for _ in range(repeats):
        step()
    # Hosts differ: on some a launch takes a tenth of a millisecond.
    torch.cuda._sleep(int(CYCLES * (time.perf_counter() - started)))  # type: ignore[no-untyped-call]
    return launched(step, repeats)


def fused_is_faster(
    device: torch.device,
    dtype: torch.dtype,
    parameters: int,
    fused: Site,
    unfused: Site,
    timer: Timer = launched,
) -> bool:
    """Whether `fused` takes less time than `unfused`, forward and backward, over all cases.

    While a CUDA graph is captured nothing can be timed: then, and from then on, it is `unfused`.

    Args:
        device: with its index.
        dtype: of the tensors.
        parameters: how many the activation has: 0 for plain ReLU, 2 for leak and sub, 3 with maxv.
        fused, unfused: two ways to compute the same.
        timer: `launched`, or `queued` where a CUDA graph replays the training's steps.
    """
    kind = (device, dtype, parameters)
    if kind not in _chosen:
        capturing = torch.cuda.is_current_stream_capturing()
        of_fused, of_unfused = (0.0, 0.0) if capturing else times(*kind, (fused, unfused), timer)
        _chosen[kind] = of_fused < of_unfused
    return _chosen[kind]


def times(
    device: torch.device,
    dtype: torch.dtype,
    parameters: int,
    sites: tuple[Site, Site],
    timer: Timer = launched,
) -> tuple[float, float]:
    """What each of two sites takes, forward and backward, summed over all cases."""
    with ExitStack() as contexts:
        # The first question may come from a validation, which keeps nothing for a backward pass.
        contexts.enter_context(torch.inference_mode(False))
        contexts.enter_context(torch.enable_grad())
        if device.type == "cuda":
            contexts.enter_context(torch.cuda.device(device))
        totals = [0.0, 0.0]
        for case in _cases(device, dtype, parameters):
            steps = [case.step(site) for site in sites]
            for step in steps * WARM_UP:
                step()
            # In turns, and the least of each: what else goes on can only add.
            rounds = [[timer(step) for step in steps] for _ in range(ROUNDS)]
            totals = [
                total + min(taken) for total, taken in zip(totals, zip(*rounds, strict=True), strict=True)
            ]
    return totals[0], totals[1]


@dataclass(frozen=True)
class _Case:
    x: Tensor
    norm: nn.BatchNorm2d
    form: tuple[Tensor | None, ...]
    residual: Tensor | None

    def step(self, site: Site) -> Step:
        leaves = [self.x, self.residual, self.norm.weight, self.norm.bias, *self.form]
        wanted = [leaf for leaf in leaves if leaf is not None]
        grad = self.x.detach()
        return lambda: torch.autograd.grad(site(self.x, self.norm, self.form, self.residual), wanted, grad)


def _cases(device: torch.device, dtype: torch.dtype, parameters: int) -> Iterator[_Case]:
    for shape in SHAPES:
        channels = shape[1]
        values: list[Tensor | None] = [
            torch.full((channels, 1, 1), value, device=device, requires_grad=True)
            for value in (0.1, 0.25, 1.0)[:parameters]
        ]
        form = tuple(values + [None] * (parameters == 2))
        for added in (False, True):
            norm = nn.BatchNorm2d(channels, device=device)
            yield _Case(
                _ramp(shape, device, dtype), norm, form, _ramp(shape, device, dtype) if added else None
            )


def _ramp(shape: tuple[int, int, int, int], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Values from -2 to 2, channels_last; drawing them would move torch's generators."""
    n, c, h, w = shape
    values = torch.linspace(-2, 2, n * c * h * w, device=device).to(dtype)
    return values.view(n, h, w, c).permute(0, 3, 1, 2).requires_grad_()
