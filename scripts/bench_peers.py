"""The product beside what people use: torchvision + timm, fastai, and timm's loader, default and tuned.

Every contender has a process of its own; they take turns in rotating order, block by block, with a second
process of the product as the noise floor. Rows: the activation's kernels, input alone, a step on a ready
batch, a training step with its input, peak memory, a warm epoch with validation, a cold run of the smoke
cell, the accuracy of the same training, and a profile of the product's step. With relu all contenders run;
with learned_relu, where the peers compute the plain formula, their tuned forms, in steps alone. Needs the
extra `bench`, and the archive: `lrelu-bench data fetch imagewoof2-160`.

Prints Markdown, and with --output writes it and every number (JSON) to new files; progress goes to stderr. A
contender that cannot run is named with its reason. Takes about 35 minutes on two idle cores.

Example: python scripts/bench_peers.py --output results/benchmarks
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from peers.ceilings import ceilings, training_gflop_per_image
from peers.image_folders import archive_file, decoding_seconds, extract
from peers.names import AGAIN, CONTENDERS, KEEPING, OURS, TUNED_PEERS
from peers.preparing import Preparing
from peers.report import markdown
from peers.rows import Pace, cold_row, epoch_row, parity_row, step_rows
from peers.running import Blocks, Field
from peers.targets import targets

from lrelu_bench import environment
from lrelu_bench.atomic_file import write_atomically
from lrelu_bench.config_file import load_experiment
from lrelu_bench.errors import BenchError
from lrelu_bench.runner import build_net
from lrelu_bench.shipped import config_path
from lrelu_bench.training.cpu import keep_freed_memory
from lrelu_bench.training.precision import choose_compute

SCHEMA = 2
STEP_ROWS = ("input", "kernels", "ready", "training", "memory", "profile")
ONCE = ("input", "kernels")
"""Rows that are the same for every activation."""
ROWS = (*STEP_ROWS, "epoch", "cold", "parity", "preparation")
ACTIVATIONS = ("relu", "learned_relu")
# A block on a GPU, where a step takes milliseconds and loaders work far ahead, is longer.
STEPS = {"cpu": (6, 4), "cuda": (200, 40)}
QUICK: dict[str, Any] = {
    "config": "quickstart",
    "cold_config": "quickstart",
    "changes": ["size=32"],
    "batch": 8,
    "blocks": 2,
    "run_blocks": 2,
    "default_blocks": 1,
    "steps": 2,
    "warm": 2,
    "threads": 1,
    "most_workers": 1,
    "epoch_subset": 2,
    "parity": (2, 2, 1, 8),
}


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config", default="woof128", help="of every row but the cold run (default woof128)")
    parser.add_argument("--cold-config", default="smoke", help="of the cold run (default smoke)")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--blocks", type=int, default=6, help="of steps (default 6)")
    parser.add_argument("--run-blocks", type=int, default=5, help="of epochs and cold runs (default 5)")
    parser.add_argument(
        "--default-blocks", type=int, default=2, help="of the peers that are not tuned (default 2)"
    )
    parser.add_argument("--steps", type=int, help="timed in a block (default 6, on CUDA 200)")
    parser.add_argument("--warm", type=int, help="untimed before them (default 4, on CUDA 40)")
    parser.add_argument(
        "--most-workers", type=int, help="loader processes tried, from 0 (default the cores, 16 at most)"
    )
    parser.add_argument(
        "--threads", type=int, default=environment.usable_cores(), help="of each process (default: the cores)"
    )
    parser.add_argument("--epoch-subset", type=int, default=26, help="images per class (default 26)")
    parser.add_argument(
        "--parity",
        type=int,
        nargs=4,
        default=(3, 40, 5, 32),
        metavar=("SEEDS", "SUBSET", "EPOCHS", "BATCH"),
        help="the accuracy's training (default 3 40 5 32)",
    )
    parser.add_argument("--only", type=_several(ROWS), default=ROWS, help=f"of {','.join(ROWS)}")
    parser.add_argument(
        "--activations", type=_several(ACTIVATIONS), default=ACTIVATIONS, help=f"of {','.join(ACTIVATIONS)}"
    )
    parser.add_argument(
        "--contenders", type=_several(CONTENDERS), default=tuple(CONTENDERS), help="ours is always in"
    )
    parser.add_argument(
        "--quick", action="store_true", help="other defaults: tiny drawn images, to see it work"
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="write NAME.md and NAME.json there")
    parser.add_argument("--name", help="of those files (default: date and hardware); none is overwritten")
    options = parser.parse_args(arguments)
    if options.quick:
        parser.set_defaults(**QUICK)
        options = parser.parse_args(arguments)
    return options


class Benchmark:
    """One run of the benchmark."""

    def __init__(self, options: argparse.Namespace, work: Path, stack: ExitStack) -> None:
        self.options, self.work, self.started = options, work, time.monotonic()
        self.compute = choose_compute(options.device, options.precision)
        device = self.compute.device.type
        steps, warm = STEPS[device]
        cores, most = environment.usable_cores(), options.most_workers
        self.pace = Pace(
            steps=options.steps or steps,
            warm=options.warm or warm,
            blocks=Blocks(options.blocks, options.default_blocks),
            most_workers=min(cores, 16) if most is None else most,
            fewest_workers=cores // 4 if device == "cuda" and most is None else 0,
        )
        self.run_blocks = Blocks(options.run_blocks, options.default_blocks)
        torch.set_num_threads(options.threads)
        # All processes inherit it, those of the command line of the cold run, too.
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
        if device == "cpu":
            # The ceilings are measured here, and what they need is no part of a contender's.
            keep_freed_memory()
        log = stack.enter_context((work / "log.txt").open("w", encoding="utf-8"))
        self.field = Field(work, log, self.say)
        self.rows: list[dict[str, Any]] = []
        self.preparation: dict[str, float] = {}

    def say(self, line: str) -> None:
        """Progress."""
        print(f"{time.monotonic() - self.started:6.0f} s  {line}", file=sys.stderr, flush=True)

    def run(self) -> dict[str, Any]:
        """Measure everything; what the JSON holds."""
        options, load = self.options, _load()
        preparing = Preparing(self.work, self.compute, self._files())
        before = self._ceilings()
        for activation in options.activations:
            self._steps(preparing, activation, self._names(activation))
            if activation == options.activations[0]:
                self._whole_runs(preparing, activation, self._names(activation))
        return self._found(load, before)

    def _names(self, activation: str) -> list[str]:
        with_learned = (OURS, AGAIN, KEEPING, *TUNED_PEERS)
        return [
            name
            for name in CONTENDERS
            if (name in self.options.contenders or name == OURS)
            and (activation == "relu" or name in with_learned)
            # A setting of the CPU's memory; where a GPU trains, the product leaves it alone, too.
            and (name != KEEPING or self.compute.device.type == "cpu")
        ]

    def _images(self) -> int | None:
        """Images of each class that a window needs; on a GPU windows go through all, again and again."""
        on_gpu = self.compute.device.type == "cuda"
        return None if on_gpu else self.pace.images_per_class(self.options.batch)

    def _files(self) -> Path | None:
        experiment = load_experiment(config_path(self.options.config), self.options.changes)
        if experiment.dataset == "procedural":
            return None
        archive, file = archive_file(experiment)
        self.say(f"writing the images of {archive.name} to files")
        extracted = extract(archive, file, self.work / "files")
        if "preparation" in self.options.only:
            self.preparation["peers: the archive's images to files"] = extracted.seconds
            self.say("decoding the archive as the product does")
            self.preparation["ours: the archive checked, imported and decoded"] = decoding_seconds(
                archive, file
            )
        return extracted.folder

    def _ceilings(self) -> dict[str, float]:
        self.say("ceilings")
        return ceilings(self.compute.device.type, self.compute.precision, self.options.quick)

    def _steps(self, preparing: Preparing, activation: str, names: list[str]) -> None:
        options = self.options
        first = activation == options.activations[0]
        kinds = [kind for kind in STEP_ROWS if kind in options.only and (first or kind not in ONCE)]
        if kinds:
            cell = preparing.cell(*self._changed(self._images()), activation)
            self.rows += step_rows(self.field, cell, names, kinds, self.pace)

    def _whole_runs(self, preparing: Preparing, activation: str, names: list[str]) -> None:
        options, field = self.options, self.field
        if "epoch" in options.only:
            self.say(f"epochs, {activation}")
            cell = preparing.cell(*self._changed(options.epoch_subset, 2), activation)
            self.rows.append(epoch_row(field, cell, names, self.run_blocks))
        if "cold" in options.only:
            self.say(f"cold runs, {activation}")
            changes = [*options.changes, "subset=2", "epochs=1", "batch_size=8"] if options.quick else []
            cell = preparing.cell(options.cold_config, changes, activation)
            # The setting comes with the product's own imports, which a cold run of the peer would pay for.
            names = [name for name in field.still(names) if name != KEEPING]
            self.rows.append(cold_row(field, cell, names, self.run_blocks))
        if "parity" in options.only:
            seeds, subset, epochs, batch = options.parity
            config, changes = self._changed(subset, epochs, batch)
            cell = preparing.cell(config, changes, activation, range(seeds))
            self.rows.append(parity_row(field, cell, range(seeds)))

    def _changed(
        self, subset: int | None, epochs: int | None = None, batch: int | None = None
    ) -> tuple[str, list[str]]:
        """The config, and its changes for so many images per class."""
        changes = [*self.options.changes, f"batch_size={batch or self.options.batch}"]
        changes += [f"subset={subset}"] if subset else []
        return self.options.config, changes + ([f"epochs={epochs}"] if epochs else [])

    def _found(self, load: float, before: dict[str, float]) -> dict[str, Any]:
        options, field = self.options, self.field
        experiment = load_experiment(config_path(options.config), [*options.changes, "activation=relu"])
        described, pace = environment.describe(), self.pace
        gpu = described["gpu"]["name"] if self.compute.device.type == "cuda" else None
        return {
            "schema": SCHEMA,
            "date": datetime.now(UTC).isoformat(timespec="minutes"),
            "quick": options.quick,
            "minutes": (time.monotonic() - self.started) / 60,
            "command": shlex.join(["python", "scripts/bench_peers.py", *_measuring(sys.argv[1:])]),
            "commit": _commit(described["commit"]),
            "hardware": {
                **{key: described[key] for key in ("cpu", "cpu_capability", "cores", "threads", "system")},
                "gpu": gpu,
            },
            "versions": described["versions"] | {name: _version(name) for name in ("timm", "fastai")},
            "load_average": {"before": load, "after": _load()},
            "settings": {
                "blocks": options.blocks,
                "run_blocks": options.run_blocks,
                "default_blocks": options.default_blocks,
                "steps": pace.steps,
                "warm": pace.warm,
                "input_steps": pace.input_steps,
            },
            "ceilings": {"before": before, "after": self._ceilings()},
            "gflop_per_image": training_gflop_per_image(build_net(experiment), experiment.size),
            "preparation": self.preparation,
            "contenders": {
                name: {
                    "title": CONTENDERS[name].title,
                    "workers": workers,
                    "input_by": field.input_by[name],
                    "precision": field.precision[name],
                }
                for name, workers in field.workers.items()
            },
            "rows": self.rows,
            "targets": targets(self.rows),
            "cannot_run": field.reasons,
        }


def _measuring(arguments: list[str]) -> list[str]:
    """The arguments without the place of the files, which is no part of what was measured."""
    kept, rest = [], iter(arguments)
    for argument in rest:
        if argument in ("--output", "--name"):
            next(rest, None)
        elif not argument.startswith(("--output=", "--name=")):
            kept.append(argument)
    return kept


def _several(known: Any) -> Any:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return parse


def _commit(package: str | None) -> str | None:
    """The product's commit, marked where these scripts are not those of it, too."""
    here = ["git", "-C", str(Path(__file__).parent), "status", "--porcelain", "--", "."]
    try:
        changes = subprocess.run(here, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return package
    return f"{package}, scripts changed" if changes else package


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _load() -> float:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def _places(options: argparse.Namespace) -> tuple[Path, Path] | None:
    """The files to write; raises `BenchError`, before anything is measured, where one is there."""
    if options.output is None:
        return None
    name = options.name or _default_name(choose_compute(options.device, options.precision).device.type)
    for place in (places := (options.output / f"{name}.md", options.output / f"{name}.json")):
        if place.exists():
            raise BenchError(f"{place}: is there already; give another --name, or move it away")
    return places


def _default_name(device: str) -> str:
    hardware = environment.cpu_name() if device == "cpu" else torch.cuda.get_device_name()
    cores = f"-{environment.usable_cores()}-cores" if device == "cpu" else ""
    slug = "-".join(re.findall(r"[a-z0-9]+", hardware.lower()))
    return f"{datetime.now(UTC).date()}-{slug}{cores}"


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 2 cannot."""
    options = options_of(arguments)
    try:
        places = _places(options)
        with ExitStack() as stack:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-peers-")))
            found = Benchmark(options, work, stack).run()
        report = markdown(found)
        if places is not None:
            options.output.mkdir(parents=True, exist_ok=True)
            write_atomically(places[0], report)
            write_atomically(places[1], json.dumps(found, indent=1) + "\n")
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2
    print(report, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
