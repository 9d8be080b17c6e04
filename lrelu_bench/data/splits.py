"""Train/validation splits and small subsets as index arrays over a cache's sorted image order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lrelu_bench.errors import BenchError

IntArray = npt.NDArray[np.int64]

# ImageNet's own validation photographs are all that Imagenette/Imagewoof v1 validated on.
V1_VALIDATION_PREFIX = "ILSVRC2012_val_"


def split_indices(
    names: Sequence[str] | npt.NDArray[np.bytes_],
    folders: npt.ArrayLike,
    version: str,
) -> tuple[IntArray, IntArray]:
    """(train, validation) indices, each ascending, of the v1 or v2 split.

    `names` are the n image file names of a v2 archive and `folders` the n folder codes (0 train, 1 val).
    v2 is the archive's own folders; v1 validates on exactly the files named `ILSVRC2012_val_*`, wherever v2
    put them. Raises BenchError for another version.
    """
    if version == "v2":
        validation = np.asarray(folders) == 1
    elif version == "v1":
        validation = np.char.startswith(np.asarray(names).astype(np.str_), V1_VALIDATION_PREFIX)
    else:
        raise BenchError(f"data version: '{version}' is not a known split; use 'v1' or 'v2'.")
    return np.flatnonzero(~validation).astype(np.int64), np.flatnonzero(validation).astype(np.int64)


def subset_indices(indices: npt.ArrayLike, labels: npt.ArrayLike, per_class: int, seed: int = 0) -> IntArray:
    """At most `per_class` of `indices` from each class, ascending, always the same ones for a seed.

    `labels` holds the label of every image (it is indexed by `indices`). Subsets of one seed are nested:
    10 per class are contained in 20 per class. A class with fewer images gives all it has. Raises BenchError
    where `per_class` is below 1.
    """
    if per_class < 1:
        raise BenchError(f"per_class: {per_class} images per class make no subset; use 1 or more.")
    chosen_from = np.asarray(indices, dtype=np.int64)
    its_labels = np.asarray(labels)[chosen_from]
    picks = []
    for label in np.unique(its_labels):
        members = np.sort(chosen_from[its_labels == label])
        # RandomState's stream is frozen across NumPy versions, default_rng's is not.
        order = np.random.RandomState([seed, int(label)]).permutation(len(members))
        picks.append(members[order[:per_class]])
    return np.sort(np.concatenate(picks)) if picks else np.empty(0, dtype=np.int64)
