"""What a run will compute on and in: torch's word for it, and the system's where torch sees no GPU."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrelu_bench.doctor.finding import Finding, ok, problem, warning
from lrelu_bench.doctor.folders import size

LIMIT_SECONDS = 150.0
"""For torch to start and to compile the kernels, from a slow disk too."""
FREE_BYTES = 3 * 10**9
"""What a run on a GPU wants free: torch's own memory, the images and a step."""
COMMAND = "from lrelu_bench.doctor import torch_probe; torch_probe.main()"
DRIVER_FILES = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")
"""There where NVIDIA's driver is loaded; the last one under Windows' Linux."""
PCI_DEVICES = Path("/sys/bus/pci/devices")
_REINSTALLED = {
    "torchvision": "torch torchvision",
    "numba": "numba numpy",
    "PIL": "pillow",
    "yaml": "pyyaml",
}
"""What to install again for a module, where that is not the package of its name."""
_NVIDIA, _DISPLAY = "0x10de", "0x03"


@dataclass(frozen=True)
class Report:
    """What `torch_probe` said, by stage, and why it did not come to the end; None where it did."""

    stages: dict[str, Any] = field(default_factory=dict)
    failure: str | None = None

    def stage(self, name: str) -> tuple[dict[str, Any] | None, str]:
        """What a stage said, or why it said nothing."""
        said = self.stages.get(name)
        if said is None:
            return None, self.failure or "it said nothing"
        if isinstance(said, dict) and "error" in said:
            return None, str(said["error"])
        return said, ""


class Probe:
    """`torch_probe`'s report, made once however many checks ask for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._report: Report | None = None

    def report(self) -> Report:
        """Ask torch in another process, or give the answer it gave."""
        with self._lock:
            if self._report is None:
                self._report = ask(COMMAND)
            return self._report


def ask(command: str, limit: float = LIMIT_SECONDS) -> Report:
    """Run Python that prints stages in a process that finds modules where this one does."""
    places = [place for place in sys.path if isinstance(place, str)]
    code = f"import sys; sys.path[:] = sys.argv[1:]; {command}"
    failure = None
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, *places],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit,
            check=False,
        )
        out = done.stdout
        if done.returncode:
            failure = _how_it_ended(done.returncode, done.stderr.decode(errors="replace"))
    except subprocess.TimeoutExpired as error:
        out, failure = error.stdout or b"", f"torch's process was still busy after {limit:g} s"
    except (OSError, ValueError) as error:
        out, failure = b"", f"no process could be started: {error}"
    stages: dict[str, Any] = {}
    for line in out.decode(errors="replace").splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue  # Libraries may talk, too.
        if isinstance(said, dict):
            stages |= said
    return Report(stages, failure)


def _how_it_ended(code: int, stderr: str) -> str:
    last = next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "no message")
    return f"torch's process was killed by signal {-code}" if code < 0 else f"{last} (exit code {code})"


def imports(probe: Probe) -> Iterator[Finding]:
    """Whether what computes can be imported at all."""
    report = probe.report()
    said, why = report.stage("imports")
    if said is None:
        yield problem("import torch", why, "install torch again: pip install --force-reinstall torch")
        return
    seconds = said.get("torch")
    if isinstance(seconds, float):
        yield ok("import torch", f"takes {seconds:.1f} s")
    for name, outcome in said.items():
        if isinstance(outcome, str):
            # A pair of versions that do not match is the commonest cause.
            together = _REINSTALLED.get(name, name)
            yield problem(
                f"import {name}", outcome, f"install it again: pip install --force-reinstall {together}"
            )


def gpus(probe: Probe) -> Iterator[Finding]:
    """Every GPU that torch sees, or why it sees none where one could be."""
    said, why = probe.report().stage("devices")
    if said is None:
        yield problem("GPU", f"torch cannot be asked: {why}", "mend torch first")
        return
    for index, gpu in enumerate(said["gpus"]):
        yield _gpu(index, gpu)
    if len(said["gpus"]) > 1:
        yield ok("GPUs", "a run trains on GPU 0; CUDA_VISIBLE_DEVICES chooses another")
    if not said["gpus"]:
        yield _no_gpu(said)


def _gpu(index: int, gpu: dict[str, Any]) -> Finding:
    check = f"GPU {index}"
    described = f"{gpu['name']}, capability {gpu['capability']}"
    if gpu["error"] is not None:
        return problem(
            check,
            f"{described}: does not compute ({gpu['error']})",
            "install a torch that knows this GPU (pytorch.org), look at it with nvidia-smi, or train "
            "with --device cpu",
        )
    memory = f"{described}, {size(gpu['free'])} of {size(gpu['total'])} free"
    if gpu["free"] < FREE_BYTES:
        return warning(
            check,
            f"{memory}; a run wants {size(FREE_BYTES)} or more",
            "see who uses it with nvidia-smi, or choose another with CUDA_VISIBLE_DEVICES",
        )
    return ok(check, memory)


def _no_gpu(said: dict[str, Any]) -> Finding:
    """Why there is none, from what the system knows of drivers and cards."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not has_driver():
        if has_card():
            return problem(
                "GPU",
                "an NVIDIA card is in this machine, but no driver for it is loaded",
                "install NVIDIA's driver and start the machine again",
            )
        return ok("GPU", "none here with NVIDIA's driver; runs train on the CPU")
    if said["cuda"] is None and said["hip"] is None:
        return problem(
            "GPU",
            "NVIDIA's driver is here, but this torch is a build for CPUs only",
            "install a build with CUDA: pip install --force-reinstall torch torchvision (or see pytorch.org)",
        )
    if hidden is not None:
        return warning(
            "GPU", f"CUDA_VISIBLE_DEVICES={hidden!r} shows torch none", "unset CUDA_VISIBLE_DEVICES"
        )
    reason = f" ({said['warnings'][0]})" if said["warnings"] else ""
    return problem(
        "GPU",
        f"NVIDIA's driver is here, but torch with CUDA {said['cuda']} sees no GPU{reason}",
        "look whether nvidia-smi works, and update the driver or install a torch built for an older CUDA",
    )


def has_driver() -> bool:
    """Whether NVIDIA's driver is loaded, or its tool at least is there."""
    return any(os.path.exists(name) for name in DRIVER_FILES) or shutil.which("nvidia-smi") is not None


def has_card() -> bool:
    """Whether an NVIDIA card is on the bus (Linux)."""
    for device in PCI_DEVICES.glob("*"):
        try:
            vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
        except OSError:
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAY):
            return True
    return False


def choice(probe: Probe) -> Iterator[Finding]:
    """Device and number format that `run` would choose, and whether steps are captured."""
    said, why = probe.report().stage("choice")
    if said is None:
        yield problem("a run uses", f"cannot be decided: {why}", "mend torch first")
        return
    graph = ", steps captured as CUDA graphs" * said["cuda_graph"]
    if said["device"] == "cpu":
        units = "has units for bf16" if said["cpu_bf16"] else "has no units for bf16"
        graph = f"; the processor {units} ({said['cpu_capability']})"
    yield ok("a run uses", f"{said['device']}, {said['precision']}{graph}")
