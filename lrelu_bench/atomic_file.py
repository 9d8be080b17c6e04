"""Files that are whole or not there: written beside their place, synced to the disk, renamed into it."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from lrelu_bench.errors import BenchError

_TORN = re.compile(r"\..+\.[a-z0-9_]{8}\.part")


def cannot_write(path: Path, error: OSError) -> BenchError:
    """What to tell somebody whose `path` could not be written."""
    return BenchError(
        f"{path}: cannot write ({error.strerror or error}); free the disk, mend its permissions "
        "or give another folder with --output"
    )


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file to write to, which takes the place of `path` where the block ends without an error.

    Until then whatever is at `path` stays as it is. Raises `BenchError` where the file cannot be written
    (permissions, full disk).
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def write_atomically(path: Path, data: str | bytes) -> None:
    """Write `path` whole or not at all; raises `BenchError` as `replacing` does."""
    with replacing(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def probe(folder: Path) -> None:
    """Raises `BenchError` where `folder`, which is made if need be, takes no file of a megabyte.

    Less would not do: a full disk takes an empty file. Several processes may ask at once.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".writable.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(bytes(1 << 20))
        finally:
            # Whoever holds the folder's lock may have tidied it up.
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a loss of power, on systems that can be asked to."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def find_torn(folder: Path) -> list[Path]:
    """What writers that were killed left in `folder`; of a living one, too, so hold the folder's lock."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [folder / name for name in names if _TORN.fullmatch(name)]


def remove_torn(folder: Path) -> None:
    """Delete what `find_torn` finds, as far as it can be deleted."""
    for path in find_torn(folder):
        with suppress(OSError):
            path.unlink()
