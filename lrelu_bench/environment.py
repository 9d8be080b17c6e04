"""What a run ran on and with: versions, hardware, commit."""

import hashlib
import math
import os
import platform
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lrelu_bench import __version__

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "pydantic")


def package_versions() -> dict[str, str]:
    """Installed versions of what decides numbers; read from metadata, so nothing heavy is imported."""
    found = {"lrelu-bench": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def torch_cuda() -> str | None:
    """The CUDA version torch was built for, read from its version file: importing torch takes seconds."""
    spec = find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        return None
    text = (Path(spec.submodule_search_locations[0]) / "version.py").read_text()
    found = re.search(r"^cuda\b[^=\n]*= '([^']+)'", text, re.MULTILINE)
    return found.group(1) if found else None


def usable_cores() -> int:
    """Processor cores this process may use, by its affinity and its container's limit (Linux)."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(cores, _container_cores() or cores)


def _container_cores(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Cores that a container's share of processor time amounts to, rounded up; None without a limit."""
    try:
        if (root / "cpu.max").exists():  # version 2 of control groups, else 1
            quota, period = (root / "cpu.max").read_text().split()
        else:
            quota, period = (
                (root / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
            )
        share = float(quota) / float(period)
    except (OSError, ValueError):  # "max" is no number
        return None
    return math.ceil(share) if share > 0 else None


@cache
def source_commit() -> str | None:
    """Commit of the checkout this runs from, `+changes` where the package differs; None outside one.

    Asked once per process: a commit made while a run trains is not what it ran.
    """
    package = Path(__file__).parent
    try:
        tracked = _git(package, "ls-files", "--error-unmatch", "environment.py")
        commit = _git(package, "rev-parse", "HEAD") if tracked else ""
        changes = _git(package, "status", "--porcelain", "--untracked-files=all", "--", str(package))
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if changes else "")


_DECIDES_NO_NUMBER = (
    "cli",
    "configs",
    "doctor",
    "evidence",
    "export",
    "leaderboard",
    "reference",
    "report",
    "sweep",
)


@cache
def code_digest() -> str:
    """Twelve hex digits of the package's source, as far as it can decide a run's numbers.

    Read once per process: a file changed while a run trains is not what it ran.
    """
    package, found = Path(__file__).parent, hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package)
        if name.parts[0] not in _DECIDES_NO_NUMBER:
            found.update(f"{name.as_posix()}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return found.hexdigest()[:12]


def _git(where: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(where), *arguments], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


def cpu_name() -> str:
    """The processor's model name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def peak_memory_bytes() -> int:
    """Peak resident memory of this process so far, bytes; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe() -> dict[str, Any]:
    """Versions, hardware and commit, as plain data. Imports torch."""
    import torch

    gpu = None
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        gpu = {
            "name": properties.name,
            "memory_bytes": properties.total_memory,
            "count": torch.cuda.device_count(),
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    return {
        "versions": {**package_versions(), "cuda": torch.version.cuda},
        "system": platform.platform(),
        "cpu": cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "commit": source_commit(),
    }
