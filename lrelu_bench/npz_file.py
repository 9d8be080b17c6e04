"""Archives of numpy arrays on disk: read without pickles or bombs, and any damage in one sentence."""

import io
import math
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
from numpy.typing import NDArray

from lrelu_bench import plain_file
from lrelu_bench.errors import BenchError

_LARGEST_FILE = 64_000_000
_LARGEST = 256_000_000
"""Bytes of all arrays together: many times what a run writes."""
_MOST_ARRAYS = 100
# With each array's entry in the zip file's list; counted before zipfile makes an object of each.
_ENTRY = b"PK\x01\x02"
Arrays = dict[str, NDArray[Any]]


def packed(**arrays: Any) -> bytes:
    """The content of an archive with these arrays, compressed."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read(path: Path, content: str) -> Arrays:
    """Every array of the file, in this machine's byte order.

    Raises `MissingError` where it is not there, and `BenchError`, which says that the file does not hold
    `content`, where it is damaged, or larger, as it is or unpacked, than any that a run writes.
    """
    raw = plain_file.read_bytes(path, _LARGEST_FILE, f"it does not hold {content}")
    try:
        return _arrays(raw)
    # What damage makes zipfile, its decompressors and numpy raise is no closed list.
    except Exception as error:
        raise BenchError(f"{path}: damaged, not {content} ({error})") from error


def _arrays(raw: bytes) -> Arrays:
    if raw.count(_ENTRY) > _MOST_ARRAYS:
        raise ValueError("more arrays than any")
    with ZipFile(io.BytesIO(raw)) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > _LARGEST:
            raise ValueError("larger than any")
        # Other methods unpack, or reserve, as much as a few bytes tell them to.
        if any(member.compress_type not in (ZIP_STORED, ZIP_DEFLATED) for member in members):
            raise ValueError("packed in a way that numpy never does")
        found: Arrays = {}
        for member in members:
            with archive.open(member) as stream:
                found[member.filename.removesuffix(".npy")] = _array(stream, member.file_size)
        return found


def _array(stream: IO[bytes], size: int) -> NDArray[Any]:
    """One array, whose header must claim just the `size` bytes that are there: `np.load` takes its word."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, by_columns, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"an array of format {version}")
    if dtype.kind not in "biufSU" or dtype.itemsize == 0 or (dtype.kind == "f" and dtype.itemsize > 8):
        raise ValueError(f"an array of {dtype}")
    if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != size - stream.tell():
        raise ValueError(f"an array that is not of its shape {shape}")
    values = np.frombuffer(stream.read(), dtype)
    array = values.reshape(shape, order="F" if by_columns else "C").astype(dtype.newbyteorder("="))
    if dtype.kind == "U":
        _require_text(array)
    return array


def _require_text(array: NDArray[Any]) -> None:
    """Raises `ValueError` where a letter of the array is none."""
    letters = np.ascontiguousarray(array).reshape(-1).view(np.uint32)
    if ((letters > 0x10FFFF) | ((letters >= 0xD800) & (letters < 0xE000))).any():
        raise ValueError("text that is not Unicode")
