"""The configs that ship with the package, by name."""

from difflib import get_close_matches
from pathlib import Path

from lrelu_bench.errors import BenchError

DEFAULT = "quickstart"
_PACKAGE = Path(__file__).parent
# An installed package carries them inside; a checkout has them beside it.
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")


def shipped_configs() -> dict[str, Path]:
    """Every shipped config file by its name without `.yaml`."""
    folder = next((folder for folder in _FOLDERS if (folder / f"{DEFAULT}.yaml").is_file()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def config_path(name: str | Path) -> Path:
    """A config file by path, or a shipped one by name.

    Raises `BenchError` for a bare name that is neither.
    """
    path, shipped = Path(name), shipped_configs()
    if path.exists() or str(name) not in shipped:
        if not path.exists() and path.parent == Path() and not path.suffix:
            near = get_close_matches(str(name), shipped, 1)
            hint = f"did you mean {near[0]}?" if near else f"the shipped ones: {', '.join(shipped)}"
            raise BenchError(f"{name}: no such file, and no shipped config; {hint}")
        return path
    return shipped[str(name)]
