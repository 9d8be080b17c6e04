"""A net's parameters and buffers on disk, in safetensors' format, which holds no code."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from lrelu_bench.atomic_file import write_atomically

FINAL = "weights.safetensors"
LAST_GOOD = "last_good.safetensors"


def write(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a net's state; raises `BenchError` where the disk does not take it.

    `safetensors.torch.load_file` reads it.
    """
    # Copies, row by row: the format knows neither shared memory nor torch's channels_last.
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in weights.items()
    }
    write_atomically(path, save(plain, {"format": "pt"}))
