"""From the product's configs to cells: the same images, initial weights and numbers for every contender."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from lrelu_bench.config import Experiment
from lrelu_bench.config_file import load_experiment
from lrelu_bench.errors import BenchError
from lrelu_bench.runner import build_net
from lrelu_bench.shipped import config_path
from lrelu_bench.training.precision import Compute
from peers.cell import Cell
from peers.image_folders import write_images
from peers.nets import save_weights

# What the peers' own parts compute; another recipe would compare different work.
COMMON = {
    "optimizer": "adam",
    "schedule": "one_cycle",
    "crop": "resize",
    "validation": "shorter_side",
    "mixup": 0.0,
    "drop_last": True,
    "decay_norm_and_bias": False,
}


class Preparing:
    """Writes what cells need into one folder.

    Args:
        files: folder of the archive's extracted files; None for drawn images.
    """

    def __init__(self, folder: Path, compute: Compute, files: Path | None) -> None:
        self.folder, self.compute, self.files = folder, compute, files
        self._count = 0

    def cell(self, config: str, changes: Sequence[str], activation: str, seeds: Iterable[int] = (0,)) -> Cell:
        """The cell of a config; raises `BenchError` where the peers cannot do the same."""
        changes = (*changes, f"activation={activation}", f"precision={self.compute.precision}")
        experiment = load_experiment(config_path(config), list(changes))
        recipe = experiment.effective_recipe
        for name, value in COMMON.items():
            if getattr(recipe, name) != value:
                raise BenchError(f"{config}: the peers have {name} {value} only; choose another config")
        if activation not in ("relu", "learned_relu"):
            raise BenchError(f"activation {activation}: the peers have relu and learned_relu only")
        weights = self.folder / f"weights-{self._count}"
        self._count += 1
        weights.mkdir()
        for seed in seeds:
            torch.manual_seed(seed)
            save_weights(build_net(experiment), weights / f"seed-{seed}.pt")
        return Cell(
            config=config,
            changes=changes,
            images=str(self._images(experiment)),
            weights=str(weights),
            arch=experiment.arch,
            activation=activation,
            constants=experiment.activation.resolved().constants if activation == "learned_relu" else {},
            size=experiment.size,
            batch=recipe.batch_size,
            epochs=experiment.epochs,
            precision=self.compute.precision,
            device=self.compute.device.type,
            recipe=recipe.model_dump(mode="json"),
        )

    def _images(self, experiment: Experiment) -> Path:
        name = f"{experiment.dataset}-{experiment.version}-{experiment.effective_source}-{experiment.subset}"
        folder = self.folder / name
        return folder if folder.exists() else write_images(experiment, self.files, folder)
