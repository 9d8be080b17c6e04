"""Units as jobs of SLURM, in arrays, through submitit."""

import logging
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from lrelu_bench.errors import BenchError
from lrelu_bench.sweep.engines.base import Ended, Engine
from lrelu_bench.sweep.task import Outcome, Task
from lrelu_bench.sweep.work import OWN, SAVING_SECONDS, Working

ARRAY = 1000
"""Units in one array; SLURM's own limit is 1001 unless a site changes it."""
TIMEOUTS = 20
"""How often one job may run into its time limit and go on."""
DEFAULTS: dict[str, Any] = {"name": "lrelu-bench", "timeout_min": 240, "cpus_per_task": 4}
_RESULT_SECONDS = 2.0
"""Between looks into the folder of results."""
_STATE_SECONDS = 60.0
"""Between queries of sacct, each for all jobs: it burdens the cluster's data base."""
_STOPPING_SECONDS = 5.0
_RETRY_SECONDS = 60.0
"""Until jobs that SLURM refused, as beyond a limit of a user's, are submitted again."""
_ENDS = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "its job was cancelled",
    "COMPLETED": "its job ended without a result",
    "DEADLINE": "its job ran into its deadline",
    "FAILED": "its job failed",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "its job ran out of memory; give more, as with --slurm mem_gb=16",
    "PREEMPTED": "its job was preempted and not queued again",
    "REVOKED": "its job was revoked",
    "TIMEOUT": "its job ran out of time before it had saved",
    # submitit's own executor on one machine
    "FINISHED": "its job ended without a result",
    "INTERRUPTED": "its job was interrupted",
}
"""The states of a job that is over, and what to say if it has left no result."""


class Unit:
    """What a job does: submitit calls it, and its `checkpoint` when SLURM warns that the job is to end."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._working: Working | None = None
        self._asked = False

    def __call__(self) -> Outcome:
        """Train the unit to its end; SIGTERM, as `scancel` sends it, has it save and end."""
        signal.signal(signal.SIGTERM, self._terminate)
        self._working = Working(self.task)
        if self._asked:
            self._working.stop()
        self._working.wait()
        return self._working.outcome()

    def checkpoint(self) -> Any:
        """Have the unit save; returns what the job does when it runs again."""
        from submitit.helpers import DelayedSubmission

        if self._working is not None:
            self._working.stop()
            if not _gone_within(self._working.process.pid, SAVING_SECONDS):
                self._working.kill()
                _gone_within(self._working.process.pid, SAVING_SECONDS)
        return DelayedSubmission(Unit(self.task))

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        if self._working is not None:
            self._working.stop()


class SlurmEngine(Engine):
    """Job arrays; a job whose time is up or that is preempted saves, queues itself again and goes on.

    The results folder is on a disk that the nodes share: there the jobs find what to do, in a private folder,
    and leave what came of it.

    Args:
        output: the results folder.
        gpus_per_run: GPUs of a job, a whole number.
        parameters: submitit's (`timeout_min`, `mem_gb`, `cpus_per_task`, `slurm_partition`,
            `slurm_array_parallelism`, ...).
        cluster: submitit's name of it; "local" runs the jobs as processes of this machine.

    Raises `BenchError` where submitit or SLURM is not there, or does not take the parameters.
    """

    queues = True
    unit: type = Unit
    """What a job does with a task."""

    def __init__(
        self, output: Path, gpus_per_run: float, parameters: Mapping[str, str], cluster: str = "slurm"
    ) -> None:
        submitit = _submitit()
        if gpus_per_run != int(gpus_per_run):
            raise BenchError(
                f"--gpus-per-run {gpus_per_run:g}: SLURM gives whole GPUs; give a whole number, or share one "
                "through a gres of your cluster's with --slurm slurm_gres=..."
            )
        self._folder = _private_folder(output.absolute() / OWN / "slurm")
        gpus = {"gpus_per_node": int(gpus_per_run)} if gpus_per_run else {}
        values = {**DEFAULTS, **gpus, **{key: _typed(value) for key, value in parameters.items()}}
        limits = {f"{name}_max_num_timeout": TIMEOUTS for name in ("slurm", "local")}
        try:
            self._executor = submitit.AutoExecutor(self._folder, cluster, **limits)
            self._executor.update_parameters(**values)
        except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
            self._folder.rmdir()
            raise BenchError(
                f"--engine slurm: submitit does not go on: {' '.join(str(error).split())}; "
                "submit from a node that has srun, and correct --slurm"
            ) from error
        self._pending: list[Task] = []
        self._jobs: dict[str, tuple[Task, Any]] = {}
        """By the name of the file that a job's result will be in."""
        self._gone: set[str] = set()
        self._kept = False
        self._stops = 0
        self._send_after = self._results_after = 0.0
        self._states_after = time.monotonic() + _STATE_SECONDS

    def submit(self, task: Task) -> None:
        """Note the task; what is noted goes to SLURM together."""
        self._pending.append(task)

    def ended(self, seconds: float) -> list[Ended]:
        """Those that left a result, and those of which SLURM says that they are over."""
        until = time.monotonic() + seconds
        found = self._send() if self._pending else []
        while True:
            if self._jobs and time.monotonic() >= self._results_after:
                found += self._with_results()
                self._results_after = time.monotonic() + _RESULT_SECONDS
            if self._jobs and time.monotonic() >= self._states_after:
                found += self._without_results()
                self._states_after = time.monotonic() + (_STOPPING_SECONDS if self._stops else _STATE_SECONDS)
            left = until - time.monotonic()
            if found or left <= 0 or not (self._jobs or self._pending):
                return found
            time.sleep(min(left, 0.1))

    def stop(self) -> None:
        """`scancel`, which leaves jobs the cluster's grace (KillWait) to save in; then without."""
        self._stops += 1
        self._states_after = time.monotonic() + _STOPPING_SECONDS
        at_once = ["--signal=KILL"] if self._stops > 1 else []
        arrays = sorted({job.job_id.split("_")[0] for _, job in self._jobs.values()})
        if arrays:
            with suppress(OSError):
                subprocess.run(["scancel", *at_once, *arrays], stderr=subprocess.DEVNULL, check=False)

    def close(self) -> None:
        """Remove what the jobs were told, and their logs unless some failed."""
        if not self._kept:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _send(self) -> list[Ended]:
        if self._stops:
            tasks, self._pending = self._pending, []
            return [(task, Outcome("stopped", 0.0)) for task in tasks]
        while self._pending and time.monotonic() >= self._send_after:
            tasks = self._pending[:ARRAY]
            try:
                jobs = self._executor.submit_array([self.unit(task) for task in tasks])
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                if self._jobs:
                    self._send_after = time.monotonic() + _RETRY_SECONDS
                    return []
                self._pending = self._pending[ARRAY:]
                reason = f"SLURM does not take its job: {_last_line(str(error))}"
                return [(task, Outcome("failed", 0.0, reason=reason)) for task in tasks]
            self._pending = self._pending[ARRAY:]
            self._jobs |= {
                job.paths.result_pickle.name: (task, job) for task, job in zip(tasks, jobs, strict=True)
            }
        return []

    def _with_results(self) -> list[Ended]:
        # One listing, not a question for each: it is a network's disk.
        names = [entry.name for entry in os.scandir(self._folder) if entry.name in self._jobs]
        return [self._end(name, _result_of(self._jobs[name][1])) for name in names]

    def _without_results(self) -> list[Ended]:
        found = []
        for place, (name, (_, job)) in enumerate(list(self._jobs.items())):
            # The first one's query answers for all.
            info = job.get_info(mode="force" if place == 0 else "cache")
            state = (info.get("State") or info.get("jobState") or "UNKNOWN").split()[0].rstrip("+")
            if state not in _ENDS:
                self._gone.discard(name)
            elif name not in self._gone:
                # A result may be on its way, or the job back in the queue: until the next look.
                self._gone.add(name)
            elif not job.paths.result_pickle.exists():
                found.append(self._end(name, self._lost(job, state)))
        return found

    def _lost(self, job: Any, state: str) -> Outcome:
        if self._stops:
            return Outcome("stopped", 0.0)
        log = job.paths.stderr
        said = _last_line(log.read_text(errors="replace")) if log.is_file() else ""
        reason = f"{_ENDS[state]} (job {job.job_id}, {state}{f': {said}' if said else ''})"
        return Outcome("failed", 0.0, reason=reason, may_help=state != "OUT_OF_MEMORY")

    def _end(self, name: str, outcome: Outcome) -> Ended:
        task, job = self._jobs.pop(name)
        self._gone.discard(name)
        files = [job.paths.submitted_pickle, job.paths.result_pickle]
        if outcome.status == "failed":
            self._kept = True
        else:
            files += [job.paths.stdout, job.paths.stderr]
        for path in files:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        return task, outcome


def _gone_within(pid: int, seconds: float) -> bool:
    """Whether a child ends in time; it is left to be waited for.

    Not through its `Popen`: the signal may have interrupted that in the middle, with its lock held.
    """
    until = time.monotonic() + seconds
    with suppress(ChildProcessError):
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() >= until:
                return False
            time.sleep(0.05)
    return True


def _result_of(job: Any) -> Outcome:
    try:
        found = job.result()
    except Exception as error:  # whatever a file that is not whole raises, too
        text = str(error).split("-" * 22)
        return Outcome(
            "failed", 0.0, reason=f"its job {job.job_id} failed: {_last_line(text[len(text) // 2])}"
        )
    if isinstance(found, Outcome):
        return found
    return Outcome("failed", 0.0, reason=f"its job {job.job_id} left {type(found).__name__} for a result")


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")


def _typed(value: str) -> str | int:
    return int(value) if value.isdigit() else value


def _private_folder(parent: Path) -> Path:
    """A new folder that nobody else can write to: what lies there is unpickled.

    Raises `BenchError` where its parent is somebody else's.
    """
    if "%" in str(parent):
        raise BenchError(
            f"{parent}: SLURM takes a % in a path for a pattern; give another folder with --output"
        )
    try:
        parent.parent.mkdir(parents=True, exist_ok=True)
        parent.mkdir(mode=0o700, exist_ok=True)
        about = parent.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
            raise BenchError(
                f"{parent}: is not a folder of yours alone, and what jobs leave there is run; remove it"
            )
        return Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=parent))
    except OSError as error:
        raise BenchError(
            f"{parent}: cannot write ({error.strerror or error}); give another folder with --output"
        ) from error


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise BenchError(
            "--engine slurm: submitit is not installed; pip install 'lrelu-bench[slurm]'"
        ) from error
    logging.getLogger("submitit").setLevel(logging.ERROR)
    return submitit
