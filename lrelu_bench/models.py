"""xresnet18/34/50 as fastai builds them, and the course's small net for MNIST, from an activation factory.

xresnet: fastai 1 `vision/models/xresnet.py` and fast.ai course-v3 notebook 11, after "Bag of Tricks for Image
Classification with Convolutional Neural Networks" (He et al. 2018): a stem of three 3x3 convolutions, average
pooling before the shortcut's 1x1 convolution, and the last batch norm of each block starting at zero.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrelu_bench.activations.factory import ActivationFactory, activation_parameters
from lrelu_bench.activations.norm_act import NormAct

LAYERS: dict[str, tuple[int, tuple[int, int, int, int]]] = {
    "xresnet18": (1, (2, 2, 2, 2)),
    "xresnet34": (1, (3, 4, 6, 3)),
    "xresnet50": (4, (3, 4, 6, 3)),
}
"""Per net: the expansion of its blocks, and the number of blocks in each of the four stages."""


def _conv(ni: int, nf: int, ks: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(ni, nf, ks, stride=stride, padding=ks // 2, bias=False)


class AveragePool(nn.Module):
    """Means of 2x2 pixels, of fewer at the right and lower edges where a side is odd."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        if h % 2 or w % 2 or not x.is_cuda or not x.is_contiguous(memory_format=torch.channels_last):
            return F.avg_pool2d(x, 2, ceil_mode=True)
        # The same numbers; torch's pooling of channels_last tensors takes several times as long on CUDA.
        pixels = x.permute(0, 2, 3, 1).view(n, h // 2, 2, w // 2, 2, c)
        return pixels.mean((2, 4)).permute(0, 3, 1, 2)


class ResBlock(nn.Module):
    """Two 3x3 convolutions (expansion 1) or a 1x1-3x3-1x1 bottleneck (expansion 4), and a shortcut.

    Args:
        expansion: output channels per hidden channel.
        ni: input channels.
        nh: hidden channels; the output has ``expansion * nh``.
        stride: of the block, 1 or 2.
        act: makes the activation of a site.
    """

    def __init__(self, expansion: int, ni: int, nh: int, stride: int, act: ActivationFactory) -> None:
        super().__init__()
        nf = nh * expansion
        convs: list[nn.Module]
        if expansion == 1:
            convs = [_conv(ni, nh, 3, stride), NormAct(nh, act), _conv(nh, nf, 3)]
        else:
            convs = [_conv(ni, nh, 1), NormAct(nh, act), _conv(nh, nh, 3, stride), NormAct(nh, act)]
            convs.append(_conv(nh, nf, 1))
        shortcut: list[nn.Module] = [] if stride == 1 else [AveragePool()]
        if ni != nf:
            shortcut += [_conv(ni, nf, 1), nn.BatchNorm2d(nf)]
        self.convs = nn.Sequential(*convs)
        self.join = NormAct(nf, act, zero_norm=True)
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.convs(x), self.shortcut(x))  # type: ignore[no-any-return]


def xresnet(
    arch: str,
    act: ActivationFactory,
    classes: int = 10,
    stem: tuple[int, int, int] = (32, 32, 64),
    init_slope: float = 0.0,
) -> nn.Sequential:
    """An untrained xresnet for images (N, 3, H, W), giving logits (N, classes).

    Args:
        arch: a name of `LAYERS`.
        act: makes a fresh activation for a site with the given number of channels.
        stem: output channels of the three stem convolutions; the last is 64 in every published variant.
        init_slope: the negative slope that the kaiming-normal (fan-in) start assumes; 0 on the leaderboard.
    """
    expansion, blocks = LAYERS[arch]
    net = nn.Sequential()
    for i, (ni, nf) in enumerate(zip((3, *stem[:-1]), stem, strict=True)):
        net.extend([_conv(ni, nf, stride=2 if i == 0 else 1), NormAct(nf, act)])
    net.append(nn.MaxPool2d(3, stride=2, padding=1))
    ni = stem[-1]
    for stage, (count, nh) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True)):
        for block in range(count):
            stride = 2 if block == 0 and stage > 0 else 1
            net.append(ResBlock(expansion, ni, nh, stride, act))
            ni = nh * expansion
    net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(ni, classes)])
    _init(net, init_slope)
    return net


COURSE_CNN = (8, 16, 32, 32)
"""Output channels of the course net's convolutions."""


def course_cnn(act: ActivationFactory, classes: int = 10, init_slope: float = 0.1) -> nn.Sequential:
    """An untrained small net for grey images (N, 1, H, W), giving logits (N, classes).

    Four convolutions of stride 2, the first 5x5 and the others 3x3, each followed by its activation and then
    batch norm; average pooling and a linear layer, which keeps torch's own start, as in the course.
    Source: fast.ai course-v3 nbs/dl2/06_cuda_cnn_hooks_init.ipynb (`nfs`, `get_cnn_layers`) and
    07_batchnorm.ipynb (`conv_layer` with nn.BatchNorm2d, `init_cnn`).

    Args:
        act: makes a fresh activation for a site with the given number of channels.
        init_slope: the negative slope that the kaiming-normal (fan-in) start of the convolutions assumes.
    """
    net = nn.Sequential()
    for i, (ni, nf) in enumerate(zip((1, *COURSE_CNN[:-1]), COURSE_CNN, strict=True)):
        net.extend([_conv(ni, nf, 5 if i == 0 else 3, stride=2), act(nf), nn.BatchNorm2d(nf)])
    _init(net, init_slope)
    return net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(COURSE_CNN[-1], classes)])


def _init(net: nn.Module, slope: float) -> None:
    of_activations = {id(parameter) for parameter in activation_parameters(net)}
    for module in net.modules():
        # A convolution inside a user's activation starts as that says.
        if isinstance(module, nn.Conv2d | nn.Linear) and id(module.weight) not in of_activations:
            nn.init.kaiming_normal_(module.weight, a=slope)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
