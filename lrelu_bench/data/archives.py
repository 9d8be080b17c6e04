"""Archives on this machine: fetch, import and verify them, and say what state each is in."""

from __future__ import annotations

import os
import re
import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lrelu_bench import locks
from lrelu_bench.data import download as transfer
from lrelu_bench.data.cache_meta import whole_meta
from lrelu_bench.data.catalog import Archive
from lrelu_bench.data.digests import hash_file, require_digest
from lrelu_bench.data.disk import put_in_place, require_space, writing
from lrelu_bench.data.extract import check_layout
from lrelu_bench.data.progress import Progress, say
from lrelu_bench.data.records import Record, read_record, write_record
from lrelu_bench.data.web import DownloadError
from lrelu_bench.errors import BenchError


@dataclass(frozen=True)
class ArchiveState:
    """Where an archive stands: "ready" means decoded into the cache; `bytes` is the size of the file here.

    "damaged" is a cache with files missing or torn, and no archive to rebuild it from.
    """

    archive: Archive
    path: Path | None
    bytes: int
    digest: str | None
    official: bool
    status: Literal["absent", "partial", "archive", "ready", "damaged"]
    detail: str


def data_home() -> Path:
    """The folder all data lies under: LRELU_BENCH_DATA, else `lrelu-bench` in the user's cache folder."""
    if chosen := os.environ.get("LRELU_BENCH_DATA"):
        # Absolute, because caches are opened again in workers that may run elsewhere.
        return Path(chosen).expanduser().absolute()
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "lrelu-bench"


def archive_path(archive: Archive, home: Path) -> Path:
    """Where the archive's file lies, or will."""
    return home / "archives" / archive.filename


def record_path(archive: Archive, home: Path) -> Path:
    """Where what is known of the archive's file lies, or will."""
    return home / "archives" / f"{archive.name}.json"


def cache_path(archive: Archive, home: Path, sha256: str) -> Path:
    """Where the decoded pixels of the archive file with this digest lie, or will."""
    return home / "cache" / f"{archive.name}-{sha256[:12]}"


def cache_folder(archive: Archive, home: Path) -> Path | None:
    """The cache folder of `archive`, whole or damaged, or None; it outlives archive and record."""
    record = recorded(archive, home)
    if record is not None:
        folder = cache_path(archive, home, record.sha256)
        return folder if folder.exists() else None
    if archive_path(archive, home).exists():
        return None
    pattern = re.compile(re.escape(archive.name) + r"-[0-9a-f]{12}")
    folders = [folder for folder in sorted((home / "cache").glob("*")) if pattern.fullmatch(folder.name)]
    folders = [folder for folder in folders if whole_meta(folder)] or folders
    return folders[0] if len(folders) == 1 else None


def ready_cache(archive: Archive, home: Path) -> Path | None:
    """The cache folder that serves `archive`, or None where there is none or files of it are torn."""
    folder = cache_folder(archive, home)
    return folder if folder is not None and whole_meta(folder) else None


def state(archive: Archive, home: Path) -> ArchiveState:
    """Where `archive` stands under `home`, from records and sizes alone (nothing is hashed)."""
    path = archive_path(archive, home)
    part = _part(path)
    record = recorded(archive, home)
    folder = cache_folder(archive, home)
    meta = whole_meta(folder) if folder is not None else None
    digest = f"sha256:{record.sha256}" if record else meta.digest if meta else None
    official = record.official if record else meta.official if meta else False
    left_out = ""
    if meta is not None and meta.unreadable:
        left_out = f" {len(meta.unreadable)} of its images cannot be decoded and are left out."
    if path.exists():
        size = path.stat().st_size
        detail = record.detail if record else "found without a record: it is checked at its first use."
        status: Literal["archive", "ready"] = "ready" if meta else "archive"
        return ArchiveState(archive, path, size, digest, official, status, detail + left_out)
    if meta is not None:
        detail = f"decoded; the archive itself is gone.{left_out}"
        return ArchiveState(archive, None, 0, digest, official, "ready", detail)
    if part.exists():
        size = part.stat().st_size
        detail = f"{size} bytes are downloaded; fetching goes on from there."
        return ArchiveState(archive, part, size, None, False, "partial", detail)
    if folder is not None:
        detail = f"its cache is damaged and the archive is gone; run `lrelu-bench data fetch {archive.name}`."
        return ArchiveState(archive, None, 0, digest, official, "damaged", detail)
    return ArchiveState(archive, None, 0, None, False, "absent", f"to be fetched from {archive.url}.")


def recorded(archive: Archive, home: Path) -> Record | None:
    """The record of the archive, or None where there is none or it speaks of another file than is here."""
    record = read_record(record_path(archive, home))
    path = archive_path(archive, home)
    if record is None or (path.exists() and path.stat().st_size != record.bytes):
        return None
    return record


def ensure_record(archive: Archive, home: Path, progress: Progress | None = None) -> Record:
    """The record of the archive file on disk; one put there by hand is checked and recorded first.

    Raises BenchError where the file is absent or is no whole archive.
    """
    record = recorded(archive, home)
    if record is not None:
        return record
    path = archive_path(archive, home)
    if not path.exists():
        raise absent(archive, home)
    record = _inspect(archive, path, origin=path.name, progress=progress)
    write_record(record_path(archive, home), record)
    return record


def require_recorded(archive: Archive, home: Path, record: Record, progress: Progress | None) -> None:
    """Raise BenchError unless the archive file is still the recorded one, byte for byte."""
    path = archive_path(archive, home)
    try:
        found = hash_file(path, progress, ("sha256",))["sha256"]
    except OSError as error:
        raise BenchError(
            f"{path}: cannot be read ({error}); move it away and fetch or import it again."
        ) from error
    if found != record.sha256:
        raise BenchError(_changed(path, found, record))


def absent(archive: Archive, home: Path) -> BenchError:
    """The error to raise where neither the archive nor its cache is under `home`."""
    return BenchError(
        f"{archive.name}: is not under {home}; run `lrelu-bench data fetch {archive.name}`, or "
        f"`lrelu-bench data import {archive.name} FILE` with a copy of yours."
    )


def fetch(archive: Archive, home: Path, progress: Progress | None = None) -> Path:
    """Download `archive` unless it is here, check it and return its path.

    The mirrors of LRELU_BENCH_MIRROR are tried in order, then the official address. A download whose digest
    is not among the published ones, or whose contents are not the archive's, is kept aside as `.bad`. Where
    no digest is published the first download's is pinned. Raises BenchError where no source delivers.
    """
    path = archive_path(archive, home)
    with locked(path, progress):
        if path.exists():
            ensure_record(archive, home, progress)
            return path
        failures: list[str] = []
        urls = deque(sources(archive))
        while urls:
            url, resumed = urls.popleft(), _part(path).exists()
            try:
                transfer.download(url, _part(path), progress, _published_lengths(archive))
            except DownloadError as error:
                _note_failure(failures, f"{url}: {error}", progress)
                continue
            try:
                record = _accept_download(archive, home, url, progress)
            except BenchError as error:
                aside = _set_aside(_part(path))
                _note_failure(failures, f"{url}: {str(error).rstrip('.')} (kept as {aside})", progress)
                if resumed:
                    # What is wrong may be what was here before.
                    urls.appendleft(url)
                continue
            write_record(record_path(archive, home), record)
            put_in_place(_part(path), path)
            return path
    raise BenchError(
        f"{archive.name}: could not be downloaded ({'; '.join(failures)}); get {archive.filename} "
        f"another way and run `lrelu-bench data import {archive.name} FILE`, or name a mirror in "
        "LRELU_BENCH_MIRROR."
    )


def _note_failure(failures: list[str], reason: str, progress: Progress | None) -> None:
    failures.append(reason)
    say(progress, reason)


def sources(archive: Archive) -> list[str]:
    """The addresses to try in order: each mirror's copy, then the official one."""
    return [f"{mirror}/{archive.filename}" for mirror in mirrors()] + [archive.url]


def mirrors() -> list[str]:
    """The base addresses in LRELU_BENCH_MIRROR, without a slash at the end.

    Raises BenchError where one is no address.
    """
    given = [m.strip() for m in os.environ.get("LRELU_BENCH_MIRROR", "").split(",") if m.strip()]
    for mirror in given:
        if not mirror.lower().startswith(("http://", "https://", "file://")):
            raise BenchError(
                f"LRELU_BENCH_MIRROR: '{mirror}' is no http(s):// or file:// address; correct it."
            )
    return [mirror.rstrip("/") for mirror in given]


def import_archive(
    archive: Archive,
    file: Path,
    home: Path,
    progress: Progress | None = None,
    digest: str | None = None,
) -> Record:
    """Take the user's copy of an archive into `home`, by hard link or copy; `file` itself is left alone.

    Its layout and image counts must be the archive's; its bytes need not be, but `digest` ("sha256:..." or
    "md5:...") is checked where given. Raises BenchError where a check fails.
    """
    source = file.expanduser().resolve()
    path = archive_path(archive, home)
    if not source.is_file():
        raise BenchError(f"{file}: there is no such file; give the path of a copy of {archive.filename}.")
    if digest is not None:
        require_digest(source, digest, progress)
    with locked(path, progress):
        record = _inspect(archive, source, origin=file.name, progress=progress)
        if not (path.exists() and path.samefile(source)):
            _place(source, path)
        write_record(record_path(archive, home), record)
    return record


def verify(archive: Archive, home: Path, progress: Progress | None = None) -> list[str]:
    """Problems of the archive file and its cache, re-read from disk; empty where all is well."""
    from lrelu_bench.data import cache  # numpy is wanted here only

    path, record = archive_path(archive, home), read_record(record_path(archive, home))
    folder = cache_path(archive, home, record.sha256) if record else cache_folder(archive, home)
    has_cache = folder is not None and folder.exists()
    problems = []
    if path.exists():
        problems += _file_problems(archive, path, record, progress)
    elif not has_cache:
        problems.append(f"{path}: is absent; run `lrelu-bench data fetch {archive.name}`.")
    if folder is not None and has_cache:
        problems += cache.folder_problems(archive, folder, progress)
    return problems


@contextmanager
def locked(path: Path, progress: Progress | None = None) -> Iterator[None]:
    """Hold the lock file beside `path`, so that no two processes write it; a wait is said, and for whom.

    Raises BenchError where the folder cannot be written.
    """
    lock_file = path.with_name(path.name + ".lock")
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock_file.touch()
    with locks.hold(lock_file, lambda holder: say(progress, f"{lock_file}: held by {holder}; waiting")):
        yield


def _accept_download(archive: Archive, home: Path, url: str, progress: Progress | None) -> Record:
    part = _part(archive_path(archive, home))
    record = _inspect(archive, part, origin=url, progress=progress, layout=False)
    if archive.digests and not record.official:
        raise BenchError(
            f"its digest sha256:{record.sha256} ({record.bytes} bytes) is none of the published ones"
        )
    if not archive.digests:
        pin = read_record(record_path(archive, home))
        if pin is not None and pin.pinned and pin.sha256 != record.sha256:
            raise BenchError(
                f"its digest sha256:{record.sha256} is not sha256:{pin.sha256}, the first download's"
            )
        detail = f"no digest of {archive.name} is published: pinned to the first download's."
        record = replace(record, pinned=True, detail=detail)
    check_layout(archive, part)
    return record


def _published_lengths(archive: Archive) -> set[int]:
    """The lengths a download may have, or none where any published digest came without one."""
    lengths = {digest.bytes for digest in archive.digests}
    return set() if None in lengths else {length for length in lengths if length is not None}


def _inspect(
    archive: Archive, path: Path, origin: str, progress: Progress | None, layout: bool = True
) -> Record:
    if layout:
        check_layout(archive, path)
    digests = hash_file(path, progress, ("sha256", "md5"))
    size = path.stat().st_size
    match = next((d for d in archive.digests if digests[d.algorithm] == d.hex), None)
    if match is not None:
        detail = f"official: {match.algorithm} of {match.vintage}."
    elif archive.digests:
        detail = "not the official bytes: layout and image counts are right, no published digest matches."
    else:
        detail = f"no digest of {archive.name} is published: layout and image counts are right."
    return Record(archive.name, digests["sha256"], size, match is not None, False, origin, detail)


def _file_problems(
    archive: Archive, path: Path, record: Record | None, progress: Progress | None
) -> list[str]:
    problems = []
    try:
        found = hash_file(path, progress, ("sha256",))["sha256"]
        if record is None:
            problems.append(f"{path}: has no record; run `lrelu-bench data import {archive.name} {path}`.")
        elif found != record.sha256:
            problems.append(_changed(path, found, record))
        check_layout(archive, path)
    except BenchError as error:
        problems.append(str(error))
    except OSError as error:
        problems.append(f"{path}: cannot be read ({error}); move it away and fetch or import it again.")
    return problems


def _changed(path: Path, found: str, record: Record) -> str:
    return (
        f"{path}: has sha256:{found} where sha256:{record.sha256} was recorded; move it away and fetch or "
        "import it again."
    )


def _place(source: Path, path: Path) -> None:
    staged = path.with_name(path.name + ".importing")
    with writing(staged):
        staged.unlink(missing_ok=True)
    try:
        os.link(source, staged)
    except OSError:
        # Another file system, or one without hard links.
        require_space(path.parent, source.stat().st_size, "the copy")
        try:
            with writing(staged):
                shutil.copyfile(source, staged)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
    put_in_place(staged, path)


def move(archive: Archive, source: Path, home: Path, progress: Progress | None = None) -> None:
    """Move an archive and its record from one data folder to another of the same file system."""
    path = archive_path(archive, home)
    with locked(path, progress):
        # Without its record an archive is inspected anew, so what dies in between leaves no false word.
        with writing(path):
            record_path(archive, home).unlink(missing_ok=True)
        put_in_place(archive_path(archive, source), path)
        put_in_place(record_path(archive, source), record_path(archive, home))


def _set_aside(part: Path) -> Path:
    base = part.with_name(part.name.removesuffix(".part") + ".bad")
    aside, n = base, 2
    while aside.exists():
        aside, n = base.with_name(f"{base.name}-{n}"), n + 1
    with writing(aside):
        os.replace(part, aside)
    transfer.discard(part)
    return aside


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")
