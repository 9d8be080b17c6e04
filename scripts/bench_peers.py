"""The product beside what people use: torchvision + timm, fastai, and timm's loader, default and tuned.

Every contender has a process of its own; they take turns in rotating order, block by block, with a second
process of the product as the noise floor. Rows: input alone, a step on a ready batch, a training step with
its input, peak memory, a warm epoch with validation, a cold run of the smoke cell, and the accuracy of the
same training. With relu all contenders run; with learned_relu, where the peers compute the plain formula,
their tuned forms. Needs the extra `bench`, and the archive: `lrelu-bench data fetch imagewoof2-160`.

Prints Markdown; progress goes to stderr. A contender that cannot run is named with its reason.

Example: python scripts/bench_peers.py --blocks 7 --json benchmark.json > benchmark.md
"""

import argparse
import json
import os
import shlex
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
from peers.contender import WARM
from peers.image_folders import archive_file, decoding_seconds, extract
from peers.names import AGAIN, CONTENDERS, OURS, TUNED_PEERS
from peers.preparing import Preparing
from peers.report import markdown, targets
from peers.rows import cold_row, epoch_row, images_per_class, parity_row, step_rows
from peers.running import Field

from lrelu_bench import environment
from lrelu_bench.config_file import load_experiment
from lrelu_bench.errors import BenchError
from lrelu_bench.results import write_atomically
from lrelu_bench.runner import build_net
from lrelu_bench.shipped import config_path
from lrelu_bench.training.precision import choose_compute

SCHEMA = 1
STEP_ROWS = ("input", "ready", "training", "memory")
ROWS = (*STEP_ROWS, "epoch", "cold", "parity", "preparation")
ACTIVATIONS = ("relu", "learned_relu")
QUICK: dict[str, Any] = {
    "config": "quickstart",
    "cold_config": "quickstart",
    "changes": ["size=32"],
    "batch": 8,
    "blocks": 2,
    "steps": 2,
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
    parser.add_argument("--blocks", type=int, default=7, help="blocks of every row (default 7)")
    parser.add_argument("--steps", type=int, default=4, help="timed steps in a block (default 4)")
    parser.add_argument(
        "--most-workers", type=int, default=2, help="loader processes tried, from 0 (default 2)"
    )
    parser.add_argument(
        "--threads", type=int, default=environment.usable_cores(), help="of each process (default: the cores)"
    )
    parser.add_argument("--epoch-subset", type=int, default=16, help="images per class (default 16)")
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
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number there, too")
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
        torch.set_num_threads(options.threads)
        # All processes inherit it, those of the command line of the cold run, too.
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
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
            names = [
                name
                for name in CONTENDERS
                if (name in options.contenders or name == OURS)
                and (activation == "relu" or name in (OURS, AGAIN, *TUNED_PEERS))
            ]
            self._steps(preparing, activation, names)
            self._whole_runs(preparing, activation, names)
        return self._found(load, before)

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
        kinds = [kind for kind in STEP_ROWS if kind in options.only]
        if activation != options.activations[0] and "input" in kinds:
            kinds.remove("input")
        if kinds:
            cell = preparing.cell(
                *self._changed(images_per_class(2 * options.steps, options.batch)), activation
            )
            self.rows += step_rows(
                self.field, cell, names, kinds, options.blocks, options.steps, options.most_workers
            )

    def _whole_runs(self, preparing: Preparing, activation: str, names: list[str]) -> None:
        options, field = self.options, self.field
        if "epoch" in options.only:
            self.say(f"epochs, {activation}")
            cell = preparing.cell(*self._changed(options.epoch_subset, 1), activation)
            self.rows.append(epoch_row(field, cell, names, options.blocks))
        if "cold" in options.only:
            self.say(f"cold runs, {activation}")
            changes = [*options.changes, "subset=2", "epochs=1", "batch_size=8"] if options.quick else []
            cell = preparing.cell(options.cold_config, changes, activation)
            self.rows.append(cold_row(field, cell, field.still(names), options.blocks))
        if "parity" in options.only and activation == "relu":
            seeds, subset, epochs, batch = options.parity
            config, changes = self._changed(subset, epochs, batch)
            cell = preparing.cell(config, changes, activation, range(seeds))
            self.rows.append(parity_row(field, cell, range(seeds)))

    def _changed(
        self, subset: int, epochs: int | None = None, batch: int | None = None
    ) -> tuple[str, list[str]]:
        """The config, and its changes for so many images per class."""
        changes = [*self.options.changes, f"subset={subset}", f"batch_size={batch or self.options.batch}"]
        return self.options.config, changes + ([f"epochs={epochs}"] if epochs else [])

    def _found(self, load: float, before: dict[str, float]) -> dict[str, Any]:
        options, field = self.options, self.field
        experiment = load_experiment(config_path(options.config), [*options.changes, "activation=relu"])
        described = environment.describe()
        gpu = described["gpu"]["name"] if self.compute.device.type == "cuda" else None
        return {
            "schema": SCHEMA,
            "date": datetime.now(UTC).isoformat(timespec="minutes"),
            "command": shlex.join(["python", "scripts/bench_peers.py", *_without_json(sys.argv[1:])]),
            "commit": described["commit"],
            "hardware": {
                **{key: described[key] for key in ("cpu", "cpu_capability", "cores", "threads", "system")},
                "gpu": gpu,
            },
            "versions": described["versions"] | {name: _version(name) for name in ("timm", "fastai")},
            "load_average": {"before": load, "after": _load()},
            "settings": {"blocks": options.blocks, "steps": options.steps, "warm": WARM},
            "ceilings": {"before": before, "after": self._ceilings()},
            "gflop_per_image": training_gflop_per_image(build_net(experiment), experiment.size),
            "preparation": self.preparation,
            "contenders": {
                name: {
                    "title": CONTENDERS[name].title,
                    "workers": workers,
                    "precision": field.precision[name],
                }
                for name, workers in field.workers.items()
            },
            "rows": self.rows,
            "targets": targets(self.rows),
            "cannot_run": field.reasons,
        }


def _several(known: Any) -> Any:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return parse


def _without_json(arguments: list[str]) -> list[str]:
    """The output's place is no part of what was measured."""
    if "--json" not in arguments:
        return arguments
    place = arguments.index("--json")
    return arguments[:place] + arguments[place + 2 :]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _load() -> float:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 2 cannot."""
    options = options_of(arguments)
    try:
        with ExitStack() as stack:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-peers-")))
            found = Benchmark(options, work, stack).run()
        if options.json:
            write_atomically(options.json, json.dumps(found, indent=1) + "\n")
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2
    print(markdown(found), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
