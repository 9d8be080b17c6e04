"""The configs and sweeps that ship with the package, by name."""

from difflib import get_close_matches
from pathlib import Path

from lrelu_bench.errors import BenchError

DEFAULT = "quickstart"
_PACKAGE = Path(__file__).parent
# An installed package carries them inside; a checkout has them beside it.
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")


def _folder() -> Path | None:
    return next((folder for folder in _FOLDERS if (folder / f"{DEFAULT}.yaml").is_file()), None)


def shipped_configs() -> dict[str, Path]:
    """Every shipped config file by its name without `.yaml`."""
    folder = _folder()
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def shipped_sweeps() -> dict[str, Path]:
    """Every shipped sweep file by its name without `.yaml`."""
    folder = _folder()
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("sweeps/*.yaml"))}


def config_path(name: str | Path) -> Path:
    """A config file by path, or a shipped one by name.

    Raises `BenchError` for a bare name that is neither.
    """
    return _found(name, shipped_configs(), "config")


def sweep_path(name: str | Path) -> Path:
    """A sweep file by path, or a shipped one by name.

    Raises `BenchError` for a bare name that is neither.
    """
    return _found(name, shipped_sweeps(), "sweep")


def _found(name: str | Path, shipped: dict[str, Path], kind: str) -> Path:
    path = Path(name)
    if path.exists() or str(name) not in shipped:
        if not path.exists() and path.parent == Path() and not path.suffix:
            near = get_close_matches(str(name), shipped, 1)
            hint = f"did you mean {near[0]}?" if near else f"the shipped ones: {', '.join(shipped)}"
            raise BenchError(f"{name}: no such file, and no shipped {kind}; {hint}")
        return path
    return shipped[str(name)]
