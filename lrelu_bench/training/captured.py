"""Steps that are captured as CUDA graphs: a step's few hundred kernels start as one.

At the protocols' batches a GPU computes faster than a host can start kernels one by one. A graph starts
them all, on the memory that they had when it was captured. So everything that differs from step to step is a
tensor that is written to before: the batch, what mixup drew, and the row of the schedule. Nothing in a step
waits for the device.

Source: the whole-network capture of PyTorch's notes on CUDA graphs.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakSet

import torch
from torch import Tensor

from lrelu_bench.activation_config import Activation
from lrelu_bench.errors import BenchError
from lrelu_bench.protocols import Recipe
from lrelu_bench.training.objective import Mix
from lrelu_bench.training.precision import Compute
from lrelu_bench.training.scheduled import DeviceSchedule, momentum_moves
from lrelu_bench.training.step import Parts, Stepper
from lrelu_bench.training.telemetry import Sample

WARM_STEPS = 3
"""Steps of a run before the first capture: libraries start up, cuDNN tries its algorithms."""

Work = Callable[[], Sample | None]
Capture = Callable[[Work], Work]
"""From what is to be started to what starts it again; raises `RuntimeError` where that cannot be."""


class CudaGraphs:
    """Captures work without doing it. Graphs share their memory, as one is replayed after another.

    One for each run: cuBLAS keeps a workspace per stream that captures, and graphs that are replayed at the
    same time must not share it (nor lose it with another run's graphs, pytorch#193402).
    """

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._living: WeakSet[torch.cuda.CUDAGraph] = WeakSet()
        self._failed: list[torch.cuda.CUDAGraph] = []

    def __call__(self, work: Work) -> Work:
        before, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
        alive = next(iter(self._living), None)
        # A pool is gone with the last graph in it.
        pool = torch.cuda.graph_pool_handle() if alive is None else alive.pool()
        try:
            # Not "global": the loader's thread may allocate meanwhile.
            with torch.cuda.graph(graph, pool, self._stream, capture_error_mode="thread_local"):
                sample = work()
        except BaseException:
            # torch leaves the capture's stream in force, and its allocator holds on to the graph.
            torch.cuda.set_stream(before)
            self._failed.append(graph)
            raise
        self._living.add(graph)

        def replay() -> Sample | None:
            graph.replay()
            # The next replay writes over it.
            return sample and tuple(part.clone() for part in sample)  # type: ignore[return-value]

        return replay


def captures(compute: Compute, recipe: Recipe, activation: Activation) -> bool:
    """Whether a run's steps are to be captured.

    Raises `BenchError` where that was asked for and is impossible.
    """
    if compute.cuda_graph is False:
        return False
    why_not = None
    if compute.device.type != "cuda":
        why_not = f"it needs a CUDA device, and this run is on the {compute.device.type.upper()}"
    elif compute.precision == "fp16":
        why_not = "fp16's loss scaling asks the device after each step; use precision bf16"
    elif recipe.optimizer != "adam" and momentum_moves(recipe):
        why_not = f"{recipe.optimizer}'s momentum cannot move in a graph; set recipe.momentum_min to the max"
    if compute.cuda_graph and why_not:
        raise BenchError(f"--cuda-graph: {why_not}, or leave --cuda-graph out")
    # What a user's class does in Python, a graph would not do again.
    return why_not is None and bool(compute.cuda_graph or not activation.is_custom)


@dataclass(frozen=True)
class _Kind:
    """What a step does that others do not: each kind is a graph of its own."""

    images: int
    sampled: bool
    slow_moves: bool
    frozen: bool
    """Already before the step."""
    freezes: int
    """The steps done after it where it freezes the activations, else 0: a kind of which there is one."""


@dataclass
class _Inputs:
    """The memory that graphs read a batch from."""

    pixels: Tensor
    labels: Tensor
    mix: Mix | None

    @classmethod
    def like(cls, pixels: Tensor, labels: Tensor, mix: Mix | None, device: torch.device) -> "_Inputs":
        return cls(
            torch.empty_like(pixels, device=device),
            torch.empty_like(labels, device=device),
            mix and Mix(torch.empty_like(mix.share), torch.empty_like(mix.order)),
        )

    def fill(self, pixels: Tensor, labels: Tensor, mix: Mix | None) -> None:
        self.pixels.copy_(pixels, non_blocking=True)
        self.labels.copy_(labels, non_blocking=True)
        if self.mix is not None and mix is not None:
            self.mix.share.copy_(mix.share)
            self.mix.order.copy_(mix.order)


class CapturedStepper(Stepper):
    """Steps that are captured once their like has been taken, and then replayed.

    Args:
        parts: with an optimizer built for a `DeviceSchedule`.
        say: told where a capture fails; the run then goes on without.
    """

    def __init__(
        self, parts: Parts, recipe: Recipe, steps: int, capture: Capture, say: Callable[[str], None]
    ) -> None:
        super().__init__(parts, recipe, steps)
        self._capture: Capture | None = capture
        self._say = say
        self._schedule = DeviceSchedule(parts.optimizer, recipe, steps)
        self.state_replaced()

    def state_replaced(self) -> None:
        self._schedule.bind()
        self._replays: dict[_Kind, Work] = {}
        self._taken = Counter[_Kind]()
        self._inputs: _Inputs | None = None

    def start_epoch(self, first: int, count: int, mixes: Sequence[Mix]) -> None:
        super().start_epoch(first, count, mixes)
        weights = [self.parts.control.average_weight(ahead) for ahead in range(count)]
        self._schedule.start_epoch(first, weights)

    def step(self, step: int, pixels: Tensor, labels: Tensor) -> None:
        control, lookahead, telemetry = self.parts.control, self.parts.lookahead, self.telemetry
        self._schedule.go_to(step)
        kind = _Kind(
            images=len(labels),
            sampled=telemetry is not None and step + 1 in telemetry.steps,
            slow_moves=lookahead is not None and lookahead.due,
            frozen=control.frozen,
            freezes=(step + 1) * control.freezes(step + 1),
        )
        sample = self._take(kind, pixels, labels, self._mix(step))
        if lookahead is not None:
            lookahead.steps += 1
        if not kind.frozen:
            control.count_move()
        if sample is not None and telemetry is not None:
            telemetry.keep(step + 1, self.hyperparameters(step)[0], sample)

    def _take(self, kind: _Kind, pixels: Tensor, labels: Tensor, mix: Mix | None) -> Sample | None:
        replay = self._replays.get(kind)
        # Kernels that only this kind starts are loaded by the first of it.
        if replay is None and self._taken[kind] and self._taken.total() >= WARM_STEPS:
            replay = self._captured(kind, pixels, labels, mix)
        self._taken[kind] += 1
        if replay is None or self._inputs is None:
            return self._work(kind, pixels, labels, mix)
        self._inputs.fill(pixels, labels, mix)
        return replay()

    def _captured(self, kind: _Kind, pixels: Tensor, labels: Tensor, mix: Mix | None) -> Work | None:
        # An epoch's last, smaller batch comes too seldom for memory of its own.
        if self._capture is None or kind.images != self.recipe.batch_size:
            return None
        if self._inputs is None:
            self._inputs = _Inputs.like(pixels, labels, mix, self.total.device)
        held = self._inputs
        try:
            self._replays[kind] = self._capture(lambda: self._work(kind, held.pixels, held.labels, held.mix))
        except RuntimeError as error:
            self._capture = None
            self._replays.clear()
            self.parts.optimizer.zero_grad(set_to_none=True)
            if self.telemetry is not None:
                self.telemetry.close()
            first = str(error).strip().splitlines()[0]
            self._say(f"the steps run without a CUDA graph, because one could not be captured ({first})")
            return None
        return self._replays[kind]

    def _work(self, kind: _Kind, pixels: Tensor, labels: Tensor, mix: Mix | None) -> Sample | None:
        """All that the device does in a step; a replay does again nothing that the host does here."""
        parts, telemetry = self.parts, self.telemetry if kind.sampled else None
        if telemetry is not None:
            telemetry.open()
        images, labels = parts.objective.on_device(pixels, labels)
        # A compiled net would be compiled once more for a sampled step's hooks.
        net = parts.net if kind.sampled else parts.forward
        loss = parts.objective.train_loss(net, images, labels, mix)
        loss.backward()  # type: ignore[no-untyped-call]
        parts.optimizer.step()
        if kind.slow_moves and parts.lookahead is not None:
            parts.lookahead.move()
        parts.guard.after_step(loss)
        if not kind.frozen:
            parts.control.move(self._schedule.average_weight)
        if kind.freezes:
            parts.control.freeze_when_due(kind.freezes)
        sample = None if telemetry is None else telemetry.read()
        parts.optimizer.zero_grad(set_to_none=True)
        self.total += loss.detach() * kind.images
        return sample
