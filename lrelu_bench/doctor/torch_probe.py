"""What torch says of this machine, asked in a process of its own: it may take seconds, fail or crash.

Each stage prints one line of JSON as soon as it is through, so that those before a crash are known.
"""

import json
import math
import time
import traceback
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

MODULES = (
    "torch",
    "torchvision",
    "numba",
    "triton",
    "numpy",
    "PIL",
    "pydantic",
    "yaml",
    "jinja2",
    "matplotlib",
    "filelock",
    "safetensors",
)
"""What may be there and not be importable, where versions or builds do not match."""


def main() -> None:
    """Print all stages."""
    for name, stage in STAGES.items():
        try:
            said: Any = stage()
        except Exception as error:
            said = {"error": reason(error)}
        print(json.dumps({name: said}), flush=True)


def reason(error: Exception) -> str:
    """An error in one line."""
    lines = [line for text in traceback.format_exception_only(error) for line in text.splitlines()]
    return lines[0].strip() if lines else type(error).__name__


def imports() -> dict[str, Any]:
    """By module: seconds it took, None where it is not installed, or why it cannot be imported."""
    said: dict[str, Any] = {}
    for name in MODULES:
        if find_spec(name) is None:
            said[name] = None
            continue
        began = time.perf_counter()
        try:
            import_module(name)
        except Exception as error:
            said[name] = reason(error)
        else:
            said[name] = time.perf_counter() - began
    return said


def devices() -> dict[str, Any]:
    """The GPUs that torch sees, and whether each computes."""
    import torch

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    return {
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "available": available,
        "warnings": [str(one.message).splitlines()[0] for one in warned],
        "gpus": [_gpu(index) for index in range(torch.cuda.device_count())] if available else [],
    }


def _gpu(index: int) -> dict[str, Any]:
    import torch
    from torch.nn import functional as F

    properties = torch.cuda.get_device_properties(index)
    gpu: dict[str, Any] = {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "total": properties.total_memory,
        "free": None,
        "error": None,
    }
    try:
        # Before the test below takes some.
        gpu["free"] = torch.cuda.mem_get_info(index)[0]
        images = torch.ones(2, 3, 16, 16, device=f"cuda:{index}")
        F.conv2d(images, torch.ones(4, 3, 3, 3, device=images.device)).sum().item()
    except Exception as error:
        gpu["error"] = reason(error)
    return gpu


def choice() -> dict[str, Any]:
    """What `run` would compute on and in, of the config that it runs by default."""
    import torch

    from lrelu_bench.config_file import load_experiment
    from lrelu_bench.shipped import DEFAULT, shipped_configs
    from lrelu_bench.training import cpu
    from lrelu_bench.training.captured import captures
    from lrelu_bench.training.precision import choose_compute

    experiment = load_experiment(shipped_configs()[DEFAULT])
    compute = choose_compute("auto", "auto")
    return {
        "device": compute.device.type,
        "precision": compute.precision,
        "cuda_graph": captures(compute, experiment.effective_recipe, experiment.activation),
        "cpu_bf16": cpu.computes_bf16(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def kernels() -> dict[str, Any]:
    """Whether the learned ReLU's kernels compute what its formula says, and where Numba keeps its own."""
    import torch

    from lrelu_bench.activations.general_form import formula, general_relu
    from lrelu_bench.training.precision import choose_compute

    device = choose_compute("auto", "auto").device
    x = torch.linspace(-3, 3, 1024, device=device).reshape(2, 8, 8, 8).requires_grad_()
    parameters = [torch.full((8, 1, 1), value, device=device) for value in (0.1, 0.4, 2.0)]
    began = time.perf_counter()
    y = general_relu(x, *parameters)
    y.sum().backward()  # type: ignore[no-untyped-call]
    difference = (y - formula(x, *parameters)).abs().max().item()
    took = time.perf_counter() - began
    same = math.isfinite(difference) and difference < 1e-4
    return {"device": device.type, "seconds": took, "same": same, "cache": _numba_cache()}


def _numba_cache() -> str | None:
    """The folder where Numba keeps compiled kernels; None where it has none."""
    from lrelu_bench.activations.kernels import columns

    kernel: Any = columns.forward
    folder = kernel.stats.cache_path
    return None if folder is None else str(folder)


def mnist_addresses() -> list[str]:
    """Where torchvision fetches MNIST's files."""
    from torchvision.datasets import MNIST

    return [str(address) for address in MNIST.mirrors]


STAGES: dict[str, Callable[[], Any]] = {
    "imports": imports,
    "devices": devices,
    "choice": choice,
    "mnist_addresses": mnist_addresses,
    "kernels": kernels,
}
"""By name in the order they are taken, the riskiest last."""
