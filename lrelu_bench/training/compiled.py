"""torch.compile for the training pass, believed only once its gradients are seen to be right."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lrelu_bench.activations.factory import activation_parameters
from lrelu_bench.errors import BenchError
from lrelu_bench.training.objective import Net
from lrelu_bench.training.precision import Compute

_FAR = {"fp32": 0.01, "bf16": 0.25, "fp16": 0.25}
"""Greatest distance of two gradients, relative to their norm: what roundings of this format stay well below,
and a gradient that is missing or another parameter's does not."""


def compiled(net: nn.Module, compute: Compute, images: Callable[[], Tensor]) -> Net:
    """The net, compiled. Compiles now: for xresnet18 a minute or so, and afterwards nothing more.

    torch.compile has had silently wrong gradients for small parameters (pytorch#190796, #193061), which the
    activations' are. So the activations' gradients of one batch are compared with the net's own.

    Args:
        images: gives a normalised batch (N, C, H, W) of the training's size.

    Raises `BenchError` where torch.compile fails, or gives other gradients.
    """
    made: Net = torch.compile(net)
    batch = images()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.train()
    own = _gradients(net, net, compute, batch)
    try:
        theirs = _gradients(net, made, compute, batch)
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BenchError(f"--compile: torch.compile fails ({first}); leave --compile out") from error
    finally:
        # Batch norms have moved their running statistics.
        net.load_state_dict(state)
    far = _FAR[compute.precision]
    for name, gradient in own.items():
        distance = (gradient - theirs[name]).norm() / gradient.norm().clamp_min(1e-12)
        if not distance <= far and gradient.norm() > 0:
            raise BenchError(
                f"--compile: torch.compile's gradient of {name} is {distance.item():.3g} of its norm off; "
                "leave --compile out"
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
