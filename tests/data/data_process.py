"""`fetch` or `import` of a tiny archive as a process of its own: to wait for, and to kill at any point.

    python data_process.py fetch|import HOME ADDRESS-OR-FILE [DIE-AT [SIGNAL]]

It prints what the work says, then the number of points at which it could have died: each time something under
HOME is opened, renamed, made or removed, and each report of progress. At point DIE-AT it sends itself SIGNAL.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from tiny_archive import tiny_archive  # noqa: E402

from lrelu_bench.data import cache  # noqa: E402


class Dying:
    """A `Progress` that counts the points and may not survive one."""

    def __init__(self, home: Path, at: int, signal_number: int) -> None:
        self.home, self.at, self.signal_number, self.points = str(home), at, signal_number, 0
        sys.addaudithook(self._audit)

    def __call__(self, *_: object) -> None:
        self._point()

    def say(self, line: str) -> None:
        print(line, flush=True)

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link") and any(
            isinstance(given, (str, os.PathLike)) and os.fspath(given).startswith(self.home)
            for given in arguments
        ):
            self._point()

    def _point(self) -> None:
        self.points += 1
        if self.points == self.at:
            os.kill(os.getpid(), self.signal_number)


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start this file as a process whose standard output can be read line by line."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def main(task: str, home: str, source: str, at: str = "0", signal_number: str = "9") -> None:
    """See the head of the file."""
    progress = Dying(Path(home), int(at), int(signal_number))
    if task == "import":
        cache.adopt(tiny_archive(), Path(source), Path(home), progress)
    else:
        cache.fetch(tiny_archive(url=source), Path(home), progress)
    print(progress.points, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
