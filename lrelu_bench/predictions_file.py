"""The final predictions of a run on disk: `predictions.npz` in its folder, read and written without torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lrelu_bench import npz_file
from lrelu_bench.errors import BenchError
from lrelu_bench.plain_file import MissingError

FILE = "predictions.npz"


@dataclass(frozen=True)
class Predictions:
    """Of every validation image, in the order of the validation set; N images."""

    predicted: NDArray[np.uint8]
    """(N,) the class the net gave it after the last epoch."""
    label: NDArray[np.uint8]
    """(N,) its true class."""
    image: NDArray[np.bytes_]
    """(N,) its name in the data set."""

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(N,) whether the net was right."""
        right: NDArray[np.bool_] = self.predicted == self.label
        return right

    @property
    def identity(self) -> tuple[tuple[int, ...], str, bytes, str, bytes]:
        """Equal for predictions of the same images in the same order, and for no others."""
        named, labelled = self.image, self.label
        return named.shape, named.dtype.str, named.tobytes(), labelled.dtype.str, labelled.tobytes()

    def packed(self) -> bytes:
        """The file's content."""
        return npz_file.packed(predicted=self.predicted, label=self.label, image=self.image)

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read a run's predictions; None where it has none. Raises `BenchError` where the file is damaged."""
        path = folder / FILE
        try:
            arrays = npz_file.read(path, "the predictions of a run")
        except MissingError:
            return None
        kinds = {"predicted": "u", "label": "u", "image": "S"}
        for name, kind in kinds.items():
            if name not in arrays or arrays[name].dtype.kind != kind or arrays[name].ndim != 1:
                raise BenchError(f"{path}: damaged, {name} is missing or not a list of its kind")
        found = cls(**{name: arrays[name] for name in kinds})
        if not len(found.predicted) == len(found.label) == len(found.image) > 0:
            raise BenchError(f"{path}: damaged, its lists are of different lengths or empty")
        return found
