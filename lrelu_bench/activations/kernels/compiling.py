"""How kernels come into this process: from Numba's cache, which another process fills the first time.

The compiler leaves behind some 30 MB that no kernel needs; a process of its own takes them along when it
ends. Whatever keeps that process from its work, this one then compiles by itself.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding
import numba

from lrelu_bench.activations.kernels import llvm_pages

Specialisation = tuple[Any, tuple[Any, ...]]
"""A function of Numba's and the types of its arguments."""

TIMEOUT_S = 300
"""After which the other process counts as hanging: about a hundred times what it takes."""


def kept(**options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: compiled by Numba with these options, and kept in its cache where it can be."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        compiled: Callable[..., None]
        try:
            compiled = numba.njit(cache=True, **options)(function)
        except RuntimeError:
            # No folder may be written to keep the machine code: every process compiles anew.
            compiled = numba.njit(**options)(function)
        return compiled

    return decorate


def part_of_others(**options: Any) -> Any:
    """Decorator: compiled as a part of what calls it, and for Python not at all, which halves the time."""
    compile_only: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(forceinline=True, **compile_only, **options)


def load(specialisations: Iterable[Specialisation], sources: Sequence[Path], command: str) -> None:
    """Make kernels ready, compiled at most once on a machine, and keep nothing of the compiler's.

    Args:
        specialisations: all that is to be ready.
        sources: the kernels' files.
        command: Python that compiles the same in another process.
    """
    wanted = list(specialisations)
    folder = wanted[0][0].stats.cache_path
    # Linux alone, where starting a process is cheap and its memory was measured.
    if folder is not None and sys.platform == "linux":
        with suppress(OSError):
            _fill_cache(Path(folder), sources, command)
    for kernel, types in wanted:
        kernel.compile(types)
    llvm_pages.give_back()


def _fill_cache(folder: Path, sources: Sequence[Path], command: str) -> None:
    """Run the command, unless a marker beside Numba's cache says that it ran."""
    marker = folder / f"kernels-{_digest(command, *_host())[:16]}.compiled"
    # Of these, Numba's cache keeps the last one alone.
    texts = (source.read_text(encoding="utf-8") for source in sources)
    latest = _digest(numba.__version__, llvmlite.__version__, *texts)
    known = marker.exists() and marker.read_bytes() == latest.encode()
    if not known and run(command):
        marker.write_bytes(latest.encode())


def _host() -> list[str]:
    """What Numba's cache keeps side by side, so that machines may share a home folder."""
    return [
        f"{sys.implementation.cache_tag}{sys.abiflags}",
        llvmlite.binding.get_host_cpu_name(),
        llvmlite.binding.get_host_cpu_features().flatten(),
        *(os.environ.get(name, "") for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")),
    ]


def run(command: str) -> bool:
    """Whether the command went through in a Python of its own that finds modules where this one does."""
    # Elsewhere, `sys.executable` may be the application, which would start once more.
    is_python = Path(sys.executable or "").name.startswith("python") and not getattr(sys, "frozen", False)
    if not is_python:
        return False
    places = [place for place in sys.path if isinstance(place, str)]
    code = f"import sys; sys.path[:] = sys.argv[1:]; {command}"
    quiet = subprocess.DEVNULL
    try:
        # Warnings are not errors there, even where they are here.
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, *places],
            stdin=quiet,
            stdout=quiet,
            stderr=quiet,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
