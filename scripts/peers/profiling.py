"""Where a training step's time goes, by torch's profiler, and what its convolutions alone take."""

import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

from lrelu_bench.training.precision import Compute
from peers.contender import Item, Window, synchronize

WAITING = "waiting for the input"
CONVOLUTIONS, NORM_ACT, OPTIMIZER = "convolutions", "batch norm and activation", "optimizer"
OTHER, IDLE = "everything else", "the GPU waits"

# The outermost match decides: an optimizer's copy is the optimizer's, a convolution's cast the convolution's.
_OPS = (
    (WAITING, re.compile(f"^{WAITING}$")),
    (OPTIMIZER, re.compile(r"^Optimizer\.step|_fused_adam", re.IGNORECASE)),
    (CONVOLUTIONS, re.compile(r"conv(2d|olution)", re.IGNORECASE)),
    (NORM_ACT, re.compile(r"batch_?norm|norm.*relu|relu|threshold|NormAct", re.IGNORECASE)),
)
_KERNELS = (
    (OPTIMIZER, re.compile(r"adam|multi_tensor", re.IGNORECASE)),
    (
        NORM_ACT,
        re.compile(r"batch_?norm|bn_(fw|bw)|relu|threshold|clamp|_(for|back)ward_kernel", re.IGNORECASE),
    ),
    (
        CONVOLUTIONS,
        re.compile(r"conv|fprop|dgrad|wgrad|xmma|cutlass|gemm|nvjet|nchwto|nhwcto", re.IGNORECASE),
    ),
)


class ProfiledWindow(Window):
    """A window under torch's profiler, which slows it: for shares, not for speed."""

    def __init__(self, steps: int, warm: int) -> None:
        super().__init__(steps, warm)
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        self._profile = profile(activities=activities, acc_events=True)

    def open(self) -> None:
        self._profile.start()
        super().open()

    def close(self) -> None:
        super().close()
        self._profile.stop()

    def over(self, batches: Iterable[Item]) -> Iterator[Item]:
        iterator = iter(batches)
        while True:
            with record_function(WAITING):
                batch = next(iterator, None)
            if batch is None:
                return
            yield batch
            self.tick()

    def shares(self) -> dict[str, Any]:
        """Seconds a step, and the share of each part; the rest of the clock's time is `OTHER` or `IDLE`."""
        total, events = self.result(), self._profile.events()  # type: ignore[no-untyped-call]
        assert events is not None
        kernels = [event for event in events if event.device_type.name == "CUDA"]
        found: dict[str, float] = {}
        for event in kernels or events:
            part = _part(event.name, _KERNELS) if kernels else _part_of(event)
            spent = event.time_range.elapsed_us() if kernels else event.self_cpu_time_total
            found[part or OTHER] = found.get(part or OTHER, 0.0) + spent / 1e6 / total
        rest = IDLE if kernels else OTHER
        found[rest] = found.get(rest, 0.0) + max(0.0, 1 - sum(found.values()))
        return {"seconds_per_step": total / self.steps, "steps": self.steps, "shares": found}


def _part_of(event: Any) -> str | None:
    names = []
    while event is not None:
        names.append(event.name)
        event = event.cpu_parent
    return next((part for name in reversed(names) if (part := _part(name, _OPS))), None)


def _part(name: str, parts: Any) -> str | None:
    return next((part for part, pattern in parts if pattern.search(name)), None)


def convolutions_alone(net: nn.Module, shape: tuple[int, ...], compute: Compute) -> float:
    """Seconds of all convolutions of a step, forward and backward, each by itself on ready tensors.

    The fastest of three blocks of each: what is left of a step if all else is free.
    """
    inputs: list[tuple[nn.Conv2d, torch.Size]] = []
    hooks = [
        module.register_forward_hook(lambda conv, given, _: inputs.append((conv, given[0].shape)))
        for module in net.modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        net.eval()(torch.zeros(shape, device=compute.device))
    for hook in hooks:
        hook.remove()
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[compute.precision]
    net.to(dtype)
    return sum(_fastest(conv, size, dtype, needs_grad=place > 0) for place, (conv, size) in enumerate(inputs))


def _fastest(conv: nn.Conv2d, size: torch.Size, dtype: torch.dtype, needs_grad: bool) -> float:
    x = torch.randn(size, device=conv.weight.device, dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_(needs_grad)
    wanted: list[Tensor] = [conv.weight, x] if needs_grad else [conv.weight]
    grad, repeats = torch.randn_like(conv(x)), 20 if x.is_cuda else 1
    seconds = []
    for _ in range(4):
        synchronize()
        started = time.perf_counter()
        for _ in range(repeats):
            torch.autograd.grad(conv(x), wanted, grad)
        synchronize()
        seconds.append((time.perf_counter() - started) / repeats)
    return min(seconds[1:])
