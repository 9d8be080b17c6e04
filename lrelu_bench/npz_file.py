"""Archives of numpy arrays on disk: read without pickles, and any damage in one sentence."""

import io
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from lrelu_bench.errors import BenchError

Arrays = dict[str, NDArray[Any]]


def packed(**arrays: Any) -> bytes:
    """The content of an archive with these arrays, compressed."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read(path: Path, content: str) -> Arrays:
    """Every array of the file.

    Raises `FileNotFoundError` where it is not there, and `BenchError`, which says that the file does not hold
    `content`, where it is damaged.
    """
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, NpzFile):
                raise ValueError("one array, not an archive of arrays")
            return dict(loaded)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, EOFError, KeyError, AttributeError, BadZipFile, zlib.error) as error:
        raise BenchError(f"{path}: damaged, not {content} ({error})") from error
