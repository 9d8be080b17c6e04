"""What can be said of a folder: whether it may be written, and how much is free there."""

import os
import shutil
import tempfile
from pathlib import Path

_PROBE_BYTES = 1 << 20
"""A full disk takes an empty file."""


def why_not_writable(folder: Path) -> str | None:
    """Why nothing can be written into a folder, or where it would be made; None where it can.

    Found by writing a file without a name, because permissions do not tell of full or read-only disks.
    """
    where = existing(folder)
    if not where.is_dir():
        return f"{where} is no folder"
    try:
        with tempfile.TemporaryFile(dir=where, prefix=".doctor-") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"{where}: {error.strerror or error}"
    return None


def free_bytes(folder: Path) -> int:
    """What is free on the disk of a folder, or of where it would be made."""
    return shutil.disk_usage(existing(folder)).free


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next((place for place in (folder, *folder.parents) if os.path.lexists(place)), Path())


def size(number: int) -> str:
    """Bytes for reading: `1.3 GB`."""
    return f"{number / 1e9:,.1f} GB" if number >= 1e8 else f"{number / 1e6:,.1f} MB"
