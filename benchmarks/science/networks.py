"""The networks that are trained: small ones for small data, families, and those of the paper."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from phew.models import lenet5, lenet_300_100, resnet, resnet_cifar, vgg
from science.data import DataSet


def mlp(example: Tensor, num_classes: int) -> nn.Module:
    """Build a perceptron with hidden layers of 300 and 100 units, as LeNet-300-100 has."""
    return _initialised(
        nn.Flatten(),
        nn.Linear(example[0].numel(), 300),
        nn.ReLU(),
        nn.Linear(300, 100),
        nn.ReLU(),
        nn.Linear(100, num_classes),
    )


def perceptron(
    example: Tensor, num_classes: int, *, depth: int, width: int, batch_norm: bool = False
) -> nn.Module:
    """Build a perceptron whose hidden layers have the same number of units."""
    layers: list[nn.Module] = [nn.Flatten()]
    num_inputs = example[0].numel()
    for _ in range(depth):
        layers.append(nn.Linear(num_inputs, width, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm1d(width))
        layers.append(nn.ReLU())
        num_inputs = width
    return _initialised(*layers, nn.Linear(width, num_classes))


def conv(example: Tensor, num_classes: int, *, width: int = 16) -> nn.Module:
    """Build three convolutions with batch norm, over signals or images, and a linear layer.

    They have `width` channels, and twice and four times as many.
    """
    is_signal = example.dim() == 3
    convolution = nn.Conv1d if is_signal else nn.Conv2d
    batch_norm = nn.BatchNorm1d if is_signal else nn.BatchNorm2d
    layers: list[nn.Module] = []
    num_inputs = example.shape[1]
    for num_channels in (width, 2 * width, 4 * width):
        layers += [
            convolution(num_inputs, num_channels, 3, stride=2, padding=1, bias=False),
            batch_norm(num_channels),
            nn.ReLU(),
        ]
        num_inputs = num_channels
    num_positions = (
        example[0, 0, ..., ::8].numel() if is_signal else example[0, 0, ::8, ::8].numel()
    )
    return _initialised(*layers, nn.Flatten(), nn.Linear(num_inputs * num_positions, num_classes))


def _initialised(*layers: nn.Module) -> nn.Module:
    """Draw Kaiming-normal weights and zero biases, as the networks of the paper have."""
    for layer in layers:
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


SMALL_NETWORKS = ("mlp", "conv")
PAPER_NETWORKS = {
    "mnist": ("lenet_300_100", "lenet5"),
    "cifar10": ("resnet20", "vgg19_bn"),
    "cifar100": ("resnet32", "vgg19_bn"),
    "tiny_imagenet": ("resnet18",),
}
"""The networks of the paper, by its data sets."""

WIDTHS = (64, 128, 256, 512)
CHANNELS = (8, 16, 32, 64)
DEPTHS = (1, 3, 6, 12)

FAMILIES: dict[str, Callable[[Tensor, int], nn.Module]] = {
    **{f"3 x {width}": partial(perceptron, depth=3, width=width) for width in WIDTHS},
    **{f"conv {width}": partial(conv, width=width) for width in CHANNELS},
    **{f"{depth} x 128": partial(perceptron, depth=depth, width=128) for depth in DEPTHS},
    "3 x 128, batch norm": partial(perceptron, depth=3, width=128, batch_norm=True),
}
"""Networks that differ in one thing: "3 x 128" has three hidden layers of 128 units."""

NETWORKS: dict[str, Callable[[Tensor, int], nn.Module]] = {
    "mlp": mlp,
    "conv": conv,
    **FAMILIES,
    "lenet_300_100": lambda _, num_classes: lenet_300_100(num_classes=num_classes),
    "lenet5": lambda _, num_classes: lenet5(num_classes=num_classes),
    "resnet20": lambda _, num_classes: resnet_cifar(20, num_classes=num_classes),
    "resnet32": lambda _, num_classes: resnet_cifar(32, num_classes=num_classes),
    "vgg19_bn": lambda _, num_classes: vgg(19, batch_norm=True, num_classes=num_classes),
    "resnet18": lambda _, num_classes: resnet(18, image_size=64, num_classes=num_classes),
}


def build(name: str, data: DataSet, seed: int) -> nn.Module:
    """Build a network for a data set, with weights drawn by the seed."""
    torch.manual_seed(seed)
    return NETWORKS[name](data.example, data.num_classes).to(data.example.device)


def num_prunable(network: nn.Module) -> int:
    """Count the weights of linear layers and convolutions, which are what methods prune."""
    return sum(weight.numel() for weight in network.parameters() if weight.dim() > 1)
