"""What the activations of a net do while it trains, at a cost that may stay on.

A few steps are sampled, spread evenly over the run. In a sampled step each activation's output is read where
it is computed, at positions drawn once, and reduced to a few numbers that stay on the device until the epoch
ends. Nothing of it touches the training's numbers: no tensor of the net is changed or kept, and no random
generator of torch is used.

After the tracker of the LearnedReLU posts (forums.fast.ai, April 2019), which appended to a list per layer,
and the hooks of fast.ai course-v3 lesson 10 (notebook 06, append_stats).
"""

from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lrelu_bench.activations.base import LearnedActivation
from lrelu_bench.activations.factory import Site, activation_sites
from lrelu_bench.activations.norm_act import NormAct
from lrelu_bench.telemetry_file import CURVE_X, EDGES, NEAR_ZERO, Telemetry

SAMPLES_PER_EPOCH = 10
SAMPLES_PER_RUN = 400
LEAST_DISTANCE = 8
"""Sampled steps lie this many steps apart, or more: on small data ten an epoch would cost too much."""
ELEMENTS = 1 << 15
"""Elements read of a site's output in a sampled step, where it has as many."""

Sample = tuple[Tensor, Tensor, Tensor, Tensor]
"""Of one step: moments (3, L), histogram (L, B + 2), capped shares (L,), learned values (4, T)."""

_BINS = len(EDGES) - 1
_LOW, _WIDTH = float(EDGES[0]), float(EDGES[1] - EDGES[0])


def sampled_steps(steps_per_epoch: int, epochs: int) -> tuple[int, ...]:
    """The sampled optimizer steps of a run, counted from 1; the first and the last are among them."""
    total = steps_per_epoch * epochs
    count = min(SAMPLES_PER_EPOCH * epochs, SAMPLES_PER_RUN, 1 + (total - 1) // LEAST_DISTANCE)
    return tuple(sorted({int(step) for step in np.linspace(1, total, max(count, 2)).round()}))


@dataclass
class _Open:
    """A sampled step in progress."""

    before: Tensor
    outputs: dict[int, Tensor] = field(default_factory=dict)
    capped: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class _Slot:
    """One learned parameter of one site, and where its values stand among all of them."""

    site: int
    column: int
    module: LearnedActivation
    name: str
    start: int
    stop: int

    @property
    def bounds(self) -> tuple[float, float]:
        """(low, high), NaN without."""
        low, high = self.module.bounds.get(self.name, (np.nan, np.nan))
        # As the parameter holds them: 0.1 in fp32 is more than 0.1.
        return float(np.float32(low)), float(np.float32(high))


class TelemetryRecorder:
    """Samples one run. The loop calls `before_step`, `after_step` and `after_epoch`.

    Args:
        net: with the activations of `activation_sites`; not trained yet.
        steps_per_epoch, epochs: of the whole run.
    """

    def __init__(self, net: nn.Module, steps_per_epoch: int, epochs: int) -> None:
        self.sites = activation_sites(net)
        # What comes out of the activation, whether or not its own forward is called.
        joined = {id(module.act): module for module in net.modules() if isinstance(module, NormAct)}
        self._sources = [joined.get(id(site.module), site.module) for site in self.sites]
        self.steps_per_epoch = steps_per_epoch
        self.steps = frozenset(sampled_steps(steps_per_epoch, epochs))
        self.slots, self.parameters = _slots(self.sites)
        self._open: _Open | None = None
        self._step = 0, 0.0
        self._hooks: list[RemovableHandle] = []
        self._positions: dict[tuple[int, ...], tuple[Any, ...]] = {}
        self._pending: list[tuple[int, float, Sample]] = []
        self._samples: list[dict[str, NDArray[Any]]] = []
        self._values, self._curves = [self._used().cpu().numpy()], [self._shapes()]

    def before_step(self, step: int, lr: float) -> None:
        """Start optimizer step `step`, counted from 1, at this learning rate."""
        self.close()
        if step in self.steps:
            self.open()
            self._step = step, lr

    def open(self) -> None:
        """Begin to read a step, sampled or not."""
        self._open = _Open(self._raw())
        self._hooks = [
            source.register_forward_hook(partial(self._hooked, index))
            for index, source in enumerate(self._sources)
        ]

    def _hooked(self, site: int, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.observe(site, output)

    @torch.no_grad()
    def observe(self, site: int, output: Tensor) -> None:
        """Read a site's output (N, C, ...); outside of a sampled step nothing happens.

        Called by a forward hook, or by whoever computes an activation without calling its module.
        """
        if self._open is None:
            return
        rows = output[self._drawn(output)]
        cap = getattr(self.sites[site].module, "cap", None)
        if isinstance(cap, Tensor | float | int):  # a user's class may call anything `cap`
            limit = torch.as_tensor(cap).to(rows.dtype).flatten()
            if limit.device != rows.device:
                limit = torch.full((), limit.item(), dtype=rows.dtype, device=rows.device)
            self._open.capped[site] = (rows >= limit).float().mean()
        self._open.outputs[site] = rows.float().flatten()

    def _drawn(self, output: Tensor) -> tuple[Any, ...]:
        """The index of some positions of an output, all channels each: the same for equal shapes."""
        shape = tuple(output.shape)
        if shape not in self._positions:
            lengths = (shape[0], *shape[2:])
            positions = int(np.prod(lengths))
            count = min(positions, max(1, ELEMENTS // shape[1]))
            drawn = np.sort(np.random.default_rng(0).choice(positions, count, replace=False))
            where = [torch.from_numpy(axis).to(output.device) for axis in np.unravel_index(drawn, lengths)]
            self._positions[shape] = (where[0], slice(None), *where[1:])
        return self._positions[shape]

    def after_step(self) -> None:
        """End the step: after the optimizer has moved the parameters, before their gradients are gone."""
        if self._open is not None:
            self.keep(*self._step, self.read())
        self.close()

    @torch.no_grad()
    def read(self) -> Sample:
        """End what `open` began: what was read, reduced on the device, where alone this works."""
        one = self._open
        assert one is not None
        nothing = torch.full((), torch.nan, device=one.before.device)
        capped = torch.stack([one.capped.get(site, nothing) for site in range(len(self.sites))])
        # A user's net of modules may pass a site by.
        outputs = _statistics([one.outputs.get(site, nothing.view(1)) for site in range(len(self.sites))])
        learned = torch.stack([one.before, self._raw(), self._used(), self._gradients()])
        self.close()
        return *outputs, capped, learned

    def keep(self, step: int, lr: float, sample: Sample) -> None:
        """Add what was read of a step to the run's; it stays on the device until the epoch ends."""
        self._pending.append((step, lr, sample))

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._open = [], None

    @torch.no_grad()
    def after_epoch(self) -> Telemetry:
        """Bring the epoch's samples to the host and give everything so far; call it after validation."""
        self._values.append(self._used().cpu().numpy())
        self._curves.append(self._shapes())
        return self.so_far()

    def so_far(self) -> Telemetry:
        """The samples until now, and values and curves of the epochs that were finished."""
        self.close()
        self._fetch()
        return self._telemetry()

    def truncate(self, step: int) -> None:
        """Forget what came after optimizer step `step`: the run goes on from there.

        Values and curves are kept up to the last whole epoch before it.
        """
        self.close()
        self._fetch()
        self._samples = [sample for sample in self._samples if sample["step"] <= step]
        kept = 1 + step // self.steps_per_epoch
        del self._values[kept:], self._curves[kept:]

    def state_dict(self) -> dict[str, Any]:
        """The samples until now, and values and curves of the epochs that were finished, as tensors."""
        self.close()
        self._fetch()
        return {
            "samples": [
                {name: _tensor(values) for name, values in sample.items()} for sample in self._samples
            ],
            "values": [_tensor(values) for values in self._values],
            "curves": [_tensor(curves) for curves in self._curves],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a state of `state_dict`."""
        self.close()
        self._pending = []
        self._samples = [
            {name: tensor.numpy() for name, tensor in sample.items()} for sample in state["samples"]
        ]
        for sample in self._samples:
            sample["histogram"] = sample["histogram"].astype(np.uint32)
        self._values = [tensor.numpy() for tensor in state["values"]]
        self._curves = [tensor.numpy() for tensor in state["curves"]]

    def _fetch(self) -> None:
        """Reduce what waits on the device; the reductions over channels are the host's, in float64."""
        for step, lr, tensors in self._pending:
            outputs, histogram, capped, learned = (tensor.cpu().numpy() for tensor in tensors)
            self._samples.append(
                {
                    "step": np.array(step, np.int32),
                    "epoch": np.array(step / self.steps_per_epoch, np.float32),
                    "lr": np.array(lr, np.float32),
                    "mean": outputs[0],
                    "std": outputs[1],
                    "near_zero": outputs[2],
                    "capped": capped,
                    "histogram": histogram.astype(np.uint32),
                    **self._reduced(learned.astype(np.float64)),
                }
            )
        self._pending = []

    def _reduced(self, learned: NDArray[np.float64]) -> dict[str, NDArray[np.float32]]:
        """Per site and parameter, from (before, after, used, gradient) of every learned value: (4, T)."""
        names = ("param_min", "param_mean", "param_max", "grad_norm", "update_ratio", "at_bound")
        found = {name: np.full((len(self.sites), len(self.parameters)), np.nan, np.float32) for name in names}
        for slot in self.slots:
            before, after, used, gradient = learned[:, slot.start : slot.stop]
            low, high = slot.bounds
            at_bound = np.nan if np.isnan(low) else np.mean((used <= low) | (used >= high))
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                norms = np.linalg.norm(gradient), np.linalg.norm(after - before) / np.linalg.norm(before)
                numbers = (used.min(), used.mean(), used.max(), *norms, at_bound)
                for name, number in zip(names, numbers, strict=True):
                    found[name][slot.site, slot.column] = number
        return found

    def _raw(self) -> Tensor:
        """(T,) the parameters themselves, copied."""
        return self._flat([getattr(slot.module, slot.name) for slot in self.slots])

    def _used(self) -> Tensor:
        """(T,) the values that forward uses, copied."""
        return self._flat([slot.module.value(slot.name) for slot in self.slots])

    def _gradients(self) -> Tensor:
        parameters: list[Tensor] = [getattr(slot.module, slot.name) for slot in self.slots]
        return self._flat([torch.full_like(p, torch.nan) if p.grad is None else p.grad for p in parameters])

    def _flat(self, tensors: list[Tensor]) -> Tensor:
        if not tensors:
            return torch.zeros(0)
        return torch.cat([tensor.detach().flatten().float() for tensor in tensors])

    @torch.no_grad()
    def _shapes(self) -> NDArray[np.float32]:
        """(L, X, 3) each activation's curve: mean, 10 % and 90 % quantile over channels."""
        return np.stack([_curve(site) for site in self.sites]).astype(np.float32)

    def _telemetry(self) -> Telemetry:
        offsets = np.zeros((len(self.sites), len(self.parameters), 2), np.int32)
        for slot in self.slots:
            offsets[slot.site, slot.column] = slot.start, slot.stop
        samples = {name: np.stack([sample[name] for sample in self._samples]) for name in self._samples[0]}
        return Telemetry(
            site=np.array([site.path for site in self.sites], dtype=np.str_),
            channels=np.array([site.channels for site in self.sites], np.int32),
            parameter=np.array(self.parameters, dtype=np.str_),
            edges=EDGES.astype(np.float32),
            values=np.stack(self._values),
            offsets=offsets,
            curves=np.stack(self._curves),
            curve_x=CURVE_X.astype(np.float32),
            **samples,
        )


def _tensor(array: NDArray[Any]) -> Tensor:
    # torch stores unsigned numbers of four bytes, but not every release of it reads them.
    return torch.from_numpy(array.astype(np.int64) if array.dtype == np.uint32 else array)


def _curve(site: Site) -> NDArray[np.float32]:
    """(X, 3) of one activation; NaN where it is not a function of single numbers, as a user's may be."""
    held = [*site.module.parameters(), *site.module.buffers()]
    x = torch.tensor(CURVE_X, dtype=torch.float32, device=held[0].device if held else None)
    x = x.expand(1, site.channels, 1, -1).clone()
    try:
        # A copy, and a generator of its own: a user's class may count its calls or draw numbers.
        with torch.random.fork_rng():
            y = deepcopy(site.module).eval()(x.clone())
        numbers = y.expand_as(x)[0, :, 0].float().cpu().numpy()
    except Exception:  # whatever a user's class makes of an input of this shape
        return np.full((len(CURVE_X), 3), np.nan, np.float32)
    return np.stack([numbers.mean(0), *np.quantile(numbers, [0.1, 0.9], axis=0)], 1)


def _slots(sites: list[Site]) -> tuple[list[_Slot], tuple[str, ...]]:
    """Every learned parameter of every site, and their names."""
    learning = [
        (i, site.module) for i, site in enumerate(sites) if isinstance(site.module, LearnedActivation)
    ]
    names = tuple(dict.fromkeys(name for _, module in learning for name in module.learned))
    slots, start = [], 0
    for site, module in learning:
        for name in module.learned:
            stop = start + module.value(name).numel()
            slots.append(_Slot(site, names.index(name), module, name, start, stop))
            start = stop
    return slots, names


def _statistics(outputs: list[Tensor]) -> tuple[Tensor, Tensor]:
    """(3, L) mean, standard deviation and near-zero share, and (L, B + 2) histogram, of L flat outputs.

    Outputs of one length are reduced together: on a GPU each reduction costs its launch.
    """
    lengths: dict[int, list[int]] = {}
    for site, output in enumerate(outputs):
        lengths.setdefault(len(output), []).append(site)
    moments: dict[int, Tensor] = {}
    histograms: dict[int, Tensor] = {}
    for sites in lengths.values():
        y = torch.stack([outputs[site] for site in sites])
        # Squares of bf16's largest numbers are too large for fp32.
        variance, mean = torch.var_mean(y.double(), dim=1, correction=0)
        near_zero = (y.abs() < NEAR_ZERO).float().mean(1)
        bins = ((y - _LOW) / _WIDTH).nan_to_num_(nan=_BINS).clamp_(-1, _BINS).floor_().long() + 1
        counts = torch.zeros(len(sites), _BINS + 2, dtype=torch.int32, device=y.device)
        counts.scatter_add_(1, bins, torch.ones_like(bins, dtype=torch.int32))
        # Put in order without an index, which would have to be copied to the device.
        moments |= zip(sites, torch.stack([mean.float(), variance.sqrt().float(), near_zero], 1), strict=True)
        histograms |= zip(sites, counts, strict=True)
    in_order = range(len(outputs))
    return torch.stack([moments[i] for i in in_order], 1), torch.stack([histograms[i] for i in in_order])
