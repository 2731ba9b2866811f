"""Networks and inputs that tests of several areas share."""

from __future__ import annotations

import torch
from torch import nn

from phew import models

IMAGE = torch.zeros(1, 1, 28, 28)
COLOUR_IMAGE = torch.zeros(1, 3, 32, 32)


def lenet5() -> nn.Module:
    """LeNet-5 with the same weights each time."""
    torch.manual_seed(0)
    return models.lenet5()


def resnet20() -> nn.Module:
    """A residual network with the same weights each time."""
    torch.manual_seed(0)
    return models.resnet_cifar(20)


class Permuted(nn.Module):
    """A network whose buffer says which units are joined."""

    order: torch.Tensor

    def __init__(self, *, persistent: bool = True) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(4, 4)
        self.register_buffer("order", torch.tensor([1, 3, 5, 7]), persistent=persistent)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.second(self.first(inputs)[:, self.order])
        return result


class Orthogonal(nn.Module):
    """A network with an operation whose wiring phew does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.second(torch.linalg.qr(self.first(inputs)).R)
        return result


class TwoBranches(nn.Module):
    """A sum of two layers: a walk goes through one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.left(inputs) + self.right(inputs)
        return result
