"""The networks of the authors, with the weights that their code was measured on."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

DATA = Path(__file__).parents[1] / "data"


def masks_of_ones(network: nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: torch.ones_like(parameter, dtype=torch.bool)
        for name, parameter in network.named_parameters()
        if parameter.dim() > 1
    }


class Authors(NamedTuple):
    """A network of the authors and the shape of one input."""

    layers: dict[str, nn.Module]
    input_shape: tuple[int, ...]

    def network(self, name: str) -> nn.Module:
        network = nn.Sequential(OrderedDict(self.layers))
        weights = np.load(DATA / f"{name}_weights.npz")
        with torch.no_grad():
            for parameter in masks_of_ones(network):
                values = weights[parameter]
                if values.dtype == np.uint8:
                    values = (values / 255) ** 2 * weights[f"largest.{parameter}"]
                network.get_parameter(parameter).copy_(torch.from_numpy(values))
        return network


NETWORKS = {
    "mlp": Authors(
        {
            "fc0": nn.Linear(784, 300),
            "relu0": nn.ReLU(),
            "fc1": nn.Linear(300, 100),
            "relu1": nn.ReLU(),
            "fc2": nn.Linear(100, 10),
        },
        (784,),
    ),
    "convnet5": Authors(
        {
            "c1": nn.Conv2d(3, 16, 3, padding=1),
            "relu1": nn.ReLU(),
            "pool1": nn.MaxPool2d(2),
            "c2": nn.Conv2d(16, 32, 3, padding=1),
            "relu2": nn.ReLU(),
            "pool2": nn.MaxPool2d(2),
            "c3": nn.Conv2d(32, 32, 3, padding=1),
            "relu3": nn.ReLU(),
            "pool3": nn.MaxPool2d(2),
            "flatten": nn.Flatten(),
            "f1": nn.Linear(512, 64),
            "relu4": nn.ReLU(),
            "f2": nn.Linear(64, 10),
        },
        (3, 32, 32),
    ),
    "lenet5": Authors(
        {
            "c1": nn.Conv2d(1, 6, 5, padding=2),
            "relu1": nn.ReLU(),
            "pool1": nn.MaxPool2d(2),
            "c2": nn.Conv2d(6, 16, 5),
            "relu2": nn.ReLU(),
            "pool2": nn.MaxPool2d(2),
            "flatten": nn.Flatten(),
            "f1": nn.Linear(400, 120),
            "relu3": nn.ReLU(),
            "f2": nn.Linear(120, 84),
            "relu4": nn.ReLU(),
            "f3": nn.Linear(84, 10),
        },
        (1, 28, 28),
    ),
}
