"""The state of a run on disk: saved whole, checked when it is read, and never unpickled as code."""

import hashlib
import random
import warnings
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from lrelu_bench.atomic_file import replacing
from lrelu_bench.checkpoint_header import DIGEST_CHARACTERS, MAGIC, About, require_whole
from lrelu_bench.errors import BenchError

State = dict[str, Any]
"""Tensors and plain values in dicts, lists and tuples."""


class _Hashing:
    """Writes to a file and hashes what it writes.

    torch makes a `RuntimeError` of its own of whatever is raised in here, so that waits in `failed`.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()
        self.failed: BaseException | None = None

    def write(self, data: Any) -> int:
        if self.failed is None:
            try:
                self.digest.update(data)
                self._file.write(data)
            except BaseException as error:
                self.failed = error
        return len(data)

    def flush(self) -> None:
        """The file is flushed by whoever opened it."""


def save(path: Path, about: About, state: State) -> None:
    """Write a checkpoint in place of the one at `path`; raises `BenchError` where that cannot be done."""
    with replacing(path) as file:
        file.write(MAGIC + b"0" * DIGEST_CHARACTERS + b"\n")
        hashing = _Hashing(file)
        hashing.write(about.packed())
        torch.save(state, hashing)  # type: ignore[arg-type]
        if hashing.failed is not None:
            raise hashing.failed
        file.seek(len(MAGIC))
        file.write(hashing.digest.hexdigest().encode())


def load(path: Path) -> State:
    """The state in a checkpoint, on the CPU; raises `DamagedError` where a bit of it has changed.

    Raises `BenchError` where it is whole, and this torch cannot read it.
    """
    # Read twice, so that it is never in memory beside its tensors: what a CPU's run has freed, it keeps.
    require_whole(path)
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            file.readline()
            file.readline()
            # Some releases warn of their own storages.
            warnings.simplefilter("ignore")
            state: State = torch.load(file, map_location="cpu", weights_only=True)
    # What another release of torch makes of it is no closed list.
    except Exception as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]
        raise BenchError(
            f"{path}: this torch {torch.__version__} cannot read it ({first_line}); go on with the release "
            "that environment.json names, or delete the file to begin anew"
        ) from error
    return state


def random_state(device: torch.device) -> State:
    """Where every random generator of the process stands; a user's activation may draw from any."""
    bits: Any = np.random.get_state(legacy=False)
    return {
        "python": random.getstate(),
        "numpy": {
            **bits,
            "state": {**bits["state"], "key": torch.from_numpy(bits["state"]["key"].astype(np.int64))},
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def set_random_state(state: State, device: torch.device) -> None:
    """Put every random generator where it stood."""
    random.setstate(state["python"])
    bits = state["numpy"]
    np.random.set_state(
        {**bits, "state": {**bits["state"], "key": bits["state"]["key"].numpy().astype(np.uint32)}}
    )
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
