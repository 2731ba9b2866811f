"""The networks that are trained: small ones for small data, and those of the paper."""

from __future__ import annotations

from collections.abc import Callable

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


def conv(example: Tensor, num_classes: int) -> nn.Module:
    """Build three convolutions with batch norm, over signals or images, and a linear layer."""
    is_signal = example.dim() == 3
    convolution = nn.Conv1d if is_signal else nn.Conv2d
    batch_norm = nn.BatchNorm1d if is_signal else nn.BatchNorm2d
    layers: list[nn.Module] = []
    num_channels = example.shape[1]
    for width in (16, 32, 64):
        layers += [
            convolution(num_channels, width, 3, stride=2, padding=1, bias=False),
            batch_norm(width),
            nn.ReLU(),
        ]
        num_channels = width
    num_positions = (
        example[0, 0, ..., ::8].numel() if is_signal else example[0, 0, ::8, ::8].numel()
    )
    return _initialised(*layers, nn.Flatten(), nn.Linear(64 * num_positions, num_classes))


def _initialised(*layers: nn.Module) -> nn.Module:
    """Draw Kaiming-normal weights and zero biases, as the networks of the paper have."""
    for layer in layers:
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


NETWORKS: dict[str, Callable[[Tensor, int], nn.Module]] = {
    "mlp": mlp,
    "conv": conv,
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
