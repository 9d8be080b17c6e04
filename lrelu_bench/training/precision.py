"""What a run computes on and in, decided once."""

from dataclasses import dataclass
from typing import Literal

import torch

from lrelu_bench.config import Precision
from lrelu_bench.errors import BenchError
from lrelu_bench.training import cpu

DeviceName = Literal["auto", "cpu", "cuda"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Compute:
    """Device and number format of a run, and how its steps are started."""

    device: torch.device
    precision: Literal["fp32", "bf16", "fp16"]
    cuda_graph: bool | None = None
    """Whether steps are captured as CUDA graphs; None: where that is possible and safe."""
    compile: bool = False
    """Whether torch.compile makes the net's training pass."""

    @property
    def emulated(self) -> bool:
        """Whether the device has no units for the format and takes about ten times as long as in fp32."""
        return self.device.type == "cpu" and self.precision == "bf16" and not cpu.computes_bf16()

    def autocast(self) -> torch.autocast:
        """The mixed-precision context of forward passes; does nothing in fp32."""
        return torch.autocast(self.device.type, _DTYPES[self.precision], enabled=self.precision != "fp32")

    def scaler(self) -> torch.amp.GradScaler:
        """Dynamic loss scaling, which only fp16 needs."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")


def choose_compute(
    device: DeviceName, precision: Precision, cuda_graph: bool | None = None, compiled: bool = False
) -> Compute:
    """Resolve `auto`; the rest is `Compute`'s.

    Raises `BenchError` where CUDA is asked for and absent, or fp16 is asked of a CPU.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise BenchError(
            "--device cuda: torch sees no CUDA device; install a driver, or use --device cpu or auto"
        )
    where = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
    if precision == "fp16" and where.type == "cpu":
        raise BenchError(
            "precision fp16 needs CUDA, and this run is on the CPU; use precision auto, bf16 or fp32"
        )
    return Compute(where, _best(where) if precision == "auto" else precision, cuda_graph, compiled)


def _best(device: torch.device) -> Literal["fp32", "bf16", "fp16"]:
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16"
        return "fp16" if torch.cuda.get_device_capability(device) >= (7, 0) else "fp32"
    return "bf16" if cpu.prefers_bf16() else "fp32"
