"""What an activation costs: whole training steps with ReLU, with the learned one, and with its plain formula.

All are set beside torch's ReLU, in place behind torch's batch norm; `relu` is the product's, on a CPU one
pass with the batch norm. One net per variant, the same batch, seed and precision; blocks of steps take turns
in rotating order, and a second net with torch's ReLU gives the noise floor (A/A). A step is forward, backward
and optimizer on a batch that is ready. Peak memory is measured first, in a process per variant, and on a CPU
the learned one's also where Numba's cache is empty. On CUDA steps are replays of a graph, as in training; the
kernels alone are set beside a copy as well, and those fused with batch norm beside the unfused ones, as
training chooses between them. Prints Markdown.

Example: python scripts/measure_activation.py --blocks 9 --steps 3
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from statistics import median

import torch
from measuring import ratio_cell
from peers.kernels import kernels
from peers.nets import PlainFormula
from peers.report_step import kernel_table
from torch import nn
from torch.nn import functional as F

from lrelu_bench import environment
from lrelu_bench.activation_config import Activation
from lrelu_bench.activations.factory import activation_factory
from lrelu_bench.activations.general_form import fused, unfused
from lrelu_bench.activations.kernels import choosing
from lrelu_bench.models import xresnet
from lrelu_bench.training import cpu
from lrelu_bench.training.captured import WARM_STEPS, CudaGraphs
from lrelu_bench.training.precision import Compute, choose_compute

REFERENCE = "torch's relu"
VARIANTS = (REFERENCE, f"{REFERENCE} again", "relu", "learned_relu", "plain formula")
SIZE = 128


def factory_of(variant: str) -> Callable[[int], nn.Module]:
    """What makes a variant's activations."""
    if variant.startswith(REFERENCE):
        # No class of the product's, which would be computed together with the norm.
        return lambda channels: nn.ReLU(inplace=True)
    if variant == "plain formula":
        return lambda channels: PlainFormula(channels, **Activation(name="learned_relu").constants)
    return activation_factory(Activation.model_validate(variant))


class Stepper:
    """One variant's net, optimizer and batch.

    Args:
        captured: whether a step is a CUDA graph.
    """

    def __init__(self, variant: str, arch: str, batch: int, compute: Compute, captured: bool = False) -> None:
        torch.manual_seed(0)
        net = xresnet(arch, factory_of(variant)).to(compute.device).to(memory_format=torch.channels_last)
        self.net, self.compute = net.train(), compute
        on_gpu = compute.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=on_gpu, capturable=on_gpu)
        images = torch.randn(batch, 3, SIZE, SIZE, device=compute.device)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(10, (batch,), device=compute.device)
        self._again: Callable[[], object] = self._step
        if captured:
            self.seconds(WARM_STEPS)
            self._again = CudaGraphs()(self._step)

    def seconds(self, steps: int) -> float:
        """Time of that many training steps."""
        synchronize(self.compute)
        started = time.perf_counter()
        for _ in range(steps):
            self._again()
        synchronize(self.compute)
        return time.perf_counter() - started

    def _step(self) -> None:
        with self.compute.autocast():
            loss = F.cross_entropy(self.net(self.images), self.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def synchronize(compute: Compute) -> None:
    """Wait for the device."""
    if compute.device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--arch", default="xresnet18")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--blocks", type=int, default=9, help="blocks per variant (default 9)")
    parser.add_argument("--steps", type=int, default=3, help="steps in a block (default 3)")
    parser.add_argument("--memory-of", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    compute = choose_compute(options.device, options.precision)
    if compute.device.type == "cpu":
        cpu.prepare()
    if options.memory_of:
        print(json.dumps(peak_memory(options.memory_of, options.arch, options.batch, compute)))
        return

    # Before this process grows: a child's peak counts from its parent's size on.
    memory = {variant: memory_in_own_process(variant) for variant in VARIANTS}
    first_use = memory_at_first_use("learned_relu") if compute.device.type == "cpu" else None
    on_gpu = compute.device.type == "cuda"
    steppers = [
        Stepper(variant, options.arch, options.batch, compute, captured=on_gpu) for variant in VARIANTS
    ]
    for stepper in steppers:
        stepper.seconds(2)
    times = {variant: [0.0] * options.blocks for variant in VARIANTS}
    for block in range(options.blocks):
        for turn in range(len(VARIANTS)):
            place = (block + turn) % len(VARIANTS)
            times[VARIANTS[place]][block] = steppers[place].seconds(options.steps)
        print(f"block {block + 1} of {options.blocks}", file=sys.stderr)
    report(options, compute, times, memory)
    if first_use is not None:
        peak, ratio = first_use[0] / 1e9, first_use[0] / memory[REFERENCE][0]
        print(f"\nlearned_relu, Numba's cache empty: peak {peak:.3f} GB, {ratio:.3f} of {REFERENCE}")
    if compute.device.type == "cuda":
        for shape in kernels(compute, options.batch, SIZE, options.blocks):
            print("\n".join(kernel_table(shape)))
        report_choice()


def peak_memory(variant: str, arch: str, batch: int, compute: Compute) -> tuple[int, int]:
    """Peak memory of a few steps, bytes (allocated on the GPU, or resident), and what of it the batch took.

    The batch's part is what came on top of a net that has trained on two images: programs and kernels apart.
    """

    def peak() -> int:
        on_gpu = compute.device.type == "cuda"
        return torch.cuda.max_memory_allocated() if on_gpu else environment.peak_memory_bytes()

    Stepper(variant, arch, 2, compute).seconds(2)
    before = peak()
    Stepper(variant, arch, batch, compute).seconds(4)
    return peak(), peak() - before


def memory_in_own_process(variant: str, **settings: str) -> tuple[int, int]:
    """`peak_memory` of this script run for one variant alone, with these environment variables."""
    command, environ = [sys.executable, *sys.argv, "--memory-of", variant], os.environ | settings
    done = subprocess.run(command, env=environ, capture_output=True, check=True, text=True)
    total, own = json.loads(done.stdout)
    return total, own


def memory_at_first_use(variant: str) -> tuple[int, int]:
    """The same where Numba has compiled nothing yet."""
    with tempfile.TemporaryDirectory() as folder:
        return memory_in_own_process(variant, NUMBA_CACHE_DIR=folder)


def report(
    options: argparse.Namespace,
    compute: Compute,
    times: dict[str, list[float]],
    memory: dict[str, tuple[int, int]],
) -> None:
    """Print ratios to torch's ReLU with what they were measured on."""
    described = environment.describe()
    versions = ", ".join(f"{key} {value}" for key, value in described["versions"].items())
    device = described["gpu"]["name"] if compute.device.type == "cuda" else described["cpu"]
    print(f"{options.arch}, {SIZE} px, batch {options.batch}, {compute.device.type} {compute.precision}\n")
    print(f"- hardware: {device}; {described['cores']} cores, {described['threads']} threads")
    print(f"- versions: {versions}; commit {described['commit']}")
    print(f"- n = {options.blocks} blocks of {options.steps} steps each, in turns\n")
    print(f"Ratios are to {REFERENCE}.\n")
    print("| activation | images/s | step, ratio | peak memory | ratio | the batch's part | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for variant in VARIANTS:
        rate = options.batch * options.steps / median(times[variant])
        ratios = [own / reference for own, reference in zip(times[variant], times[REFERENCE], strict=True)]
        kept = " | ".join(
            f"{own / 1e9:.3f} GB | {own / reference:.3f}"
            for own, reference in zip(memory[variant], memory[REFERENCE], strict=True)
        )
        print(f"| {variant} | {rate:,.1f} | {ratio_cell(ratios)} | {kept} |")


def report_choice() -> None:
    """Print what batch norm with the activation takes, fused and not, by either way to time it."""
    device = torch.device("cuda", torch.cuda.current_device())
    cases = ", ".join(" x ".join(map(str, shape)) for shape in choosing.SHAPES)
    print(f"\n| norm and activation, both ways, bf16: {cases} | fused, ms | unfused, ms |\n|---|---:|---:|")
    timers = {"launched one by one": choosing.launched, "queued, as in a CUDA graph": choosing.queued}
    for name, timer in timers.items():
        for parameters, form in ((0, "relu"), (2, "leak, sub"), (3, "leak, sub, maxv")):
            taken = choosing.times(device, torch.bfloat16, parameters, (fused, unfused), timer)
            print(f"| {form}; {name} | {taken[0]:.3f} | {taken[1]:.3f} |")


if __name__ == "__main__":
    main()
