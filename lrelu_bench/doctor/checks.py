"""All checks, in the order of the report."""

from collections.abc import Callable, Iterator
from importlib import import_module

from lrelu_bench.doctor import compute
from lrelu_bench.doctor.examination import LIMIT_SECONDS, Check
from lrelu_bench.doctor.finding import Finding

# Who shares torch's process waits for it first.
_AFTER_TORCH = compute.LIMIT_SECONDS + LIMIT_SECONDS


def checks(offline: bool = False) -> list[Check]:
    """Every check there is; without the network's where `offline`."""
    probe = compute.Probe()

    def torch(area: str, name: str, place: str) -> Check:
        return Check(area, name, _of(place, probe), _AFTER_TORCH)

    network = [
        Check("network", "archives' hosts", _of("network.archive_hosts")),
        torch("network", "MNIST's hosts", "network.mnist_hosts"),
    ]
    return [
        Check("installed", "lrelu-bench", _of("packages.itself")),
        Check("installed", "Python", _of("packages.python")),
        Check("installed", "packages", _of("packages.required")),
        Check("installed", "triton", _of("packages.triton")),
        Check("installed", "extras", _of("packages.optional")),
        Check("machine", "processor", _of("machine.cores")),
        Check("machine", "memory", _of("machine.memory")),
        Check("configuration", "variables", _of("settings.variables")),
        Check("configuration", "proxies", _of("settings.proxies")),
        Check("data", "data folder", _of("data.folder")),
        Check("data", "archives", _of("data.archives")),
        Check("data", "MNIST", _of("data.digits")),
        Check("data", "leftovers", _of("data.leftovers")),
        Check("results", "results folder", _of("results.folder")),
        Check("results", "runs", _of("results.runs")),
        torch("compute", "import torch", "compute.imports"),
        torch("compute", "GPU", "compute.gpus"),
        torch("compute", "a run uses", "compute.choice"),
        torch("kernels", "kernels", "kernels.fused"),
        *([Check("network", "network", _of("network.skipped"))] if offline else network),
    ]


def _of(place: str, *arguments: compute.Probe) -> Callable[[], Iterator[Finding]]:
    """The function at `module.function`, imported when it is called: a broken package breaks one check."""
    module, _, function = place.rpartition(".")

    def find() -> Iterator[Finding]:
        asked = getattr(import_module(f"lrelu_bench.doctor.{module}"), function)
        yield from asked(*arguments)

    return find
