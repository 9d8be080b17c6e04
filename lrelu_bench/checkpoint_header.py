"""What a checkpoint says of itself, read and written without torch.

A checkpoint file is three parts: a line with a magic word and the SHA-256 of all that follows it, a line of
JSON (`About`), and the state as `torch.save` writes it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from lrelu_bench.errors import BenchError
from lrelu_bench.run_folder import CHECKPOINTS

MAGIC = b"lrelu-bench checkpoint 1 "
DIGEST_CHARACTERS = 64
_LONGEST = 1 << 20


class DamagedError(Exception):
    """The file is no whole checkpoint; the message says why."""


@dataclass(frozen=True)
class About:
    """Which run a checkpoint is of, and how far it had come."""

    number: int
    """Counts up with each that the run saved: the clock may jump, and says nothing."""
    epoch: int
    """Epochs done."""
    step: int
    """Optimizer steps done of the next."""
    identity: Mapping[str, str]
    """All that must be the same for the run to go on: see `lrelu_bench.continuing`."""

    @property
    def where(self) -> str:
        """The place, in words."""
        return f"epoch {self.epoch + 1}, after step {self.step}" if self.step else f"after epoch {self.epoch}"

    def packed(self) -> bytes:
        """The line of the file."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Of a file, its digest unlooked at; raises `DamagedError`, or `OSError` where it is not there."""
        if path.exists() and not path.is_file():
            raise DamagedError("is no plain file")
        with path.open("rb") as file:
            first = file.readline(len(MAGIC) + DIGEST_CHARACTERS + 1)
            second = file.readline(_LONGEST)
        if not first.startswith(MAGIC) or not first.endswith(b"\n"):
            raise DamagedError("does not begin as a checkpoint does")
        try:
            about = cls(**json.loads(second))
        except (ValueError, TypeError, RecursionError) as error:
            raise DamagedError(f"its second line is damaged ({error})") from error
        counts = (about.number, about.epoch, about.step)
        named = about.identity.items() if isinstance(about.identity, dict) else [(None, None)]
        if any(type(count) is not int for count in counts) or any(type(v) is not str for _, v in named):
            raise DamagedError("its second line does not say what it should")
        return about


def require_whole(path: Path) -> None:
    """Raises `DamagedError` where a bit of the file has changed, or it cannot be read to its end."""
    try:
        with path.open("rb") as file:
            first = file.readline(len(MAGIC) + DIGEST_CHARACTERS + 1)
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DamagedError(f"cannot be read ({error.strerror or error})") from error
    if first != MAGIC + found.encode() + b"\n":
        raise DamagedError("its digest does not match: the file is damaged")


def require_readable(folder: Path) -> None:
    """Raises `BenchError` where a checkpoint is in a run's folder that the system does not let us read.

    Unlike a damaged one it may still be whole.
    """
    for name in CHECKPOINTS:
        if (folder / name).exists() and not (folder / name).is_file():
            continue
        try:
            with (folder / name).open("rb") as file:
                file.read(1)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise BenchError(
                f"{folder / name}: cannot be read ({error.strerror or error}), and holds what was trained so "
                "far; mend its permissions, or train anew with --force, which discards it"
            ) from error


def in_order(folder: Path) -> tuple[list[tuple[Path, About]], list[str]]:
    """The checkpoints of a run's folder, the newest first, and a sentence for each that cannot be read."""
    found, problems = [], []
    for name in CHECKPOINTS:
        path = folder / name
        try:
            found.append((path, About.read(path)))
        except FileNotFoundError:
            continue
        except (OSError, DamagedError) as error:
            problems.append(f"{path}: {error}")
    return sorted(found, key=lambda one: one[1].number, reverse=True), problems
