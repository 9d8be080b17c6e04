"""Units as tasks of a Ray cluster, each with its share of a GPU and of the cores."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lrelu_bench.errors import BenchError
from lrelu_bench.sweep.engines.base import Ended, Engine
from lrelu_bench.sweep.task import Outcome, Task
from lrelu_bench.sweep.work import execute

THREADS = "OMP_NUM_THREADS"
LEAST_IN_FLIGHT = 16
_LOOK_SECONDS = 10.0
_ANSWER_SECONDS = 30.0


def train(task: Task, rays_threads: str) -> Outcome:
    """What a worker does."""
    if os.environ.get(THREADS) == rays_threads:
        del os.environ[THREADS]
    return execute(task)


class RayEngine(Engine):
    """Tasks of Ray Core; who retries is the driver, not Ray.

    The cluster's nodes need lrelu-bench in the Python that Ray runs there. What a unit gets of the machine is
    what a plain run gets: as many threads as the driver's OMP_NUM_THREADS says, else all of its node's.

    Args:
        address: the cluster's; None for what RAY_ADDRESS names, else one that runs here, else a new one;
            "local" for a new one in any case.
        gpus_per_run: GPUs a unit takes; fractions share one.
        cpus_per_run: cores a unit takes; None for 1 beside a GPU, else as many as it has threads.

    Raises `BenchError` where Ray is not installed, the cluster cannot be reached, or none of its nodes has
    room for a unit.
    """

    queues = True
    train = staticmethod(train)
    """What a worker does with a task."""

    def __init__(self, address: str | None, gpus_per_run: float, cpus_per_run: float | None = None) -> None:
        self._ray = _ray()
        self._running: dict[Any, Task] = {}
        self._stops = 0
        self._gpus = gpus_per_run
        try:
            _require_answer(address)
            with _signals_kept():
                self._ray.init(
                    address,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="error",
                )
        except (OSError, RuntimeError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise BenchError(
                f"--address {address}: no Ray cluster ({reason}); start one with `ray start --head`, "
                "or leave --address out"
            ) from error
        try:
            self._cpus = self._cores_of_a_unit() if cpus_per_run is None else cpus_per_run
            self._look()
            if not self._slots:
                raise BenchError(
                    f"no node of the Ray cluster has room for a unit, which takes {self._gpus:g} GPUs and "
                    f"{self._cpus:g} cores; start such a node first, or lower --gpus-per-run"
                )
        except BenchError:
            self.close()
            raise
        self._train = self._ray.remote(
            num_cpus=self._cpus, num_gpus=self._gpus, max_retries=0, retry_exceptions=False
        )(self.train)

    def submit(self, task: Task) -> None:
        """Hand the task to Ray, which starts it where there is room."""
        threads = os.environ.get(THREADS)
        given = {THREADS: threads} if threads else {}
        placed = Task(**{**vars(task), "environment": {**given, **task.environment}})
        self._running[self._train.remote(placed, _rays_own(self._cpus))] = task

    def ended(self, seconds: float) -> list[Ended]:
        """At most one: its files are let go of before the next one's arrive."""
        if self._stops > 1:
            left, self._running = list(self._running.values()), {}
            return [(task, Outcome("stopped", 0.0)) for task in left]
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._look()
        if not self._running:
            return []
        # What waits stays on the node that it is on.
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds, fetch_local=False)
        return [(self._running.pop(ref), self._outcome(ref)) for ref in ready]

    def stop(self) -> None:
        """Interrupt the workers, which have their units save; then leave the cluster, which ends them."""
        self._stops += 1
        if self._stops > 1:
            # Of two cancels of a task Ray hears the first alone.
            self._ray.shutdown()
            return
        for ref in self._running:
            self._ray.cancel(ref)

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self._running.clear()
        self._ray.shutdown()

    def _outcome(self, ref: Any) -> Outcome:
        errors = self._ray.exceptions
        try:
            outcome: Outcome = self._ray.get(ref)
        except errors.TaskCancelledError:
            return Outcome("stopped", 0.0)
        except errors.RayTaskError as error:
            cause = error.cause or error
            return Outcome(
                "failed", 0.0, reason=f"its worker failed: {type(cause).__name__}: {_first(cause)}"
            )
        except errors.RayError as error:
            if self._stops:
                return Outcome("stopped", 0.0)
            return Outcome("failed", 0.0, reason=self._lost(error))
        return outcome

    def _lost(self, error: Exception) -> str:
        errors = self._ray.exceptions
        sentences = {
            errors.OutOfMemoryError: "Ray ended its worker: the node ran out of memory",
            errors.NodeDiedError: "its Ray node died",
            errors.LocalRayletDiedError: "its Ray node died",
            errors.WorkerCrashedError: "its Ray worker died",
            errors.ObjectLostError: "it ended, but its result was lost with its Ray node",
        }
        told = next((text for kind, text in sentences.items() if isinstance(error, kind)), None)
        return told or f"Ray: {type(error).__name__}: {_first(error)}"

    def _look(self) -> None:
        """See how much room the cluster has: nodes come and go."""
        self._looked = time.monotonic()
        self._slots = sum(self._room(node) for node in self._nodes())
        # Enough that no worker waits for the driver, and no more: each ended one may hold its files.
        self.capacity = max(LEAST_IN_FLIGHT, 2 * self._slots)

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _room(self, node: dict[str, float]) -> int:
        takes = {"CPU": self._cpus, "GPU": self._gpus}
        # Rounding: a tenth of a GPU fits ten times.
        fits = [int(node.get(what, 0.0) / much + 1e-6) for what, much in takes.items() if much > 0]
        return min(fits, default=LEAST_IN_FLIGHT)

    def _cores_of_a_unit(self) -> float:
        if self._gpus > 0:
            return 1.0
        threads = os.environ.get(THREADS, "")
        if threads.isdigit() and int(threads) > 0:
            return float(threads)
        return min((cores for node in self._nodes() if (cores := node.get("CPU", 0.0)) > 0), default=1.0)


def _rays_own(cpus: float) -> str:
    """What Ray sets OMP_NUM_THREADS to where nobody has."""
    return str(max(int(cpus), 1))


def _first(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")


def _require_answer(address: str | None) -> None:
    """Raises `OSError` where nobody answers: Ray itself would try for minutes."""
    host, colon, port = (address or "").rpartition(":")
    if colon and port.isdigit() and "//" not in host:
        socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray's own handler of SIGTERM would end the driver where it is to stop in good order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _ray() -> Any:
    # Ray reads it when it is imported; whether to report to its makers is for users to say.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise BenchError("--engine ray: Ray is not installed; pip install 'lrelu-bench[ray]'") from error
    return ray
