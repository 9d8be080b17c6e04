"""One subject: trained in peace, then again and again with something in the way, and compared."""

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from lrelu_bench.atomic_file import find_torn
from lrelu_bench.run_folder import CHECKPOINTS, FILES

from . import children, moments, subjects

TIMES = ("wall_seconds", "images_per_second", "peak_memory_bytes", "started", "finished", "resumed")
"""What of a result may differ."""
SPEEDS = ("train_seconds", "valid_seconds", "images_per_second")


@dataclass
class Tally:
    """What was done to runs, and what came of it."""

    runs: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    by_moment: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def __iadd__(self, other: "Tally") -> "Tally":
        self.runs += other.runs
        self.faults += other.faults
        self.by_moment += other.by_moment
        self.problems += other.problems
        return self


def command(config: Path, minutes: float, *more: str) -> list[str]:
    """The one command of a run, which is given again after whatever happened."""
    return ["run", config.name, "--device", "cpu", "--checkpoint-minutes", str(minutes), *more]


def in_peace(name: str, folder: Path, minutes: float) -> tuple[dict[str, Any], dict[str, int]]:
    """What the subject gives undisturbed, and how many moments of each kind it has."""
    folder.mkdir(parents=True, exist_ok=True)
    config, counted = subjects.write(folder, name), folder / "counted"

    def prepare() -> Callable[[], None]:
        subjects.prepare(name)
        watching = moments.Moments(None, moments.kill)
        watching.install()
        return lambda: counted.write_text(json.dumps(watching.passed)) and None

    ended = children.run(command(config, minutes), folder, prepare)
    if ended.code != 0:
        raise AssertionError(f"{name}: exit code {ended.code} undisturbed\n{ended.output}")
    return outcome(folder), json.loads(counted.read_text())


def outcome(folder: Path) -> dict[str, Any]:
    """All that a run's folder says, the times apart."""
    (place,) = folder.glob("results/*/seed-0")
    found: dict[str, Any] = {}
    for path in sorted(place.iterdir()):
        if path.name == "result.json":
            found[path.name] = {k: v for k, v in json.loads(path.read_text()).items() if k not in TIMES}
        elif path.name == "epochs.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            found[path.name] = [{k: v for k, v in row.items() if k not in SPEEDS} for row in rows]
        elif path.name == "environment.json":
            found[path.name] = json.loads(path.read_text())
        else:
            found[path.name] = path.read_bytes()
    return found


def leftovers(folder: Path) -> list[str]:
    """What should not be there once a run is finished."""
    found = [str(path) for path in folder.glob("results/*/.seed-0.*") if path.suffix != ".lock"]
    for place in folder.glob("results/*/seed-0"):
        found += [str(path) for path in place.iterdir() if path.name in CHECKPOINTS]
        found += [str(path) for path in find_torn(place)]
    return found


def torn(folder: Path) -> list[str]:
    """Files under their final names that are not whole, at any time."""
    found = []
    for path in folder.glob("results/*/*/*.json"):
        try:
            json.loads(path.read_text())
        except ValueError:
            found.append(str(path))
    for path in folder.glob("results/*/*/*.jsonl"):
        try:
            for line in path.read_text().splitlines():
                json.loads(line)
        except ValueError:
            found.append(str(path))
    for path in folder.glob("results/*/*/*.npz"):
        try:
            import numpy as np

            dict(np.load(path, allow_pickle=False))
        except Exception:
            found.append(str(path))
    return found


def disturb(
    name: str,
    folder: Path,
    peaceful: dict[str, Any],
    passed: dict[str, int],
    acts: list[str],
    seed: int,
    force: bool = False,
) -> Tally:
    """Train the subject with `acts` in the way, one after another at random moments, then to its end.

    With `force` a finished run is there before, which must stay until the new one is finished.
    """
    chance, tally = random.Random(seed), Tally(runs=1)
    folder.mkdir(parents=True, exist_ok=True)
    config = subjects.write(folder, name)
    if force:
        children.run(command(config, 5), folder, partial(_plainly, name))
    more = ("--force",) if force else ()
    where = f"{name}, {', '.join(acts)} (seed {seed}{', --force' if force else ''})"
    for number, act in enumerate(acts):
        # The first saves as often as the run whose moments were counted: so that moment comes.
        minutes = chance.choice([0, 0, 0.002]) if number else 0
        kind = chance.choice(WHERE.get(act, moments.KINDS))
        at = chance.randint(1, passed[kind])
        if act in DAMAGES:
            DAMAGES[act](folder, chance)
            tally.faults[act] += 1
            continue
        ended = children.run(
            command(config, minutes, *more), folder, partial(_disturbed, name, act, kind, at, folder)
        )
        happened = folder / "happened"
        if happened.exists():
            tally.faults[act] += 1
            tally.by_moment[happened.read_text()] += 1
            happened.unlink()
            if ended.code not in CODES[act]:
                tally.problems.append(f"{where}: exit code {ended.code} after {act}: {ended.output[-800:]}")
        if "Traceback" in ended.output:
            tally.problems.append(f"{where}: traceback after {act}: {ended.output[-1500:]}")
        tally.problems += [f"{where}: torn {path}" for path in torn(folder)]
        if force and not list(folder.glob("results/*/*/result.json")):
            tally.problems.append(f"{where}: no run is there")
    ended = children.run(command(config, 5, *more), folder, partial(_plainly, name))
    if ended.code != 0:
        tally.problems.append(f"{where}: exit code {ended.code} at the end: {ended.output[-800:]}")
        return tally
    if not list(folder.glob("results/*/seed-0/result.json")):
        tally.problems.append(f"{where}: no result: {ended.output[-800:]}")
        return tally
    found = outcome(folder)
    for file in sorted({*peaceful, *found} - {"environment.json"}):
        if found.get(file) != peaceful.get(file):
            what = f"{found.get(file)}\n{peaceful.get(file)}" if file.endswith(("l", "n")) else "other bytes"
            tally.problems.append(f"{where}: {file} is not what it is undisturbed: {what}")
    tally.problems += [f"{where}: left over {path}" for path in leftovers(folder)]
    return tally


def _plainly(name: str) -> None:
    subjects.prepare(name)


def _disturbed(name: str, act: str, kind: str, at: int, folder: Path) -> None:
    subjects.prepare(name)
    does = ACTS[act]

    def doing(kind: str, file: Any) -> None:
        # Not through what is watched.
        descriptor = os.open(folder / "happened", os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, kind.encode())
        os.close(descriptor)
        does(kind, file)

    watching = moments.Moments(at, doing, (kind,))
    watching.install()


def _damage_newest(folder: Path, chance: random.Random) -> None:
    """Flip one bit of the newest checkpoint, wherever it is."""
    paths = list(folder.glob("results/*/*/*.ckpt"))
    if paths:
        path = max(paths, key=lambda one: one.stat().st_mtime_ns)
        data = bytearray(path.read_bytes())
        place = chance.randrange(len(data))
        data[place] ^= 1 << chance.randrange(8)
        path.write_bytes(data)


def _truncate_newest(folder: Path, chance: random.Random) -> None:
    paths = list(folder.glob("results/*/*/*.ckpt"))
    if paths:
        path = max(paths, key=lambda one: one.stat().st_mtime_ns)
        data = path.read_bytes()
        path.write_bytes(data[: chance.randrange(len(data))])


def _litter(folder: Path, chance: random.Random) -> None:
    """What a writer that lost its power may leave: names without content."""
    for place in folder.glob("results/*/seed-0"):
        for name in (*FILES, *CHECKPOINTS):
            (place / f".{name}.abcd1234.part").write_bytes(b"")


ACTS: dict[str, Callable[[str, Any], None]] = {
    "killed": moments.kill,
    "SIGINT": moments.ask(signal.SIGINT),
    "SIGTERM": moments.ask(signal.SIGTERM),
    "SIGHUP": moments.ask(signal.SIGHUP),
    "SIGINT twice": moments.ask_twice,
    "disk full": moments.disk_full,
    "permission lost": moments.permission_lost,
    "clock jumps": moments.clock_jumps,
    "out of memory": moments.out_of_memory,
}
DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "bit flipped": _damage_newest,
    "checkpoint truncated": _truncate_newest,
    "empty leftovers": _litter,
}
WHERE = {
    "disk full": ("write",),
    "permission lost": ("write", "sync", "rename"),
    "out of memory": ("step",),
}
"""The kinds of moments at which that happens; other things do at any."""
CODES: dict[str, tuple[int, ...]] = {
    "killed": (-signal.SIGKILL,),
    # 0 where the run was finished already when it was asked; the plain numbers where training had not begun.
    "SIGINT": (0, 130),
    "SIGTERM": (0, 143, -signal.SIGTERM),
    "SIGHUP": (0, 129, -signal.SIGHUP),
    "SIGINT twice": (130,),
    "disk full": (2,),
    "permission lost": (2,),
    "clock jumps": (0,),
    "out of memory": (2,),
}
