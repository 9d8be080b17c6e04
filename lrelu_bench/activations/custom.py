"""A user's own activation, named as `package.module:Class`: its file, and what that file holds.

Nothing here imports the user's module, nor torch: configs are read and keyed without running them.
"""

import importlib
import sys
from hashlib import sha256
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

from lrelu_bench.errors import BenchError
from lrelu_bench.plain_file import read_bytes

_LARGEST = 64_000_000
_WORD = "[A-Za-z_][A-Za-z0-9_]*"
NAME_PATTERN = rf"{_WORD}(\.{_WORD})*:{_WORD}"
"""What such a name looks like, as a regular expression for the whole of it."""


def import_path() -> list[str]:
    """Where a user's module is looked for: the current folder first, as `python -m` does."""
    return [str(Path.cwd()), *sys.path]


def code_digest(name: str) -> str | None:
    """SHA-256 of the file of the class's module as it is now, 64 hex digits; None where there is no file."""
    path = _source(name.partition(":")[0])
    try:
        return None if path is None else sha256(read_bytes(path, _LARGEST)).hexdigest()
    except BenchError:
        return None


def unrunnable(name: str, code: str | None) -> str | None:
    """Why the class cannot be run from here with the code (64 hex digits) that its config names."""
    here = code_digest(name)
    if here is None or code is None:
        module = name.partition(":")[0]
        return f"no file of a module {module} here; check the name, or run in the folder that holds it"
    if here != code:
        return (
            f"its file is not the one of activation.code ({code[:8]}); bring that back, or remove "
            "activation.code from the config"
        )
    return None


def _source(module: str) -> Path | None:
    """The module's file. Unlike `importlib.util.find_spec`, this does not import the packages around it."""
    # A file written a moment ago is not yet in the finders' listings.
    importlib.invalidate_caches()
    top, *inner = module.split(".")
    spec = PathFinder.find_spec(top, import_path()) or _installed(top)
    for depth in range(len(inner)):
        if spec is None or spec.submodule_search_locations is None:
            return None
        full = ".".join([top, *inner[: depth + 1]])
        spec = PathFinder.find_spec(full, list(spec.submodule_search_locations))
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    return Path(spec.origin)


def _installed(top: str) -> ModuleSpec | None:
    """What finders other than the path's know, such as that of an editable install."""
    try:
        return find_spec(top)
    except ValueError:  # a module without a spec, such as __main__
        return None
