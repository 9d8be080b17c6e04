"""What the driver of a sweep asks of an engine."""

from abc import ABC, abstractmethod

from lrelu_bench.sweep.task import Outcome, Task

Ended = tuple[Task, Outcome]


class Engine(ABC):
    """Runs tasks somewhere, as many at a time as it has room for.

    An engine trains nothing by itself and decides nothing: it starts `lrelu_bench.sweep.work` on a task and
    hands back its outcome, that of a worker that was lost included.
    """

    capacity: int | None = None
    """Most tasks that may be submitted and not ended; None where the engine queues them itself."""
    queues: bool = False
    """Whether what is submitted may wait for room, and so is not known to run."""

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Have a task started, now or when there is room."""

    @abstractmethod
    def ended(self, seconds: float) -> list[Ended]:
        """The tasks that have ended since; waits for the first of them, this long at most."""

    @abstractmethod
    def stop(self) -> None:
        """Ask every task to save and end; a second time, to end at once. They are still handed back."""

    def close(self) -> None:  # noqa: B027 (not all hold something)
        """Let go of what the engine holds; nothing is submitted after."""
