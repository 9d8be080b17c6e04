"""The data folder: space, and the state of every archive and cache, by names and sizes alone."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from lrelu_bench.atomic_file import find_torn
from lrelu_bench.doctor.finding import Finding, ok, problem, warning
from lrelu_bench.doctor.folders import existing, free_bytes, size, why_not_writable
from lrelu_bench.errors import BenchError
from lrelu_bench.locks import is_held

NEEDED_BYTES = 2 * 10**9
"""What an archive of 160 px and its cache take, generously."""
LEAST_BYTES = 64 << 20
_LEFTOVERS = {
    "": (".importing-*",),
    "cache": (".building-*", ".discarded-*"),
    "archives": ("*.importing", "*.new"),
}
"""By folder, what stays of a process that was killed."""
_SHOWN = 3


def folder() -> Iterator[Finding]:
    """Where the data lies: whether it can be written, and how much is free."""
    from lrelu_bench.data.archives import data_home, ready_cache
    from lrelu_bench.data.catalog import ARCHIVES

    home = data_home()
    why = why_not_writable(home)
    if why is None:
        made = "" if home.exists() else ", made when data is fetched"
        yield ok("data folder", f"{home}{made}")
    else:
        # Runs need no more than to read what is decoded already.
        some = existing(home).is_dir() and any(ready_cache(archive, home) for archive in ARCHIVES.values())
        kind = warning if some else problem
        yield kind(
            "data folder",
            f"{home} cannot be written ({why})",
            "mend its permissions or free the disk, or set LRELU_BENCH_DATA to a folder of yours",
        )
    free = free_bytes(home)
    if free >= NEEDED_BYTES:
        yield ok("space for data", f"{size(free)} free")
    else:
        kind = problem if free < LEAST_BYTES else warning
        yield kind(
            "space for data",
            f"{size(free)} free; an archive of 160 px and its cache take up to {size(NEEDED_BYTES)}",
            "free some, or set LRELU_BENCH_DATA to a folder on a larger disk",
        )


def archives() -> Iterator[Finding]:
    """Every archive that is here, and in one line those that are not."""
    from lrelu_bench.data.archives import data_home
    from lrelu_bench.data.catalog import ARCHIVES

    home = data_home()
    absent = []
    for archive in ARCHIVES.values():
        try:
            findings = list(_archive(archive.name, home))
        except OSError as error:
            what = f"cannot be looked at ({error.filename or home}: {error.strerror or error})"
            yield problem("archives", what, "mend the permissions there, or set LRELU_BENCH_DATA")
            return
        yield from findings
        if not findings:
            absent.append(archive.name)
    if absent:
        yield ok("not here", f"{', '.join(absent)}; a run fetches what it needs")


def _archive(name: str, home: Path) -> Iterator[Finding]:
    """State of one archive and its caches; nothing where neither is here."""
    from lrelu_bench.data.archives import recorded, state
    from lrelu_bench.data.cache import open_cache
    from lrelu_bench.data.catalog import ARCHIVES

    archive = ARCHIVES[name]
    here = state(archive, home)
    file_damage = None
    if here.status != "partial" and here.path is not None and recorded(archive, home) is None:
        file_damage = _damage(name, here.path, {digest.bytes for digest in archive.digests})
        if file_damage is not None:
            yield file_damage
    bad = list(_caches(name, home))
    # Without the damaged file its cache serves again.
    yield from bad if file_damage is None else (one for one in bad if one.status == "problem")
    if here.status == "ready":
        try:
            images = open_cache(archive, home)
        except BenchError:
            return  # It is among the damaged ones.
        yield ok(name, f"ready, {len(images):,} images; {here.detail.rstrip('.')}")
    elif here.status == "partial":
        yield ok(name, f"partial: {here.detail.rstrip('.')}")
    elif here.status == "archive" and file_damage is None and not bad:
        yield ok(name, f"archive, {size(here.bytes)}; decoded at its first use")


def _damage(name: str, path: Path, published: set[int | None]) -> Finding | None:
    """What is wrong with an archive file that no record speaks of, by its size."""
    found = path.stat().st_size
    if path.with_suffix(".json").exists():
        return problem(
            name,
            f"{path} has {found:,} bytes, which is not what its record says",
            f"move it away; unless a cache of it serves then, lrelu-bench data fetch {name}",
        )
    lengths = {length for length in published if length is not None}
    if lengths and found not in lengths:
        return warning(
            name,
            f"{path} has {found:,} bytes, not the {' or '.join(f'{n:,}' for n in sorted(lengths))} of the "
            "official ones, and no record",
            f"if it is whole: lrelu-bench data import {name} {path}",
        )
    return None


def _caches(name: str, home: Path) -> Iterator[Finding]:
    """Caches of an archive that cannot be opened, and whole ones that serve no archive."""
    from lrelu_bench.data.archives import ready_cache
    from lrelu_bench.data.cache import ImageCache
    from lrelu_bench.data.catalog import ARCHIVES

    serving = ready_cache(ARCHIVES[name], home)
    for folder_ in sorted((home / "cache").glob(f"{name}-*")):
        if not re.fullmatch(re.escape(name) + "-[0-9a-f]{12}", folder_.name):
            continue  # imagenette2-160's, of imagenette2
        try:
            ImageCache(folder_)
        except BenchError as error:
            why, _, remedy = str(error).partition("; ")
            yield problem(name, why, remedy or f"lrelu-bench data fetch {name}")
        else:
            if folder_ != serving:
                yield warning(
                    name,
                    f"{folder_} serves no archive here and takes {size(_bytes_in(folder_))}",
                    f"delete the folder {folder_}, if you do not want it",
                )


def digits() -> Iterator[Finding]:
    """MNIST's files: they are small, so they are read."""
    from lrelu_bench.data import mnist
    from lrelu_bench.data.archives import data_home

    raw = mnist.folder_of(data_home())
    here = [name for name in mnist.FILES if (raw / name).is_file()]
    bad = [sentence for name in here if (sentence := mnist.problem(raw / name))]
    for sentence in bad:
        what, _, remedy = sentence.partition("; ")
        yield problem("MNIST", what, remedy or "fetch it again: lrelu-bench data fetch mnist")
    if not bad:
        ready = [dataset for dataset in mnist.COUNTS if mnist.is_here(dataset, data_home())]
        serves = f", enough for {' and '.join(ready)}" if ready else "; a run fetches what it needs"
        yield ok("MNIST", f"{len(here)} of {len(mnist.FILES)} files here{serves}")


def leftovers() -> Iterator[Finding]:
    """What killed processes left, and downloads that were set aside as bad."""
    from lrelu_bench.data.archives import data_home

    home = data_home()
    locks = [lock for depth in ("*", "*/*", "*/*/*") for lock in sorted(home.glob(f"{depth}.lock"))]
    working = [lock for lock in locks if is_held(lock)]
    if working:
        names = ", ".join(lock.name.removesuffix(".lock") for lock in working)
        yield ok("at work", f"another process holds {names}")
    left = []
    for part, patterns in _LEFTOVERS.items():
        left += [path for pattern in patterns for path in sorted((home / part).glob(pattern))]
        left += find_torn(home / part)
    # A part without its archive is a download to go on with.
    left += [part for part in sorted((home / "archives").glob("*.part")) if part.with_suffix("").exists()]
    if working:
        left = []  # Of them some are its work.
    if left:
        yield _of(left, "leftovers", "left by processes that were killed", warning)
    bad = sorted((home / "archives").glob("*.bad*"))
    if bad:
        yield _of(bad, "bad downloads", "set aside, because they were not what was asked for", warning)
    if not left and not bad:
        yield ok("leftovers", "none")


def _of(paths: list[Path], check: str, why: str, kind: Callable[[str, str, str], Finding]) -> Finding:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    named = ", ".join(map(str, paths[:_SHOWN])) + more
    takes = size(sum(map(_bytes_in, paths)))
    return kind(check, f"{named}: {takes}, {why}", "delete what is named here")


def _bytes_in(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())
