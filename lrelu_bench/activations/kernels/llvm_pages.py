"""Gives the pages of LLVM back to the system once kernels are loaded.

Running Numba's compiler, if only to load a kernel from its cache, reads some 70 MB of LLVM's library into
this process, where they stay although no kernel calls them. They are the file's own pages: dropped, they are
read again should LLVM run again.
"""

import ctypes
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

# llvmlite's own library, and LLVM's where a distribution links it dynamically.
_LIBRARY = re.compile(r"/lib(llvmlite|LLVM)[^/]*$")
# A changed page is a copy in memory or in swap. "Dirty" ones may be the file's, just installed and not yet on
# the disk.
_COPIES = ("Anonymous", "Swap")
_MADV_DONTNEED = 4  # Linux's asm-generic/mman-common.h; alpha alone has another, which Numba has no code for


def give_back() -> None:
    """Drop what is resident of LLVM's code and constants; does nothing where the system is not Linux."""
    if sys.platform != "linux":
        return
    try:
        madvise = ctypes.CDLL(None).madvise
        # Line by line: the whole of it takes megabytes itself.
        with Path("/proc/self/smaps").open(encoding="utf-8", errors="replace") as smaps:
            unchanged = list(unchanged_mappings(smaps))
    except (OSError, AttributeError):
        return
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for start, stop in unchanged:
        madvise(start, stop - start, _MADV_DONTNEED)


def unchanged_mappings(smaps: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Addresses (start, stop) of LLVM's mappings of which every page is as in the file.

    The dynamic linker writes addresses into some pages and makes them read-only only then. Dropped, these
    would come back without the addresses: where a single page was changed, resident or swapped out, the
    whole mapping is left alone.
    """
    for heading, sizes in _mappings(smaps):
        addresses, permissions, *_ = heading.split()
        path = heading.rstrip().removesuffix(" (deleted)")
        readable_only = permissions.startswith("r-") and permissions.endswith("p")
        if readable_only and _LIBRARY.search(path) and all(sizes.get(kind) == 0 for kind in _COPIES):
            start, stop = (int(address, 16) for address in addresses.split("-"))
            yield start, stop


def _mappings(smaps: Iterable[str]) -> Iterator[tuple[str, dict[str, int]]]:
    """The line that heads each mapping, and its sizes in kB."""
    heading, sizes = "", dict[str, int]()
    for line in smaps:
        name, *values = line.split()
        if not name.endswith(":"):
            if heading:
                yield heading, sizes
            heading, sizes = line, {}
        elif values[-1:] == ["kB"]:
            sizes[name[:-1]] = int(values[0])
    if heading:
        yield heading, sizes
