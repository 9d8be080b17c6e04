"""What `run` does on a terminal: find what is done, train the rest, show the table."""

import shlex
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lrelu_bench import continuing
from lrelu_bench.checkpoint_header import in_order
from lrelu_bench.config import Experiment
from lrelu_bench.config_file import dump_experiment
from lrelu_bench.data.archives import data_home
from lrelu_bench.data.datasets import Split, expected_counts, open_split
from lrelu_bench.errors import BenchError
from lrelu_bench.locks import Held, hold, hold_at_once, holder_of, is_held
from lrelu_bench.report.announce import remarks
from lrelu_bench.report.progress import SteadyConsole, watch_data, watch_training
from lrelu_bench.report.render import render_run_row
from lrelu_bench.results import Run, RunResult
from lrelu_bench.run_folder import RunFolder
from lrelu_bench.stopping import CHECKPOINT_MINUTES, Stop, stoppable

if TYPE_CHECKING:
    from lrelu_bench.data.device_loader import DeviceImages
    from lrelu_bench.training.precision import Compute, DeviceName
    from lrelu_bench.unit import Unit


@dataclass(frozen=True)
class Execution:
    """Where and how to train: nothing of it is part of the experiment."""

    device: "DeviceName" = "auto"
    cuda_graph: bool | None = None
    compile: bool = False
    parallel_seeds: int = 1
    checkpoint_minutes: float = CHECKPOINT_MINUTES
    wait: bool = False

    def compute(self, experiment: Experiment) -> "Compute":
        """What that is on this machine; raises `BenchError` where it is impossible."""
        from lrelu_bench.training.captured import captures
        from lrelu_bench.training.precision import choose_compute

        compute = choose_compute(self.device, experiment.precision, self.cuda_graph, self.compile)
        captures(compute, experiment.effective_recipe, experiment.activation)
        return compute


def run_all(
    experiment: Experiment, execution: Execution, output: Path, force: bool, console: SteadyConsole
) -> None:
    """Train every seed that is not complete yet, then show the experiment's row.

    Raises `BenchError` for anything a user can mend, `SystemExit` where a signal asked to stop.
    """
    for line in _announcement(experiment):
        console.say(line)
    experiment.effective_recipe.steps_per_epoch(expected_counts(experiment)[0])
    training = _Training(experiment, execution, output, force, console)
    training.find_done()
    if training.left:
        training.train()
    if training.done:
        console.print(render_run_row(*(training.done[seed] for seed in sorted(training.done))))
    if training.problems:
        raise BenchError(*(f"seed {seed} not trained: {why}" for seed, why in training.problems.items()))


class _Training:
    """The seeds of one experiment: those that are done, those that are left, those that cannot be trained."""

    def __init__(
        self, experiment: Experiment, execution: Execution, output: Path, force: bool, console: SteadyConsole
    ) -> None:
        self.experiment, self.execution, self.output = experiment, execution, output
        self.force, self.console = force, console
        self.done: dict[int, Run] = {}
        self.problems: dict[int, str] = {}

    @property
    def left(self) -> list[int]:
        """Seeds still to be trained, in the config's order."""
        return [seed for seed in self.experiment.seeds if seed not in self.done and seed not in self.problems]

    def _folder(self, seed: int) -> RunFolder:
        return RunFolder.of(self.output, self.experiment.slug, seed)

    def find_done(self) -> None:
        """See what is complete, without asking who else trains."""
        for seed in self.experiment.seeds:
            if not (self.force or self._folder(seed).unsettled):
                self._look(seed)

    def _look(self, seed: int) -> None:
        """Note the seed's run if it is finished, and what is wrong with it if that cannot be told."""
        folder = self._folder(seed)
        try:
            found = folder.completed(self.experiment.digest, seed)
        except BenchError as error:
            self.problems[seed] = f"{error.in_one_line}; --force replaces it"
            return
        if found is not None:
            self._finished(seed, found)
            begun = (
                "goes on with what is to replace it"
                if continuing.begun_here(folder.staged)
                else "trains another in its place, --output DIR one beside it"
            )
            self.console.say(f"seed {seed}: {found.status} already in {folder.path}; --force {begun}")

    def _finished(self, seed: int, result: RunResult) -> None:
        self.done[seed] = Run(result, self._folder(seed).path)

    def train(self) -> None:
        """Train what is left, as many seeds at once as were asked for."""
        from lrelu_bench.runner import build_net

        experiment, console = self.experiment, self.console
        self.compute = self.execution.compute(experiment)
        if experiment.activation.is_custom:
            # What is wrong with a user's class is said before any data is fetched.
            build_net(experiment)
        for seed in self.left:
            self._folder(seed).require_writable()
        with watch_data(console) as progress:
            self.split = open_split(experiment, data_home(), progress)
        console.say(
            f"{len(self.split.train):,} training and {len(self.split.valid):,} validation images; "
            f"{self.compute.device.type}, {self.compute.precision}"
        )
        if self.compute.emulated:
            console.say(
                "this CPU only emulates bf16, about ten times slower than fp32; precision auto avoids it"
            )
        at_once = _at_once(experiment, self.execution, self.compute, console)
        self.images = _images_on_gpu(experiment, self.split, self.compute, console, at_once)
        left = self.left
        for first in range(0, len(left), at_once):
            with ExitStack() as locks:
                units = [unit for seed in left[first : first + at_once] if (unit := self._ready(seed, locks))]
                if units:
                    self._train_together(units, at_once)

    def _ready(self, seed: int, locks: ExitStack) -> "Unit | None":
        """The seed's unit, its folder locked and fit to be trained in; None where nothing is to be done."""
        from lrelu_bench.unit import Unit

        folder, console = self._folder(seed), self.console
        try:
            locks.enter_context(
                hold(folder.lock, lambda holder: console.say(f"seed {seed}: waiting, as {holder} trains it"))
                if self.execution.wait
                else hold_at_once(folder.lock)
            )
        except Held as holder:
            self.problems[seed] = f"{holder} trains it; give the command again once that has ended, or --wait"
            return None
        unit = Unit(self.experiment, seed, self.compute, self.output)
        identity = continuing.identity(unit, self.split.source.digest)
        try:
            if folder.settle():
                console.say(f"seed {seed}: replaced by the run that an earlier --force had finished")
                self._look(seed)
            elif not self.force:
                # Another process may have finished it since.
                self._look(seed)
            if seed in self.done or seed in self.problems:
                return None
            place = folder.place()
            if self.force and continuing.discard_others(place, identity):
                console.say(f"seed {seed}: {place.path} was begun as another run, which is discarded")
            continuing.require_same(place, identity)
        except BenchError as error:
            self.problems[seed] = error.in_one_line
            return None
        stays = " (the run there stays until this one is finished)" if place is not folder else ""
        console.say(f"seed {seed}: {folder.path}{stays}")
        return unit

    def _train_together(self, units: "list[Unit]", at_once: int) -> None:
        from lrelu_bench.runner import Saving, run_together

        console = self.console
        seeds = [unit.seed for unit in units]
        with stoppable() as stop, watch_training(console, seeds) as watchers:
            saving = Saving(self.execution.checkpoint_minutes, stop)
            try:
                found = run_together(units, self.split, watchers, self.images, saving)
            except KeyboardInterrupt:
                console.say(f"stopped at once; {_to_go_on()} from what was saved last")
                raise SystemExit(stop.exit_code) from None
            except (MemoryError, RuntimeError) as error:
                advice = _advice(error, self.experiment, self.compute, at_once)
                if advice is None:
                    raise
                raise BenchError(advice) from error
        for unit, result in zip(units, found, strict=True):
            if result is None:
                continue
            if result.status == "diverged":
                after = _after_diverging(unit)
                console.say(f"seed {unit.seed}: diverged in epoch {result.diverged_in}; {after}")
            self._finished(unit.seed, result)
        # Where the last run was finished in the same moment, nothing was stopped.
        if stop.asked and self.left:
            self._say_stopped(units, stop)
            raise SystemExit(stop.exit_code)

    def _say_stopped(self, units: "list[Unit]", stop: Stop) -> None:
        for unit in units:
            saved, _ = in_order(unit.folder.place().path)
            if unit.seed not in self.done and saved:
                self.console.say(f"seed {unit.seed}: stopped and saved, {saved[0][1].where}")
        self.console.say(f"stopped; {_to_go_on()}")


def _to_go_on() -> str:
    return f"to go on: {shlex.join(['lrelu-bench', *sys.argv[1:]])}"


def _advice(error: Exception, experiment: Experiment, compute: "Compute", at_once: int) -> str | None:
    """What to do about a failure of the device or of its memory; None where it is neither."""
    import torch

    from lrelu_bench.plan import fitting_batch

    what = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    batch = experiment.effective_recipe.batch_size
    if isinstance(error, torch.OutOfMemoryError):
        if at_once > 1:
            return (
                f"the GPU is out of memory at --parallel-seeds {at_once}; give a smaller number, and "
                f"the runs go on from what was saved ({what})"
            )
        fits = fitting_batch(experiment, compute, torch.cuda.mem_get_info(compute.device)[1])
        return (
            f"the GPU is out of memory at batch_size {batch}, size {experiment.size}, {experiment.arch}; "
            f"set batch_size={fits}, which should fit (estimated; it is another experiment), or free the GPU "
            f"({what})"
        )
    if isinstance(error, MemoryError) or "can't allocate memory" in what:
        return (
            f"out of memory at batch_size {batch}, size {experiment.size}, {experiment.arch}; close other "
            f"programs, or lower batch_size ({what})"
        )
    if "CUDA error" in str(error) or type(error).__name__ == "AcceleratorError":
        return (
            f"the GPU failed ({what}); the same command goes on from what was saved last; where it fails "
            "again, look at the system's log, and try --no-cuda-graph --force, which begins anew"
        )
    return None


def _at_once(experiment: Experiment, execution: Execution, compute: "Compute", console: SteadyConsole) -> int:
    """How many seeds train at a time."""
    if execution.parallel_seeds == 1:
        return 1
    why_not = None
    if compute.device.type != "cuda":
        why_not = "one seed alone keeps a CPU busy"
    elif experiment.activation.is_custom:
        why_not = f"{experiment.activation.name} might draw random numbers, which seeds would share"
    if why_not is None:
        return execution.parallel_seeds
    console.say(f"--parallel-seeds {execution.parallel_seeds}: {why_not}; so they train one after another")
    return 1


def _images_on_gpu(
    experiment: Experiment, split: Split, compute: "Compute", console: SteadyConsole, at_once: int = 1
) -> "DeviceImages | None":
    """The split's images on the GPU that trains, for all seeds; None where there is none or no room."""
    import torch

    from lrelu_bench.data import batched
    from lrelu_bench.data.device_loader import DeviceImages, obstacle
    from lrelu_bench.plan import plan

    if compute.device.type != "cuda":
        return None
    # The estimate knows neither cuDNN's workspaces nor the gradients of what it counts. What one seed's
    # stream has freed no other may use.
    training = 2 * at_once * plan(experiment, compute).memory_bytes
    training += (at_once - 1) * batched.WORKING_BYTES
    free: int = torch.cuda.mem_get_info(compute.device)[0]
    why_not = obstacle(split, experiment.effective_recipe, free - training)
    if why_not is None:
        return DeviceImages(split, compute.device)
    console.say(f"{why_not}; so the CPU prepares them")
    return None


def _after_diverging(unit: "Unit") -> str:
    remedies = ["lower lr"]
    if unit.experiment.activation.spec.learned or unit.experiment.activation.is_custom:
        remedies += ["lower activation.lr_mult", "set activation.bounds"]
        if unit.experiment.on_divergence == "stop":
            remedies.append("set on_divergence=rewind")
    return (
        f"it counts as a run, and the last good weights are in {unit.folder.path / 'last_good.safetensors'}; "
        f"for another outcome {' or '.join(remedies)}"
    )


def _announcement(experiment: Experiment) -> list[str]:
    return [experiment.slug, *remarks(experiment)]


def _computing(compute: "Compute", experiment: Experiment) -> list[str]:
    from lrelu_bench.training.captured import captures

    words = [compute.device.type, compute.precision]
    if captures(compute, experiment.effective_recipe, experiment.activation):
        words.append("steps captured as CUDA graphs")
    return [*words, "torch.compile"] if compute.compile else words


def show_plan(experiment: Experiment, execution: Execution, output: Path, force: bool) -> None:
    """Say what `run` would do: resolved config, data, steps, estimated memory, what is complete already."""
    from lrelu_bench.plan import plan

    compute = execution.compute(experiment)
    would = plan(experiment, compute)
    print("\n".join([*_announcement(experiment), dump_experiment(experiment)]))
    total = would.steps_per_epoch * experiment.epochs
    lines = [
        f"data         {would.data}",
        f"images       {would.train_images:,} training, {would.valid_images:,} validation",
        f"steps        {would.steps_per_epoch:,} an epoch, {total:,} a run",
        f"net          {would.parameters:,} parameters",
        f"compute      {', '.join(_computing(compute, experiment))}",
        f"memory       about {would.memory_bytes / 1e9:.1f} GB beside PyTorch itself (estimated)",
    ]
    for seed in experiment.seeds:
        folder = RunFolder.of(output, experiment.slug, seed)
        lines.append(f"seed {seed:<8}{_state(experiment, seed, compute, folder, force)} ({folder.path})")
    print("\n".join(lines))


def _state(experiment: Experiment, seed: int, compute: "Compute", folder: RunFolder, force: bool) -> str:
    """What `run` would find of a seed, in words."""
    from lrelu_bench.unit import Unit

    if is_held(folder.lock):
        return f"{holder_of(folder.lock)} trains it"
    try:
        if folder.completed(experiment.digest, seed) and not force:
            return "complete already"
    except BenchError as error:
        if not force:
            return f"unreadable, --force replaces it: {error}"
    identity = continuing.identity(Unit(experiment, seed, compute, folder.path), "")
    del identity["data"]  # only known once the data is opened
    place = folder.place()
    try:
        continuing.require_same(place, identity)
    except BenchError as error:
        return "to be trained anew: what was begun is of another run" if force else f"refused: {error}"
    saved, _ = in_order(place.path)
    return f"to go on: {saved[0][1].where}" if saved else "to be trained"
