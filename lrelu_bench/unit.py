"""The unit of work: one config with one seed on one device."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lrelu_bench.config import Experiment
from lrelu_bench.run_folder import RunFolder

if TYPE_CHECKING:
    from lrelu_bench.training.precision import Compute


@dataclass(frozen=True)
class Unit:
    """One config with one seed on one device: trained by one command, which may be given again and again."""

    experiment: Experiment
    seed: int
    compute: "Compute"
    output: Path

    @property
    def folder(self) -> RunFolder:
        """Where its result goes."""
        return RunFolder.of(self.output, self.experiment.slug, self.seed)
