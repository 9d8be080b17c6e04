"""Telemetry on disk: `telemetry.npz` in a run's folder, read and written without torch.

What is in it is `Telemetry`, one array per field; numpy alone reads it: ``np.load("telemetry.npz")["mean"]``.
Letters in the shapes: S sampled steps, L activation sites, P names of learned parameters, B bins,
E finished epochs, T learned values of all sites together, X points of a curve.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lrelu_bench import npz_file
from lrelu_bench.errors import BenchError
from lrelu_bench.plain_file import MissingError

SCHEMA_VERSION = 1
FILE = "telemetry.npz"

NEAR_ZERO = 0.05
"""An output y counts as near zero where ``|y| < NEAR_ZERO``."""
EDGES = np.linspace(-4, 12, 65)
"""Edges of the histograms' bins. They show the shift below zero of a learned ReLU and its usual cap of 10."""
CURVE_X = np.linspace(-4, 12, 33)
"""Inputs at which the activations' curves are taken."""

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]

MOST_NAMES = 200
"""Of activation sites, and of parameters."""

_KINDS = {"U": np.str_, "i": np.int32, "u": np.uint32, "f": np.float32}
_SHAPES = {
    "site": ("U", "L"),
    "channels": ("i", "L"),
    "parameter": ("U", "P"),
    "step": ("i", "S"),
    "epoch": ("f", "S"),
    "lr": ("f", "S"),
    "mean": ("f", "SL"),
    "std": ("f", "SL"),
    "near_zero": ("f", "SL"),
    "capped": ("f", "SL"),
    "histogram": ("u", "SLB"),
    "edges": ("f", "b"),
    "param_min": ("f", "SLP"),
    "param_mean": ("f", "SLP"),
    "param_max": ("f", "SLP"),
    "grad_norm": ("f", "SLP"),
    "update_ratio": ("f", "SLP"),
    "at_bound": ("f", "SLP"),
    "values": ("f", "ET"),
    "offsets": ("i", "LP2"),
    "curves": ("f", "ELX3"),
    "curve_x": ("f", "X"),
}
"""Per array: the kind of its numbers (numpy's letter) and its dimensions; equal letters, equal lengths."""


@dataclass(frozen=True)
class Telemetry:
    """What a run's activations did. NaN stands for what does not exist.

    Of the outputs, samples are taken of at most some ten thousand elements per site and step, at positions
    drawn once: see `lrelu_bench.training.telemetry`.
    """

    site: NDArray[np.str_]
    """(L,) module path of each activation, in the order of the forward pass, such as `4.convs.2`."""
    channels: Integers
    """(L,)"""
    parameter: NDArray[np.str_]
    """(P,) names of the learned parameters."""
    step: Integers
    """(S,) the sampled optimizer steps, counted from 1."""
    epoch: Floats
    """(S,) the same in epochs: 1.5 is the middle of the second."""
    lr: Floats
    """(S,) the schedule's learning rate in the step."""
    mean: Floats
    """(S, L) of the outputs in the step's forward pass."""
    std: Floats
    """(S, L) population standard deviation of the same."""
    near_zero: Floats
    """(S, L) share of outputs with ``|y| < NEAR_ZERO``."""
    capped: Floats
    """(S, L) share of outputs at the cap, ties included; NaN where the activation has no cap."""
    histogram: NDArray[np.uint32]
    """(S, L, B + 2) counts of outputs: below the first edge, in each bin, and above the last edge.

    Bins are closed on the left. An output that is not a number is counted above the last edge.
    """
    edges: Floats
    """(B + 1,)"""
    param_min: Floats
    """(S, L, P) least value over channels after the step, as forward uses it; NaN where the site has none."""
    param_mean: Floats
    """(S, L, P)"""
    param_max: Floats
    """(S, L, P)"""
    grad_norm: Floats
    """(S, L, P) Euclidean norm of the gradient, loss scaling undone; NaN where there was no gradient."""
    update_ratio: Floats
    """(S, L, P) norm of the change that the step made over the norm of the value before it."""
    at_bound: Floats
    """(S, L, P) share of channels at one of the parameter's bounds after the step; NaN without bounds."""
    values: Floats
    """(E + 1, T) every learned value at the start and after each epoch, as evaluation uses it."""
    offsets: Integers
    """(L, P, 2) where a site's parameter stands in `values`: start and stop, equal where there is none."""
    curves: Floats
    """(E + 1, L, X, 3) the activation's y at `curve_x`, at the start and after each epoch: mean,
    10 % and 90 % quantile over channels."""
    curve_x: Floats
    """(X,)"""

    def of_parameter(self, site: int, parameter: int) -> Floats | None:
        """(E + 1, channels) of one site's learned parameter, or None where it has none."""
        start, stop = self.offsets[site, parameter]
        return None if start == stop else self.values[:, start:stop]

    @property
    def roughness(self) -> float:
        """How much the outputs' statistics move: mean over sites of |change of the mean| + |change of the
        standard deviation| from one sampled step to the next, over the site's mean standard deviation."""
        steps = np.abs(np.diff(self.mean, axis=0)) + np.abs(np.diff(self.std, axis=0))
        return float((steps.mean(0) / self.std.mean(0)).mean())

    def packed(self) -> bytes:
        """The file's content."""
        arrays: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        return npz_file.packed(schema_version=SCHEMA_VERSION, **arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a run's telemetry.

        Raises `BenchError` where there is none, or where the file is damaged or of another version.
        """
        path = folder / FILE
        try:
            arrays = npz_file.read(path, "the telemetry of a run")
        except MissingError as error:
            raise BenchError(
                f"{path}: not there; the run is older than telemetry or has not finished an epoch; "
                "train it again with `lrelu-bench run --force`"
            ) from error
        version = arrays.pop("schema_version", None)
        if version is None or version.shape != () or version != SCHEMA_VERSION:
            raise BenchError(
                f"{path}: schema_version {version} but this lrelu-bench reads {SCHEMA_VERSION}; "
                "use the version that wrote it, or a newer lrelu-bench"
            )
        return cls(**_checked(path, arrays))


def _checked(path: Path, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays of a `Telemetry`, each there, of its kind and of a shape that fits the others."""
    sizes = {"2": 2, "3": 3}
    for name, (kind, dimensions) in _SHAPES.items():
        if name not in arrays:
            raise BenchError(f"{path}: damaged, missing {name}")
        array = arrays[name]
        fits = array.dtype.kind == kind and array.ndim == len(dimensions)
        if not fits or any(sizes.setdefault(d, n) != n for d, n in zip(dimensions, array.shape, strict=True)):
            raise BenchError(
                f"{path}: damaged, {name} has shape {array.shape} and type {array.dtype}, "
                "which does not fit the rest"
            )
    if min(sizes[d] for d in "SLE") == 0 or sizes["B"] != sizes["b"] + 1:
        raise BenchError(f"{path}: damaged, holds no sample or a histogram that does not fit its edges")
    start, stop = np.moveaxis(arrays["offsets"], -1, 0)
    if not ((start >= 0) & (start <= stop) & (stop <= sizes["T"])).all():
        raise BenchError(f"{path}: damaged, offsets point outside of values")
    for name, problem in _impossible(arrays):
        raise BenchError(f"{path}: damaged, {name} {problem}")
    # A number beyond its type becomes infinite, which the readers know from runs that diverged.
    with np.errstate(over="ignore"):
        return {name: arrays[name].astype(_KINDS[kind]) for name, (kind, _) in _SHAPES.items()}


def _impossible(arrays: dict[str, NDArray[Any]]) -> Iterator[tuple[str, str]]:
    """Which arrays hold what no run writes, diverged or not, and what that is."""
    for name in ("site", "parameter"):
        if len(arrays[name]) > MOST_NAMES or not all(0 < len(one) <= 100 for one in arrays[name].tolist()):
            yield name, f"holds over {MOST_NAMES} names, or one that is empty or long"
    for name, least in (("channels", 1), ("step", 1), ("histogram", 0)):
        if arrays[name].size and not least <= arrays[name].min() <= arrays[name].max() < 2**31:
            yield name, "holds a number that is no count"
    for name in ("epoch", "edges", "curve_x"):
        if not (np.isfinite(arrays[name]) & (abs(arrays[name]) < 1e6)).all():
            yield name, "holds a number that is not finite or far too large"
    for name in ("step", "edges", "curve_x"):
        if (arrays[name][1:] <= arrays[name][:-1]).any():
            yield name, "does not ascend"
    if arrays["epoch"].min() < 0 or (np.diff(arrays["epoch"]) < 0).any():
        yield "epoch", "goes back"
