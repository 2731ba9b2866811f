"""The networks of the PHEW paper and its field, for the command line, tests and benchmarks.

All are initialised as the paper does: Kaiming-normal weights, zero biases.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

__all__ = ["NETWORKS", "Network", "lenet5", "lenet_300_100", "resnet", "resnet_cifar", "vgg"]


def lenet_300_100(num_classes: int = 10) -> nn.Module:
    """Build LeNet-300-100, a multilayer perceptron for 1x28x28 images.

    Args:
        num_classes: Number of outputs.

    Returns:
        The network, initialised from torch's global generator.

    Example:
        >>> import torch
        >>> lenet_300_100()(torch.zeros(1, 1, 28, 28)).shape
        torch.Size([1, 10])

    Source:
        LeCun, Bottou, Bengio, Haffner: Gradient-Based Learning Applied to Document Recognition,
        1998.
    """
    network = nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(784, 300),
            relu1=nn.ReLU(),
            fc2=nn.Linear(300, 100),
            relu2=nn.ReLU(),
            fc3=nn.Linear(100, num_classes),
        )
    )
    return _initialise(network)


def lenet5(num_classes: int = 10) -> nn.Module:
    """Build LeNet-5 for 1x28x28 images, in its modern form with ReLU and max pooling.

    Args:
        num_classes: Number of outputs.

    Returns:
        The network, initialised from torch's global generator.

    Example:
        >>> import torch
        >>> lenet5()(torch.zeros(1, 1, 28, 28)).shape
        torch.Size([1, 10])

    Source:
        LeCun, Bottou, Bengio, Haffner: Gradient-Based Learning Applied to Document Recognition,
        1998.
    """
    network = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 6, 5, padding=2),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(400, 120),
            relu3=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc3=nn.Linear(84, num_classes),
        )
    )
    return _initialise(network)


# The numbers of 3x3 convolutions in the five stages, by depth.
_VGG_STAGES = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


def vgg(depth: int, *, batch_norm: bool = False, num_classes: int = 10) -> nn.Module:
    """Build a VGG for 3x32x32 images: convolutions, global average pooling, one linear layer.

    Args:
        depth: 11, 13, 16 or 19, the number of weight layers of the ImageNet original.
        batch_norm: Whether batch normalisation follows each convolution.
        num_classes: Number of outputs.

    Returns:
        The network, initialised from torch's global generator.

    Raises:
        ValueError: If `depth` is none of these.

    Example:
        >>> import torch
        >>> vgg(11, batch_norm=True)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])

    Source:
        Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition,
        ICLR 2015, table 1; the CIFAR form is that of the pruning literature.
    """
    _check_choice("depth", depth, _VGG_STAGES)
    layers: list[nn.Module] = []
    in_channels = 3
    for stage, num_convolutions in enumerate(_VGG_STAGES[depth]):
        out_channels = min(64 << stage, 512)
        if stage > 0:
            layers.append(nn.MaxPool2d(2))
        for _ in range(num_convolutions):
            layers.append(nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm2d(out_channels))
            layers.append(nn.ReLU(inplace=True))
            in_channels = out_channels
    network = nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*layers),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Linear(in_channels, num_classes),
        )
    )
    return _initialise(network)


class _ResidualBlock(nn.Module):
    """ReLU of a branch plus a shortcut, which is a 1x1 projection where the shapes differ."""

    def __init__(self, branch: nn.Module, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.branch = branch
        if stride == 1 and in_channels == out_channels:
            self.shortcut: nn.Module = nn.Identity()
        else:
            self.shortcut = _convolution(in_channels, out_channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.branch(x) + self.shortcut(x))


def _basic_block(in_channels: int, width: int, stride: int) -> nn.Module:
    branch = nn.Sequential(
        _convolution(in_channels, width, 3, stride), nn.ReLU(), _convolution(width, width, 3)
    )
    return _ResidualBlock(branch, in_channels, width, stride)


def _bottleneck_block(in_channels: int, width: int, stride: int) -> nn.Module:
    branch = nn.Sequential(
        _convolution(in_channels, width, 1),
        nn.ReLU(),
        _convolution(width, width, 3, stride),
        nn.ReLU(),
        _convolution(width, 4 * width, 1),
    )
    return _ResidualBlock(branch, in_channels, 4 * width, stride)


def _convolution(in_channels: int, out_channels: int, size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def _residual_network(
    stem: Sequence[nn.Module],
    num_blocks: Sequence[int],
    *,
    width: int,
    bottleneck: bool = False,
    num_classes: int,
) -> nn.Module:
    """Stack stages of residual blocks; each stage doubles the width and halves the image."""
    build_block, expansion = (_bottleneck_block, 4) if bottleneck else (_basic_block, 1)
    stages: list[nn.Module] = []
    in_channels = width
    for stage, num_stage_blocks in enumerate(num_blocks):
        stage_width = width << stage
        blocks: list[nn.Module] = []
        for block in range(num_stage_blocks):
            blocks.append(build_block(in_channels, stage_width, 2 if stage and not block else 1))
            in_channels = expansion * stage_width
        stages.append(nn.Sequential(*blocks))
    network = nn.Sequential(
        OrderedDict(
            stem=nn.Sequential(*stem),
            stages=nn.Sequential(*stages),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Linear(in_channels, num_classes),
        )
    )
    return _initialise(network)


def resnet_cifar(depth: int, *, num_classes: int = 10) -> nn.Module:
    """Build a narrow ResNet for 3x32x32 images: three stages of 16, 32 and 64 channels.

    Where the stages meet, the shortcut is a 1x1 projection (the paper's option B).

    Args:
        depth: 6n + 2 for n blocks per stage: 20, 32, 44, 56, 110, ...
        num_classes: Number of outputs.

    Returns:
        The network, initialised from torch's global generator.

    Raises:
        ValueError: If `depth` is not 6n + 2 with n of at least 1.

    Example:
        >>> import torch
        >>> resnet_cifar(20)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])

    Source:
        He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2.
    """
    num_blocks, rest = divmod(depth - 2, 6)
    if num_blocks < 1 or rest:
        raise ValueError(f"depth must be 6n + 2 such as 20, 32 or 56, got {depth}.")
    stem = [_convolution(3, 16, 3), nn.ReLU()]
    return _residual_network(stem, [num_blocks] * 3, width=16, num_classes=num_classes)


# The numbers of blocks in the four stages, by depth; from 50 layers on they are bottlenecks.
_RESNET_STAGES = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_RESNET_CLASSES = {32: 10, 64: 200, 224: 1000}


def resnet(depth: int, *, image_size: int = 224, num_classes: int | None = None) -> nn.Module:
    """Build a ResNet with four stages of 64 to 512 channels.

    At 224 pixels it begins with a 7x7 convolution of stride 2 and max pooling; at 32 (CIFAR) and
    64 (Tiny-ImageNet) with a 3x3 convolution of stride 1. Bottlenecks stride in their 3x3
    convolution.

    Args:
        depth: 18, 34, 50, 101 or 152.
        image_size: 32, 64 or 224, the height and width of the images in pixels.
        num_classes: Number of outputs; by default 10, 200 or 1000, as the data sets have.

    Returns:
        The network, initialised from torch's global generator.

    Raises:
        ValueError: If `depth` or `image_size` is none of these.

    Example:
        >>> import torch
        >>> resnet(18, image_size=32)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])

    Source:
        He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016, table 1.
    """
    _check_choice("depth", depth, _RESNET_STAGES)
    _check_choice("image_size", image_size, _RESNET_CLASSES)
    if image_size == 224:
        stem = [_convolution(3, 64, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]
    else:
        stem = [_convolution(3, 64, 3), nn.ReLU()]
    return _residual_network(
        stem,
        _RESNET_STAGES[depth],
        width=64,
        bottleneck=depth >= 50,
        num_classes=_RESNET_CLASSES[image_size] if num_classes is None else num_classes,
    )


def _initialise(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def _check_choice(argument: str, value: int, choices: Collection[int]) -> None:
    if value not in choices:
        raise ValueError(f"{argument} must be one of {', '.join(map(str, choices))}, got {value}.")


@dataclass(frozen=True)
class Network:
    """A built-in network: its constructor and the shape of one input, without the batch."""

    build: Callable[[], nn.Module]
    input_shape: tuple[int, ...]


NETWORKS: dict[str, Network] = {
    "lenet_300_100": Network(lenet_300_100, (1, 28, 28)),
    "lenet5": Network(lenet5, (1, 28, 28)),
    **{
        f"vgg{depth}{suffix}": Network(partial(vgg, depth, batch_norm=bool(suffix)), (3, 32, 32))
        for depth in _VGG_STAGES
        for suffix in ("", "_bn")
    },
    **{
        f"resnet{depth}": Network(partial(resnet_cifar, depth), (3, 32, 32))
        for depth in (20, 32, 56)
    },
    **{
        f"resnet{depth}" + ("" if size == 224 else f"_{size}"): Network(
            partial(resnet, depth, image_size=size), (3, size, size)
        )
        for depth in _RESNET_STAGES
        for size in _RESNET_CLASSES
    },
}
"""The built-in networks by the names that the command line knows."""
