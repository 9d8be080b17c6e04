"""What training on a CPU wants of the process and the machine."""

import ctypes
import os
import sys
import time
from functools import cache

import torch
from torch.nn import functional as F

from lrelu_bench import environment

_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1  # glibc's malloc.h
_NEVER = 2**31 - 1


def prepare() -> None:
    """Make this process ready to train on the CPU; again, it changes nothing more."""
    keep_freed_memory()
    pin_threads()


def keep_freed_memory() -> None:
    """Have the C library keep large freed blocks for the next step (glibc; elsewhere nothing happens).

    It would otherwise give every large tensor back to the system, which must clear each of its pages anew at
    the next step: about a hundred thousand page faults a step, a fifth of a training step's time on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)


def pin_threads() -> None:
    """Compute in no more threads than there are cores for, unless OMP_NUM_THREADS says otherwise.

    torch counts the machine's cores, of which a container may have a share alone.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), environment.usable_cores()))


def computes_bf16() -> bool:
    """Whether the processor has units for bf16."""
    return any(
        getattr(torch.cpu, name, lambda: False)()
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


TRIES, _CLEARLY = 6, 1.2


@cache
def prefers_bf16() -> bool:
    """Whether the processor has units for bf16 and is not clearly faster without, by 100 ms of measuring.

    Results of two formats never share a row, so the answer must not turn on what else the machine is doing:
    one thread waits for no other, of several tries the fastest counts, and a near tie goes to bf16.
    """
    if not computes_bf16():
        return False
    # A middle layer of the nets, with what its backward pass takes.
    images = torch.zeros(4, 64, 32, 32).to(memory_format=torch.channels_last)
    weight = torch.zeros(64, 64, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    seconds: dict[torch.dtype, float] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(TRIES):
            for dtype in (torch.float32, torch.bfloat16):
                started = time.perf_counter()
                x = images.to(dtype).requires_grad_()
                F.conv2d(x, weight.to(dtype), padding=1).sum().backward()  # type: ignore[no-untyped-call]
                taken = time.perf_counter() - started
                seconds[dtype] = min(taken, seconds.get(dtype, taken))
    finally:
        torch.set_num_threads(threads)
    return seconds[torch.bfloat16] < _CLEARLY * seconds[torch.float32]
