"""Processor and memory, as far as this process may use them."""

import os
from collections.abc import Iterator
from pathlib import Path

from lrelu_bench.doctor.finding import Finding, ok, warning
from lrelu_bench.doctor.folders import size
from lrelu_bench.environment import cpu_name, usable_cores

CONTROL_GROUPS = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
RUN_BYTES = 2 * 10**9
"""What a run on the CPU takes at 128 px and batch 64, generously."""


def cores() -> Iterator[Finding]:
    """How many cores a run gets, by affinity and the container's share."""
    usable, all_ = usable_cores(), os.cpu_count() or 1
    share = "" if usable == all_ else f" of {all_}: affinity or the container's share leaves no more"
    yield ok("processor", f"{cpu_name()}, {usable} core{'s' * (usable != 1)} usable{share}")
    threads = os.environ.get("OMP_NUM_THREADS", "")
    first = threads.split(",")[0].strip()
    if threads and not (first.isdigit() and int(first) > 0):
        yield warning("OMP_NUM_THREADS", f"{threads!r} is no number of threads", "unset OMP_NUM_THREADS")
    elif threads and int(first) != usable:
        which = "leaves cores idle" if int(first) < usable else "is more than there are cores"
        yield warning(
            "OMP_NUM_THREADS",
            f"{first} thread{'s' * (first != '1')} for {usable} cores {which}",
            "unset OMP_NUM_THREADS: lrelu-bench then takes one thread a core",
        )


def memory() -> Iterator[Finding]:
    """How much memory a run may have: the system's and the container's."""
    total, available = _of_system()
    if total is None or available is None:
        yield ok("memory", "this system does not tell how much there is")
        return
    limit, used = _of_container(CONTROL_GROUPS)
    of = f"{size(total)}"
    if limit is not None and limit < total:
        available = min(available, max(limit - used, 0))
        of = f"the container's {size(limit)}"
    detail = f"{size(available)} of {of} available"
    if available < RUN_BYTES:
        yield warning(
            "memory",
            f"{detail}; a run on the CPU takes about {size(RUN_BYTES)} at 128 px",
            "end other programs, or lower batch_size or size",
        )
    else:
        yield ok("memory", detail)


def _of_system() -> tuple[int | None, int | None]:
    """Total and available bytes; None where the system does not tell."""
    try:
        fields = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines() if ":" in line)
        total, available = (int(fields[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError, IndexError):
        return None, None
    return total, available


def _of_container(root: Path) -> tuple[int | None, int]:
    """(limit, bytes in use that cannot be taken back) of the control group; None without a limit."""
    version_2 = (root / "memory.max", root / "memory.current", root / "memory.stat", "inactive_file")
    folder = root / "memory"
    version_1 = (
        folder / "memory.limit_in_bytes",
        folder / "memory.usage_in_bytes",
        folder / "memory.stat",
        "total_inactive_file",
    )
    limit_file, used_file, stat_file, cached_name = version_2 if version_2[0].exists() else version_1
    try:
        limit, used = int(limit_file.read_text()), int(used_file.read_text())
        stat = dict(line.split() for line in stat_file.read_text().splitlines())
        return limit, used - int(stat.get(cached_name, 0))
    except (OSError, ValueError):  # "max" is no number
        return None, 0
