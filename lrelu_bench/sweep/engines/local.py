"""Units as processes of this machine: in turn, or several at once over the visible GPUs."""

import os
import time
from pathlib import Path

from lrelu_bench.environment import usable_cores
from lrelu_bench.errors import BenchError
from lrelu_bench.sweep.engines.base import Ended, Engine
from lrelu_bench.sweep.task import Outcome, Task
from lrelu_bench.sweep.work import Working

_POLL_SECONDS = 0.05


class LocalEngine(Engine):
    """As many processes as there are jobs, each with its GPU or its share of the cores.

    Args:
        jobs: processes at once.
        device: what the units are told to train on.
    """

    def __init__(self, jobs: int, device: str) -> None:
        self.capacity = jobs
        gpus = [] if device == "cpu" else visible_gpus()
        self._places = [_place(job, jobs, gpus) for job in range(jobs)]
        self._free = list(reversed(range(jobs)))
        self._working: dict[int, tuple[Task, Working]] = {}
        self._failed: list[Ended] = []
        self._stops = 0

    def submit(self, task: Task) -> None:
        """Start the task's process; the driver never submits more than there is room for."""
        job = self._free.pop()
        placed = Task(**{**vars(task), "environment": {**self._places[job], **task.environment}})
        try:
            self._working[job] = task, Working(placed)
        except (OSError, BenchError) as error:
            self._free.append(job)
            self._failed.append((task, Outcome("failed", 0.0, reason=str(error))))

    def ended(self, seconds: float) -> list[Ended]:
        """Those whose process is gone."""
        until = time.monotonic() + seconds
        while True:
            found, self._failed = self._failed, []
            for job, (task, working) in list(self._working.items()):
                if working.process.poll() is not None:
                    found.append((task, working.outcome()))
                    del self._working[job]
                    self._free.append(job)
            if found or time.monotonic() >= until or not self._working:
                return found
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """SIGTERM at first, then SIGKILL."""
        self._stops += 1
        for _, working in self._working.values():
            if self._stops == 1:
                working.stop()
            else:
                working.kill()


def visible_gpus() -> list[str]:
    """The CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them; without torch."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    return [str(place) for place, _ in enumerate(sorted(Path("/proc/driver/nvidia/gpus").glob("*")))]


def _place(job: int, jobs: int, gpus: list[str]) -> dict[str, str]:
    """The variables that give a job its share of the machine."""
    if gpus:
        return {"CUDA_VISIBLE_DEVICES": gpus[job % len(gpus)]}
    if jobs > 1 and "OMP_NUM_THREADS" not in os.environ:
        return {"OMP_NUM_THREADS": str(max(1, usable_cores() // jobs))}
    return {}
