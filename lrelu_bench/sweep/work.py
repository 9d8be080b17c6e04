"""A unit at work: `lrelu-bench run` in a process of its own, and what it left in its folder."""

import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lrelu_bench.atomic_file import write_atomically
from lrelu_bench.errors import BenchError
from lrelu_bench.results import load_result
from lrelu_bench.run_folder import FILES, RunFolder
from lrelu_bench.sweep.task import Outcome, OutcomeStatus, Task

OWN = ".sweep"
"""The sweep's own folder inside the results: configs, logs and the mark."""
MARK = "mark"
LAST_LINES = 40
SAVING_SECONDS = 60.0
"""How long a unit that is asked to stop may take to save."""
STOPPED = (129, 130, 143, -signal.SIGINT, -signal.SIGTERM)
MENDABLE = 2
"""The exit code of an error that a user can mend."""
_NAP_SECONDS = 0.1
# -P: as with `lrelu-bench` itself, a shutil.py in the user's folder is not taken for Python's own.
_CHILD = (sys.executable, "-P", "-m", "lrelu_bench.sweep.child")


class Working:
    """A unit's process.

    Raises `BenchError` where its log cannot be written.
    """

    def __init__(self, task: Task) -> None:
        self.task, self._started = task, time.monotonic()
        self.shares = _sees(task)
        self._output = Path(task.output) if self.shares else elsewhere(task)
        own = self._output / OWN
        config = Path(task.config_path)
        if not self.shares:
            config = own / "configs" / f"{task.experiment}.yaml"
            write_atomically(config, task.config)
        self.log = own / "logs" / f"{task.experiment}-seed-{task.seed}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        words = ["run", str(config), "--seed", str(task.seed), "--output", str(self._output), "--wait"]
        # At its end: a try before may have crashed, and another driver's unit may be writing.
        with self.log.open("ab") as log:
            self._log_begins = log.tell()
            self.process = subprocess.Popen(
                [*_CHILD, str(os.getpid()), *words, *task.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=task.folder if Path(task.folder).is_dir() else None,
                env={**os.environ, **task.environment},
                # A terminal's Ctrl-C is the driver's to pass on, once.
                start_new_session=True,
            )

    @property
    def folder(self) -> RunFolder:
        """Where the unit's result is on this machine."""
        return RunFolder.of(self._output, self.task.experiment, self.task.seed)

    def wait(self) -> None:
        """Wait until it has ended, in naps: an interrupt from within Python wakes no call of the system's."""
        while self.process.poll() is None:
            time.sleep(_NAP_SECONDS)

    def stop(self) -> None:
        """Ask it to save and end; a second time, to end at once."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it as it is."""
        with suppress(ProcessLookupError):
            self.process.kill()

    def outcome(self) -> Outcome:
        """What came of it; to be called once the process has ended."""
        code, seconds, host = self.process.wait(), time.monotonic() - self._started, platform.node()
        if code in STOPPED:
            return Outcome("stopped", seconds, host)
        if code != 0:
            reason = _reason(self.log, self._log_begins, code)
            return Outcome("failed", seconds, host, reason, code != MENDABLE)
        try:
            found = load_result(self.folder.path).status
        except BenchError as error:
            return Outcome("failed", seconds, host, str(error))
        status: OutcomeStatus = "diverged" if found == "diverged" else "complete"
        files = {path.name: path.read_bytes() for path in self._files()}
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        if self.shares:
            return Outcome(status, seconds, host, digests=digests)
        shutil.rmtree(self.folder.path, ignore_errors=True)
        return Outcome(status, seconds, host, digests=digests, files=files)

    def _files(self) -> list[Path]:
        return [path for name in FILES if (path := self.folder.path / name).is_file()]


def execute(task: Task) -> Outcome:
    """Train a unit to its end and say what came of it; where this process is interrupted, so is the unit."""
    working = Working(task)
    try:
        working.wait()
    except BaseException:
        working.stop()
        with suppress(subprocess.TimeoutExpired):
            working.process.wait(timeout=SAVING_SECONDS)
        working.kill()
        raise
    return working.outcome()


def elsewhere(task: Task) -> Path:
    """The results folder of a worker that does not see the driver's; the same for all tries of a sweep."""
    return Path(tempfile.gettempdir()) / f"lrelu-bench-{task.token}"


def _sees(task: Task) -> bool:
    try:
        return (Path(task.output) / OWN / MARK).read_text() == task.token
    except (OSError, UnicodeDecodeError):
        return False


def _reason(log: Path, begins: int, code: int) -> str:
    """The error that a unit ended with, in one line; its log begins at that byte of the file."""
    try:
        with log.open(errors="replace") as file:
            file.seek(begins)
            lines = file.read().splitlines()[-LAST_LINES:]
    except OSError:
        lines = []
    told = [place for place, line in enumerate(lines) if line.startswith("error: ")]
    if told:
        return "; ".join(line.strip() for line in lines[told[-1] :] if line.strip()).removeprefix("error: ")
    how = f"exit code {code}" if code > 0 else f"ended by signal {-code}"
    return f"{how}: {next((line.strip() for line in reversed(lines) if line.strip()), 'no output')}"


def received(task: Task, outcome: Outcome) -> Outcome:
    """The outcome once the run is in the driver's results, its files checked against the worker's digests.

    What does not match makes it a failure.
    """
    if outcome.status not in ("complete", "diverged"):
        return outcome
    folder = RunFolder.of(Path(task.output), task.experiment, task.seed)
    try:
        if outcome.files is not None:
            _require_whole(outcome.files, outcome)
        for name, digest in outcome.digests.items():
            sent = outcome.files[name] if outcome.files is not None else (folder.path / name).read_bytes()
            if hashlib.sha256(sent).hexdigest() != digest:
                raise BenchError(f"{folder.path / name}: is not what {outcome.host} wrote")
        if outcome.files is not None:
            _take(folder, outcome.files)
    except (OSError, KeyError, BenchError) as error:
        return Outcome("failed", outcome.seconds, outcome.host, f"did not arrive whole: {error}")
    return Outcome(outcome.status, outcome.seconds, outcome.host, digests=outcome.digests)


def _require_whole(files: Mapping[str, bytes], outcome: Outcome) -> None:
    """Raises `BenchError` unless what was sent holds a result, and a digest of each file of a run."""
    if "result.json" not in files:
        raise BenchError(f"{outcome.host} sent no result.json")
    for name in sorted(set(files) & set(FILES) - set(outcome.digests)):
        raise BenchError(f"{outcome.host} sent {name} without its digest")


def _take(folder: RunFolder, files: Mapping[str, bytes]) -> None:
    from lrelu_bench.locks import Held, hold_at_once

    try:
        with hold_at_once(folder.lock):
            staged = folder.staged
            staged.clear()
            # The result last: with it the run counts as finished.
            for name in sorted(set(files) & set(FILES), key=lambda name: name == "result.json"):
                write_atomically(staged.path / name, files[name])
            folder.settle()
    except Held as holder:
        raise BenchError(f"{folder.path}: {holder} trains it") from holder
