"""Archives of numpy arrays on disk: read without pickles, and any damage in one sentence."""

import io
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from lrelu_bench.errors import BenchError

_LARGEST = 1 << 30
Arrays = dict[str, NDArray[Any]]


def packed(**arrays: Any) -> bytes:
    """The content of an archive with these arrays, compressed."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read(path: Path, content: str) -> Arrays:
    """Every array of the file.

    Raises `FileNotFoundError` where it is not there, and `BenchError`, which says that the file does not hold
    `content`, where it is damaged or unpacks to more than 1 GiB, many times what a run writes.
    """
    try:
        with path.open("rb") as file:
            with ZipFile(file) as archive:
                if sum(member.file_size for member in archive.infolist()) > _LARGEST:
                    raise ValueError("larger than any")
            file.seek(0)
            return dict(np.load(file, allow_pickle=False))
    except FileNotFoundError:
        raise
    # What damage makes zipfile, its decompressors and numpy raise is no closed list.
    except Exception as error:
        raise BenchError(f"{path}: damaged, not {content} ({error})") from error
