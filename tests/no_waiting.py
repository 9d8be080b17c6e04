"""A stretch of a test in which the host must not wait for the GPU."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def no_waiting() -> Iterator[None]:
    """Inside, torch raises where it would wait; afterwards it waits as before, whatever happened."""
    with warnings.catch_warnings():
        # torch says of the mode that it does not see all.
        warnings.filterwarnings("ignore", message="Synchronization debug mode")
        try:
            torch.cuda.set_sync_debug_mode("error")
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
