"""Disks that refuse: no room in the middle of a file, no permission."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """While the block runs no file of this process grows beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def folder_of_others() -> Iterator[Path]:
    """A folder anybody may write to, as a user with no privileges."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


@contextmanager
def unprivileged() -> Iterator[None]:
    """While the block runs this process has no more rights than file modes give: nobody's, if it is root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """While the block runs no folder from `folder` on can be written to, nor is this process root."""
    folders = [folder, *(inside for inside in folder.rglob("*") if inside.is_dir())]
    for each in folders:
        each.chmod(0o555)
    try:
        with unprivileged():
            yield
    finally:
        for each in folders:
            each.chmod(0o755)
