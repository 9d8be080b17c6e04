"""What the machine gives at best: a matrix product, a convolution and a copy; and what a net asks for."""

import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from peers.contender import synchronize


def ceilings(device: str, precision: str, quick: bool = False) -> dict[str, float]:
    """GFLOP/s of a matrix product and of a 3x3 convolution, GB/s of a copy (read and written): best of 5.

    In memory that is there already: a page that the system clears at first use is no part of a ceiling.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    on_gpu = device == "cuda"
    side, batch, megabytes = (256, 4, 4) if quick else (8192, 512, 1024) if on_gpu else (2048, 64, 256)
    torch.backends.cudnn.benchmark = True
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    product = torch.empty_like(a)
    x = torch.randn(batch, 128, 32, 32, device=device, dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    w = torch.randn(128, 128, 3, 3, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    source = torch.zeros(megabytes << 20, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    with torch.inference_mode():
        return {
            "matmul_gflops": 2 * side**3 / _best(lambda: torch.matmul(a, b, out=product)) / 1e9,
            "conv3x3_gflops": 2 * 9 * 128 * x.numel() / _best(lambda: F.conv2d(x, w, padding=1)) / 1e9,
            "copy_gbs": 2 * source.numel() / _best(lambda: target.copy_(source)) / 1e9,
        }


def training_gflop_per_image(net: nn.Module, size: int) -> float:
    """Convolutions and matrix products of forward and backward, counted, not measured."""
    images = torch.zeros(2, 3, size, size)
    counter = FlopCounterMode(display=False)
    with counter:
        net(images).sum().backward()
    return counter.get_total_flops() / 2 / 1e9


def _best(work: Callable[[], object]) -> float:
    for _ in range(3):
        work()
    seconds = []
    for _ in range(5):
        synchronize()
        started = time.perf_counter()
        work()
        synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
