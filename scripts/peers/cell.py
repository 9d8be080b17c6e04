"""What every contender trains, as a file that any of their processes reads."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Cell:
    """One training task: the product's own words for it, and the same in plain values for the peers."""

    config: str
    changes: tuple[str, ...]
    """The product's config and its `--set` changes."""
    images: str
    """Folder with train/ and valid/, a folder per class in each: the very images of the config."""
    weights: str
    """Folder of `seed-<n>.pt`, the product's initial weights."""
    arch: str
    activation: str
    constants: dict[str, float]
    """Start of the learned ReLU's parameters; empty for another activation."""
    size: int
    batch: int
    epochs: int
    precision: str
    """fp32 or bf16."""
    device: str
    recipe: dict[str, Any]
    """The product's `Recipe`."""

    def weights_of(self, seed: int) -> Path:
        """The file of a seed's initial weights."""
        return Path(self.weights) / f"seed-{seed}.pt"

    def save(self, path: Path) -> Path:
        """Write to `path`, and give it back."""
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**values, "changes": tuple(values["changes"])})
