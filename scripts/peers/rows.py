"""The benchmark's rows: what is measured of each contender, in turns."""

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from measuring import ratio_interval

from peers.cell import Cell
from peers.contender import AHEAD, WARM
from peers.names import OURS, TUNED_PEERS
from peers.running import SCRIPT, CannotRun, Field, Running

CLASSES = 10
PEER_OF_PARITY = "torchvision-tuned"
Row = dict[str, Any]


def images_per_class(steps: int, batch: int) -> int:
    """As many training images of each class as a window of `steps` needs."""
    return math.ceil((WARM + steps + AHEAD) * batch / CLASSES)


def step_rows(
    field: Field,
    cell: Cell,
    names: Sequence[str],
    kinds: Sequence[str],
    blocks: int,
    steps: int,
    most_workers: int,
) -> list[Row]:
    """Images/s of the input alone, of steps on a ready batch and of training steps, and peak memory."""
    rows: list[Row] = []
    with field.started(cell, names) as running:
        for name in field.still(running):
            if name in TUNED_PEERS and name not in field.chosen:
                with field.watching(name):
                    choose_workers(field, running[name], steps, most_workers)
        for kind in kinds:
            if kind == "memory":
                continue
            # Loaders' batches arrive in bursts, and without training they are quick.
            count = 2 * steps if kind == "input" else steps
            field.say(f"{kind}, {cell.activation}")
            seconds = field.in_turns(list(running), blocks, partial(_asked, running, kind, count))
            rows.append(timed_row(kind, cell, seconds, images=cell.batch * count))
        if "memory" in kinds:
            memory: dict[str, Any] = {}
            for name in field.still(running):
                with field.watching(name):
                    memory[name] = running[name].ask("memory") | {"workers": field.workers[name]}
            rows.append({"row": "memory", "activation": cell.activation, "contenders": memory})
    return rows


def _asked(running: dict[str, Running], kind: str, steps: int, name: str) -> float:
    return float(running[name].ask(kind, steps=steps)["seconds"])


def choose_workers(field: Field, peer: Running, steps: int, most: int) -> None:
    """Give a tuned peer the number of loader processes it trains fastest with, of 0 to `most`."""
    seconds: dict[int, list[float]] = {count: [] for count in range(most + 1)}
    for _ in range(2):
        for count, times in seconds.items():
            peer.ask("workers", workers=count)
            times.append(peer.ask("training", steps=steps)["seconds"])
    best = min(seconds, key=lambda count: min(seconds[count]))
    peer.ask("workers", workers=best)
    field.workers[peer.name] = best
    field.chosen.add(peer.name)
    field.say(f"{peer.name}: {best} workers of {seconds}")


def epoch_row(field: Field, cell: Cell, names: Sequence[str], blocks: int) -> Row:
    """Seconds of an epoch with its validation, in a process that has trained one before."""
    with field.started(cell, names) as running:
        seconds = field.in_turns(
            list(running), blocks + 1, lambda name: running[name].ask("fit", seed=0)["seconds"]
        )
    warm = {name: values[1:] for name, values in seconds.items()}
    return timed_row("epoch", cell, warm)


def cold_row(field: Field, cell: Cell, names: Sequence[str], blocks: int) -> Row:
    """Seconds from the start of a process to its end, the final accuracy known."""
    path = cell.save(field.folder / "cold.json")
    return timed_row("cold", cell, field.in_turns(names, blocks, lambda name: _cold(field, path, cell, name)))


def _cold(field: Field, path: Path, cell: Cell, name: str) -> float:
    with tempfile.TemporaryDirectory(dir=field.folder) as output:
        if name.startswith(OURS):
            changes = [part for change in cell.changes for part in ("--set", change)]
            command = ["-m", "lrelu_bench", "run", cell.config, *changes, "--device", cell.device]
            command += ["--output", output]
        else:
            command = [str(SCRIPT), str(path), name, "--fit"]
            if name in field.workers:
                command += ["--workers", str(field.workers[name])]
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


def timed_row(kind: str, cell: Cell, seconds: dict[str, list[float]], images: int | None = None) -> Row:
    """Times with what follows from them: rates, and how many times faster the product is, pair by pair."""
    contenders: dict[str, Any] = {}
    for name, values in seconds.items():
        contenders[name] = {"seconds": values}
        if OURS in seconds and name != OURS:
            pairs = zip(values, seconds[OURS], strict=True)
            middle, low, high = ratio_interval([theirs / own for theirs, own in pairs])
            contenders[name]["ours_faster_by"] = {"median": middle, "low": low, "high": high}
    return {"row": kind, "activation": cell.activation, "images": images, "contenders": contenders} | about(
        cell
    )


def about(cell: Cell) -> dict[str, Any]:
    """What a row's cell is, for a reader."""
    kept = ("config", "changes", "arch", "size", "batch", "epochs", "precision", "device")
    return {name: getattr(cell, name) for name in kept}
