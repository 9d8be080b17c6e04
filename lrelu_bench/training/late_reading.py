"""Numbers of the device, read once they have arrived: nobody waits for them."""

from typing import Generic, TypeVar

import torch
from torch import Tensor

About = TypeVar("About")


class LateReading(Generic[About]):
    """One reading at a time of a few numbers, with what the asker wants to remember of the moment.

    Args:
        device: of the numbers. A CPU's are there at once.
        count: how many.
    """

    def __init__(self, device: torch.device, count: int) -> None:
        on_gpu = device.type == "cuda"
        self._host = torch.zeros(count, pin_memory=on_gpu)
        self._arrived = torch.cuda.Event() if on_gpu else None  # type: ignore[no-untyped-call]
        self._about: About | None = None

    def ask(self, values: Tensor, about: About) -> None:
        """Have float32 (count,) brought over, unless something is under way already."""
        if self._about is None:
            self._host.copy_(values, non_blocking=True)
            if self._arrived is not None:
                self._arrived.record()
            self._about = about

    def answer(self, wait: bool = False) -> tuple[list[float], About] | None:
        """What was asked for and has arrived, once, with its `about`; or None."""
        if self._about is None or not (self._arrived is None or wait or self._arrived.query()):  # type: ignore[no-untyped-call]
            return None
        if self._arrived is not None:
            self._arrived.synchronize()
        about, self._about = self._about, None
        return self._host.tolist(), about
