"""The benchmark's rows: what is measured of each contender, in turns."""

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from measuring import ratio_interval

from peers.cell import Cell
from peers.contender import AHEAD
from peers.names import KEEPING, OURS, TUNED_PEERS
from peers.running import SCRIPT, Blocks, CannotRun, Field, Running

CLASSES = 10
PEER_OF_PARITY = "torchvision-tuned"
LONGEST_TRIAL = 50
"""Steps of what needs no precise time."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Pace:
    """How long a block is, and how many there are."""

    steps: int
    warm: int
    blocks: Blocks
    most_workers: int
    fewest_workers: int = 0
    """Loader processes that are tried at least: too few take a GPU's minutes to be seen to be slow."""

    @property
    def input_steps(self) -> int:
        """Without training, batches are quick."""
        return max(self.steps, 2 * AHEAD)

    def images_per_class(self, batch: int) -> int:
        """As many training images of each class as the longest window needs."""
        return math.ceil((self.warm + self.input_steps + AHEAD) * batch / CLASSES)


def step_rows(field: Field, cell: Cell, names: Sequence[str], kinds: Sequence[str], pace: Pace) -> list[Row]:
    """Images/s of the input alone, of steps on a ready batch and of training steps; and what is in a step."""
    rows: list[Row] = []
    with field.started(cell, names) as running:
        for name in field.still(running):
            if name in TUNED_PEERS and name not in field.chosen:
                with field.watching(name):
                    choose_workers(field, running[name], pace)
        _as_its_twin(field, running)
        for kind in kinds:
            field.say(f"{kind}, {cell.activation}")
            if kind == "memory":
                rows.append(_memory_row(field, cell, running))
            elif kind in ("kernels", "profile"):
                rows += _own_row(field, cell, running, kind, pace)
            else:
                count = pace.input_steps if kind == "input" else pace.steps
                work = partial(_asked, running, kind, count, pace.warm)
                seconds = field.in_turns(list(running), pace.blocks, work)
                rows.append(timed_row(kind, cell, seconds, images=cell.batch * count))
    return rows


def _memory_row(field: Field, cell: Cell, running: dict[str, Running]) -> Row:
    memory: dict[str, Any] = {}
    for name in field.still(running):
        with field.watching(name):
            memory[name] = running[name].ask("memory") | {"workers": field.workers[name]}
    return {"row": "memory", "activation": cell.activation, "contenders": memory}


def _own_row(field: Field, cell: Cell, running: dict[str, Running], kind: str, pace: Pace) -> list[Row]:
    """What the product's process alone is asked for: the activation's kernels, or a profile of its step."""
    if not field.still([OURS]):
        return []
    with field.watching(OURS):
        steps = min(pace.steps, LONGEST_TRIAL)
        found = running[OURS].ask(kind, steps=steps, warm=pace.warm, blocks=pace.blocks.count)
        return [{"row": kind, "activation": cell.activation, **found, **about(cell)}]
    return []


def _asked(running: dict[str, Running], kind: str, steps: int, warm: int, name: str) -> float:
    return float(running[name].ask(kind, steps=steps, warm=warm)["seconds"])


def choose_workers(field: Field, peer: Running, pace: Pace) -> None:
    """Give a tuned peer the number of loader processes it trains fastest with."""
    tried = candidates(pace.most_workers, pace.fewest_workers)
    seconds: dict[int, list[float]] = {count: [] for count in tried}
    for _ in range(2):
        for count, times in seconds.items():
            peer.ask("workers", workers=count)
            times.append(
                peer.ask("training", steps=min(pace.steps, LONGEST_TRIAL), warm=pace.warm)["seconds"]
            )
    best = min(seconds, key=lambda count: min(seconds[count]))
    field.note(peer.name, peer.ask("workers", workers=best))
    field.chosen.add(peer.name)
    field.say(f"{peer.name}: {best} workers of {seconds}")


def candidates(most: int, fewest: int = 0) -> list[int]:
    """The numbers of workers tried: each up to 2, then every doubling, and the most; from the fewest on."""
    tried = {*range(min(most, 2) + 1), *(2**i for i in range(2, 8) if 2**i < most), most}
    return sorted(count for count in tried if count >= fewest)


def _as_its_twin(field: Field, running: dict[str, Running]) -> None:
    """The peer with our malloc setting differs from its twin in nothing else."""
    if KEEPING in field.still(running) and PEER_OF_PARITY in field.chosen:
        with field.watching(KEEPING):
            count = field.workers[PEER_OF_PARITY]
            field.note(KEEPING, running[KEEPING].ask("workers", workers=count))


def epoch_row(field: Field, cell: Cell, names: Sequence[str], blocks: Blocks) -> Row:
    """Seconds of a training's last epoch with its validation: whatever is started once is there by then."""
    with field.started(cell, names) as running:
        seconds = field.in_turns(
            list(running), blocks, lambda name: float(running[name].ask("fit", seed=0)["epochs"][-1])
        )
    return timed_row("epoch", cell, seconds)


def cold_row(field: Field, cell: Cell, names: Sequence[str], blocks: Blocks) -> Row:
    """Seconds from the start of a process to its end, the final accuracy known.

    Each has run once before, untimed: what a machine does but once is not in it. A tuned peer runs with no
    worker or as many as it trains fastest with, whichever is faster here.
    """
    path = cell.save(field.folder / "cold.json")
    workers: dict[str, int] = {}
    for name in field.still(names):
        field.say(f"first run of {name}, untimed")
        with field.watching(name):
            most = field.workers.get(name)
            _cold(field, path, cell, name, most)
            if name in TUNED_PEERS and most:
                tried = {count: _cold(field, path, cell, name, count) for count in (0, most)}
                workers[name] = min(tried, key=lambda count: tried[count])

    def once(name: str) -> float:
        return _cold(field, path, cell, name, workers.get(name, field.workers.get(name)))

    row = timed_row("cold", cell, field.in_turns(field.still(names), blocks, once))
    for name, count in workers.items():
        if name in row["contenders"]:
            row["contenders"][name]["workers"] = count
    return row


def _cold(field: Field, path: Path, cell: Cell, name: str, workers: int | None) -> float:
    with tempfile.TemporaryDirectory(dir=field.folder) as output:
        if name.startswith(OURS):
            changes = [part for change in cell.changes for part in ("--set", change)]
            command = ["-m", "lrelu_bench", "run", cell.config, *changes, "--device", cell.device]
            command += ["--output", output]
        else:
            command = [str(SCRIPT), str(path), name, "--fit"]
            if workers is not None:
                command += ["--workers", str(workers)]
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *command], stdout=subprocess.PIPE, stderr=field.log, text=True, check=False
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise CannotRun(_error(done.stdout) or f"its process ended with exit code {done.returncode}")
        return seconds


def _error(output: str) -> str | None:
    try:
        found: str | None = json.loads(output)["error"]
    except (ValueError, KeyError, TypeError):
        return None
    return found


def parity_row(field: Field, cell: Cell, seeds: Sequence[int]) -> Row:
    """Accuracies after equal trainings of the product and of the hand-written loop, seed by seed."""
    left = list(seeds)
    found: dict[str, list[float]] = {}
    with field.started(cell, (OURS, PEER_OF_PARITY)) as running:
        for place, seed in enumerate(left):
            field.say(f"accuracy, seed {seed}: {place + 1} of {len(left)}")
            for name in field.still(running):
                with field.watching(name):
                    found.setdefault(name, []).append(running[name].ask("fit", seed=seed)["accuracy"])
    complete = {name: values for name, values in found.items() if name not in field.reasons}
    return {"row": "parity", "activation": cell.activation, "accuracies": complete, **about(cell)}


def timed_row(kind: str, cell: Cell, seconds: dict[str, dict[int, float]], images: int | None = None) -> Row:
    """Times with what follows from them: rates, and how many times faster the product is, pair by pair."""
    contenders: dict[str, Any] = {}
    for name, times in seconds.items():
        contenders[name] = {"seconds": list(times.values()), "blocks": list(times)}
        if OURS in seconds and name != OURS:
            middle, low, high = ratio_interval([time / seconds[OURS][block] for block, time in times.items()])
            contenders[name]["ours_faster_by"] = {"median": middle, "low": low, "high": high}
    return {"row": kind, "activation": cell.activation, "images": images, "contenders": contenders} | about(
        cell
    )


def about(cell: Cell) -> dict[str, Any]:
    """What a row's cell is, for a reader."""
    kept = ("config", "changes", "arch", "size", "batch", "epochs", "precision", "device")
    return {name: getattr(cell, name) for name in kept}
