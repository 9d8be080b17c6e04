"""One unit of a sweep as plain data, which travels to wherever it is trained, and what comes back."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

OutcomeStatus = Literal["complete", "diverged", "stopped", "failed"]


@dataclass(frozen=True)
class Task:
    """One config with one seed."""

    experiment: str
    """The results folder's name, unique to the config."""
    seed: int
    config: str
    """The config's YAML, every value written out."""
    config_path: str
    """Where the driver's machine has it, absolute."""
    output: str
    """The driver's results folder, absolute; a worker elsewhere may see the same one, or not."""
    token: str
    """What stands in `output`'s mark, so that a worker can tell whether it sees that very folder."""
    options: tuple[str, ...] = ()
    """More arguments of `lrelu-bench run`."""
    folder: str = "."
    """Where the command runs, if the worker's machine has it: a class of the user's is looked for there."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables to set."""

    @property
    def name(self) -> str:
        """For messages and files."""
        return f"{self.experiment} seed {self.seed}"

    @property
    def command(self) -> str:
        """What repeats it by hand, on the driver's machine."""
        words = ["lrelu-bench", "run", self.config_path, "--seed", str(self.seed), "--output", self.output]
        return shlex.join([*words, *self.options])


@dataclass(frozen=True)
class Outcome:
    """How a unit ended."""

    status: OutcomeStatus
    seconds: float
    host: str = ""
    reason: str = ""
    """Why it failed, in a sentence."""
    may_help: bool = True
    """Whether to try again may help: not where the command itself said what to mend."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each file of the run's folder."""
    files: Mapping[str, bytes] | None = None
    """The run's folder itself, by file, from a worker that does not see the driver's."""
