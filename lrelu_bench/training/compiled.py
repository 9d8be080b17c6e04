"""torch.compile for the training pass, believed only once its gradients are seen to be right."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from lrelu_bench.activations.factory import activation_parameters
from lrelu_bench.errors import BenchError
from lrelu_bench.training.objective import Net
from lrelu_bench.training.precision import Compute

_WIDE = 4.0
"""Weight of the norms while gradients are compared: large enough that caps bind, and not 0."""


def compiled(net: nn.Module, compute: Compute, images: Callable[[], Tensor]) -> Net:
    """The net, compiled. Compiles now: for xresnet18 some 40 seconds, and afterwards nothing more.

    torch.compile has had silently wrong gradients for small parameters (pytorch#190796, #193061), which the
    activations' are. So their gradients of one batch are compared with those of the net itself in fp32: in
    fp32 they must be equal within a per cent, in other formats at most three times as far off as its own.

    Args:
        images: gives a normalised batch (N, C, H, W) of the training's size.

    Raises `BenchError` where torch.compile fails, or gives other gradients.
    """
    made: Net = torch.compile(net)
    batch = images()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, _WIDE)
    net.train()
    exact = _gradients(net, net, replace(compute, precision="fp32"), batch)
    own = _gradients(net, net, compute, batch)
    try:
        theirs = _gradients(net, made, compute, batch)
    except Exception as error:
        said = str(error).strip() or type(error).__name__
        raise BenchError(f"--compile: torch.compile fails ({said.splitlines()[0]}); leave it out") from error
    finally:
        net.load_state_dict(state)
    # Before a batch norm some gradients are 0 but for rounding, and have no size to be compared with.
    least = max((gradient.norm().item() for gradient in exact.values()), default=0.0)
    for name, gradient in exact.items():
        apart, tolerated = (theirs[name] - gradient).norm(), (own[name] - gradient).norm()
        if gradient.isfinite().all() and not apart <= 3 * tolerated + 0.01 * gradient.norm() + 1e-3 * least:
            raise BenchError(
                f"--compile: torch.compile's gradient of {name} is wrong by "
                f"{(apart / gradient.norm()).item():.2g} of its norm; leave it out"
            )
    return made


def _gradients(net: nn.Module, forward: Net, compute: Compute, images: Tensor) -> dict[str, Tensor]:
    """The activations' gradients, or where those learn nothing all, of an arbitrary loss."""
    learned = {id(parameter) for parameter in activation_parameters(net)}
    named = {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}
    wanted = {name: p for name, p in named.items() if id(p) in learned} or named
    net.zero_grad(set_to_none=True)
    with compute.autocast():
        logits = forward(images)
    logits.float().square().mean().backward()  # type: ignore[no-untyped-call]
    found = {name: p.grad.clone() for name, p in wanted.items() if p.grad is not None}
    net.zero_grad(set_to_none=True)
    return found
