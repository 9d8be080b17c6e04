"""Where one exported run lies: `<output>/<experiment>/seed-<n>`, with a note of what export wrote there."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

from lrelu_bench import plain_file
from lrelu_bench.errors import BenchError
from lrelu_bench.results import RunResult
from lrelu_bench.run_folder import RunFolder

NOTE = "lrelu-bench-export.json"
_LARGEST_NOTE = 100_000
FORMAT = 1
"""Counts up when the same run is exported otherwise than before."""

# No separator, no drive, not `..`: whatever a damaged or foreign result.json says stays below the output.
_NAME = re.compile(r"\w[\w.+=-]{0,199}")


@dataclass(frozen=True)
class Note:
    """What an export was made of, and the files it wrote."""

    tracker: str
    digest: str
    files: tuple[str, ...]
    """Relative to the folder, with `/`."""
    format: int = FORMAT

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The note in a folder; raises `BenchError` where the folder is not an export's."""
        path = folder / NOTE
        try:
            raw = json.loads(plain_file.read_text(path, _LARGEST_NOTE))
            return cls(str(raw["tracker"]), str(raw["digest"]), tuple(map(str, raw["files"])), raw["format"])
        except (BenchError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise BenchError(
                f"{folder}: is there and not written by export (no readable {NOTE}); "
                "move it away or give another --output"
            ) from error

    def save(self, folder: Path) -> None:
        """Write it into the folder."""
        (folder / NOTE).write_text(json.dumps(asdict(self), indent=1) + "\n")


class Place:
    """The folder of one exported run."""

    def __init__(self, output: Path, source: Path, result: RunResult) -> None:
        """Raises `BenchError` where the experiment's name in `source`'s result is not a folder's name."""
        if not _NAME.fullmatch(result.experiment):
            raise BenchError(
                f"{source / 'result.json'}: damaged, experiment is {result.experiment!r}, not a folder's name"
            )
        self.path = RunFolder.of(output, result.experiment, result.seed).path

    def state(self, tracker: str, digest: str) -> Literal["free", "same", "other"]:
        """Whether nothing is here, an export of just this, or another export.

        Raises `BenchError` where something is here that export did not write.
        """
        if not self.path.exists():
            return "free"
        note = Note.load(self.path)
        if note.tracker != tracker:
            raise BenchError(
                f"{self.path}: holds an export for {note.tracker}; give another --output for {tracker}"
            )
        return "same" if (note.digest, note.format) == (digest, FORMAT) else "other"

    def put(self, staged: Path, tracker: str, digest: str, scratch: Path) -> None:
        """Move what was exported here; an export that is here goes into `scratch`, to be deleted with it.

        Raises `BenchError` where a file is here that export did not write.
        """
        Note(tracker, digest, tuple(_files(staged))).save(staged)
        if self.path.exists():
            written = Note.load(self.path).files
            # `wandb sync` notes beside a run that it was uploaded.
            known = {NOTE, *written, *(f"{name}.synced" for name in written)}
            theirs = [name for name in _files(self.path) if name not in known]
            if theirs:
                raise BenchError(f"{self.path / theirs[0]}: not written by export; move it away first")
            self.path.rename(scratch / f"replaced-{digest}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(self.path)


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
