"""Synthetic telemetry for the tests: three sites whose parameters move a lot, without training anything."""

from dataclasses import replace
from typing import Any

import numpy as np

from lrelu_bench.telemetry_file import CURVE_X, EDGES, Telemetry

SITES, CHANNELS = ("2", "4.convs.2", "4.act"), (2, 4, 4)
EPOCHS, STEPS_PER_EPOCH = 4, 10


def telemetry(parameters: tuple[str, ...] = ("leak", "sub"), **changes: Any) -> Telemetry:
    """Parameter p of site s starts at 0.1 and moves by 0.1 * (s + 1) * (p + 1) per epoch, in all channels."""
    step = np.array([1, 14, 27, 40], np.int32)
    epoch = (step / STEPS_PER_EPOCH).astype(np.float32)
    share = epoch / EPOCHS
    speeds = np.array([[0.1 * (s + 1) * (p + 1) for p in range(len(parameters))] for s in range(3)])
    values, offsets, stop = [], np.zeros((3, len(parameters), 2), np.int32), 0
    for site, channels in enumerate(CHANNELS):
        for p in range(len(parameters)):
            offsets[site, p], stop = (stop, stop + channels), stop + channels
            spread = np.linspace(-0.01, 0.01, channels)
            moved = np.arange(EPOCHS + 1)[:, None] * (speeds[site, p] + spread)
            values.append(0.1 + moved)
    means = 0.1 + epoch[:, None, None] * speeds
    nothing = np.full_like(means, np.nan)
    site_scale = np.array([1.0, 0.5, 2.0])
    centres = np.append(EDGES - 0.125, EDGES[-1] + 0.125)
    density = np.exp(-((centres - share[:, None, None] * site_scale[:, None]) ** 2) / 2)
    leaks = 0.1 + np.arange(EPOCHS + 1)[:, None] * speeds[:, 0] if parameters else np.zeros((EPOCHS + 1, 3))
    mean = np.minimum(CURVE_X, 0) * leaks[..., None] + np.maximum(CURVE_X, 0)
    arrays: dict[str, Any] = {
        "site": np.array(SITES),
        "channels": np.array(CHANNELS, np.int32),
        "parameter": np.array(parameters, dtype=np.str_),
        "step": step,
        "epoch": epoch,
        "lr": 0.01 * np.sin(np.pi * share),
        "mean": share[:, None] * site_scale,
        "std": 1 + share[:, None] * site_scale,
        "near_zero": 0.5 - 0.2 * share[:, None] * site_scale,
        "capped": np.full((4, 3), np.nan),
        "histogram": (1000 * density).astype(np.uint32),
        "edges": EDGES,
        "param_min": means - 0.02,
        "param_mean": means,
        "param_max": means + 0.02,
        "grad_norm": nothing,
        "update_ratio": nothing,
        "at_bound": nothing,
        "values": np.concatenate(values, 1) if values else np.zeros((EPOCHS + 1, 0)),
        "offsets": offsets,
        "curves": np.stack([mean, mean - 0.2, mean + 0.2], -1),
        "curve_x": CURVE_X,
    }
    arrays = {name: a.astype(np.float32) if a.dtype == np.float64 else a for name, a in arrays.items()}
    return replace(Telemetry(**arrays), **changes)
