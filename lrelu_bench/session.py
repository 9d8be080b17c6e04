"""What `run` does on a terminal: find what is done, train the rest, show the table."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lrelu_bench.config import Experiment
from lrelu_bench.config_file import dump_experiment
from lrelu_bench.data.archives import data_home
from lrelu_bench.data.datasets import Split, expected_counts, open_split
from lrelu_bench.errors import BenchError
from lrelu_bench.report.announce import remarks
from lrelu_bench.report.progress import SteadyConsole, watch_data, watch_training
from lrelu_bench.report.render import render_run_row
from lrelu_bench.results import Run, RunFolder

if TYPE_CHECKING:
    from lrelu_bench.data.device_loader import DeviceImages
    from lrelu_bench.runner import Unit
    from lrelu_bench.training.precision import Compute, DeviceName


@dataclass(frozen=True)
class Execution:
    """Where and how to train: nothing of it is part of the experiment."""

    device: "DeviceName" = "auto"
    cuda_graph: bool | None = None
    compile: bool = False
    parallel_seeds: int = 1

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

    Raises `BenchError` for anything a user can mend.
    """
    for line in _announcement(experiment):
        console.say(line)
    experiment.effective_recipe.steps_per_epoch(expected_counts(experiment)[0])
    done: dict[int, Run] = {}
    unreadable: dict[int, str] = {}
    for seed in experiment.seeds:
        folder = RunFolder.of(output, experiment.slug, seed)
        try:
            found = None if force else folder.completed(experiment.digest, seed)
        except BenchError as error:
            unreadable[seed] = str(error)
            continue
        if found is not None:
            done[seed] = Run(found, folder.path)
            console.say(f"seed {seed}: {found.status} already in {folder.path}; --force trains it again")
    left = [seed for seed in experiment.seeds if seed not in done and seed not in unreadable]
    if left:
        done |= _train(experiment, left, execution, output, console)
    if done:
        console.print(render_run_row(*done.values()))
    if unreadable:
        lines = (f"seed {seed} not trained: {why}; --force replaces it" for seed, why in unreadable.items())
        raise BenchError(*lines)


def _train(
    experiment: Experiment, seeds: list[int], execution: Execution, output: Path, console: SteadyConsole
) -> dict[int, Run]:
    import torch

    from lrelu_bench.runner import Unit, build_net, run_together

    compute = execution.compute(experiment)
    if experiment.activation.is_custom:
        # What is wrong with a user's class is said before any data is fetched.
        build_net(experiment)
    for seed in seeds:
        RunFolder.of(output, experiment.slug, seed).require_writable()
    with watch_data(console) as progress:
        split = open_split(experiment, data_home(), progress)
    console.say(
        f"{len(split.train):,} training and {len(split.valid):,} validation images; "
        f"{compute.device.type}, {compute.precision}"
    )
    if compute.emulated:
        console.say("this CPU only emulates bf16, about ten times slower than fp32; precision auto avoids it")
    at_once = _at_once(experiment, execution, compute, console)
    images = _images_on_gpu(experiment, split, compute, console, at_once)
    results = {}
    for first in range(0, len(seeds), at_once):
        units = [Unit(experiment, seed, compute, output) for seed in seeds[first : first + at_once]]
        for unit in units:
            stays = " (the run there stays until this one is finished)" if unit.folder.occupied else ""
            console.say(f"seed {unit.seed}: {unit.folder.path}{stays}")
        try:
            with watch_training(console, [unit.seed for unit in units]) as watchers:
                found = run_together(units, split, watchers, images)
        except KeyboardInterrupt:
            one = len(units) == 1
            named = f"{'seed' if one else 'seeds'} {', '.join(str(unit.seed) for unit in units)}"
            which = f"{named} is not finished, and the same command trains it anew"
            if not one:
                which = f"of {named}, the same command trains anew what is not finished"
            console.say(f"stopped; {which}")
            raise SystemExit(130) from None
        except torch.OutOfMemoryError as error:
            fewer = f"--parallel-seeds {at_once}, " if at_once > 1 else ""
            raise BenchError(
                f"the GPU is out of memory at {fewer}batch_size {experiment.effective_recipe.batch_size}, "
                f"size {experiment.size}, {experiment.arch}; lower one of them ({error})"
            ) from error
        for unit, result in zip(units, found, strict=True):
            if result.status == "diverged":
                after = _after_diverging(unit)
                console.say(f"seed {unit.seed}: diverged in epoch {result.diverged_in}; {after}")
            results[unit.seed] = Run(result, unit.folder.path)
    return results


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
        f"it counts as a run, and the last good weights are in {unit.folder.path / 'last_good.pt'}; "
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


def show_plan(experiment: Experiment, execution: Execution, output: Path) -> None:
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
        try:
            state = "complete already" if folder.completed(experiment.digest, seed) else "to be trained"
        except BenchError as error:
            state = f"unreadable, --force replaces it: {error}"
        lines.append(f"seed {seed:<8}{state} ({folder.path})")
    print("\n".join(lines))
