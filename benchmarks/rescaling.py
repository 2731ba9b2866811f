"""Do pruned networks train better if their kept weights are rescaled?

Networks with and without normalisation are pruned by PHEW, rescaled in each way, and trained by SGD
and by AdamW. What is compared has the same initial weights, masks and batches.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from science.data import load
from science.intervals import interval
from science.training import Protocol, train
from support.markdown import table
from support.processes import in_parallel
from support.suite import Benchmark
from torch import Tensor, nn

import phew
from phew.graph.fan_in import FanIn
from phew.masks.rescaling import Rescale

DENSE = "dense"
ISOMETRY = "isometry"
WAYS = (DENSE, "none", "auto", "variance", "fan_in", ISOMETRY)
DENSITIES = (0.5, 0.1, 0.05, 0.02, 0.01)
NUM_SEEDS, NUM_EPOCHS = 10, 20
PROTOCOLS = {
    "SGD": Protocol(NUM_EPOCHS),
    "AdamW": Protocol(NUM_EPOCHS, optimizer="AdamW", learning_rate=1e-3, weight_decay=0.01),
}

NUM_ISOMETRY_STEPS = 100


class Residual(nn.Module):
    """A network as transformers are, whose layer norms stand before the layers of each block."""

    def __init__(self, num_inputs: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.embed = nn.Linear(num_inputs, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 2 * width),
                nn.GELU(),
                nn.Linear(2 * width, width),
            )
            for _ in range(4)
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, num_classes))

    def forward(self, inputs: Tensor) -> Tensor:
        """Classify inputs."""
        states = self.embed(inputs.flatten(1))
        for block in self.blocks:
            states = states + block(states)
        return cast(Tensor, self.head(states))


def _perceptron(norm: bool) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for num_inputs, num_outputs in itertools.pairwise((64, 256, 256, 256, 256)):
        layers += [
            nn.Linear(num_inputs, num_outputs),
            *[nn.BatchNorm1d(num_outputs)] * norm,
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Linear(256, 10))


def _convolutions(norm: bool) -> nn.Module:
    layers: list[nn.Module] = []
    for num_inputs, num_outputs in itertools.pairwise((1, 32, 64, 64)):
        layers += [
            nn.Conv1d(num_inputs, num_outputs, 3, stride=2, padding=1),
            *[nn.BatchNorm1d(num_outputs)] * norm,
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 5, 10))


NETWORKS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "perceptron": ("digits", lambda: _perceptron(norm=False)),
    "perceptron, batch norm": ("digits", lambda: _perceptron(norm=True)),
    "perceptron, residual, layer norm": ("digits", lambda: Residual(64, 64, 10)),
    "convolutions": ("mnist1d", lambda: _convolutions(norm=False)),
    "convolutions, batch norm": ("mnist1d", lambda: _convolutions(norm=True)),
}
"""By name, the data set of a network and how to build it, with torch's initial weights."""


@dataclass(frozen=True)
class Row:
    """The test accuracy of one training.

    Attributes:
        way: How kept weights were rescaled, or "dense".
        seed: That of the initial weights, the masks and the order of training.
    """

    network: str
    optimizer: str
    density: float
    way: str
    seed: int
    accuracy: float


def measure(quick: bool) -> Iterator[Row]:
    jobs = [
        (network, optimizer, density, way, seed)
        for seed in range(2 if quick else NUM_SEEDS)
        for network in (list(NETWORKS)[:1] if quick else NETWORKS)
        for optimizer in PROTOCOLS
        for density in (DENSITIES[1:2] if quick else DENSITIES)
        for way in WAYS
        if way != DENSE or density == DENSITIES[1]
    ]
    calls = [(train_once, job) for job in jobs]
    for number, accuracy in in_parallel(calls, os.cpu_count() or 1):
        yield Row(*jobs[number], accuracy)


def train_once(network: str, optimizer: str, density: float, way: str, seed: int) -> float:
    """Train a network, and return its accuracy on the test set."""
    name, build = NETWORKS[network]
    data = load(name, Path())
    torch.manual_seed(seed)
    model = build()
    masks = None
    if way != DENSE:
        masks = phew.sample_masks(model, data.example, density=density, seed=seed)
        if way == ISOMETRY:
            make_isometric(model, masks)
            masks.apply(model)
        else:
            masks.apply(model, rescale=cast(Rescale, way))
    return train(model, masks, data, PROTOCOLS[optimizer], seed).accuracy


def make_isometric(model: nn.Module, masks: phew.Masks) -> None:
    """Make the rows or columns of each layer's masked matrix nearly orthogonal.

    Of a matrix W of more columns than rows, ||(M * W) (M * W)^T / g^2 - I|| is minimised, where g^2
    is the mean of its rows' squared norms.

    Source: Lee, Ajanthan, Gould, Torr: A signal propagation perspective for pruning neural networks
    at initialization, ICLR 2020, section 5.
    """
    for name, mask in masks.items():
        parameter = model.get_parameter(name)
        (fan_in,) = masks.fan_ins[name]
        kept = _as_matrix(fan_in, mask)
        matrix = _as_matrix(fan_in, parameter.detach()).clone()
        gain = matrix.square().sum(1).mean()
        if len(matrix) > matrix.shape[1]:
            gain = gain * len(matrix) / matrix.shape[1]
        matrix.requires_grad_()
        optimizer = torch.optim.Adam([matrix], lr=0.1 * float(matrix.detach().std()))
        for _ in range(NUM_ISOMETRY_STEPS):
            masked = matrix * kept
            gram = masked @ masked.t() if len(masked) <= masked.shape[1] else masked.t() @ masked
            loss = (gram / gain - torch.eye(len(gram))).square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            parameter.copy_((matrix * kept).view_as(parameter))


def _as_matrix(fan_in: FanIn, tensor: Tensor) -> Tensor:
    """Return a tensor as a matrix with a row for each unit."""
    return fan_in.view(tensor).flatten(0, 1).flatten(1)


def tables(rows: Sequence[Row]) -> str:
    accuracies = {
        (row.network, row.optimizer, row.density, row.way, row.seed): row.accuracy for row in rows
    }
    seeds = sorted({row.seed for row in rows})
    cases = list(dict.fromkeys((row.network, row.optimizer) for row in rows))
    densities = sorted({row.density for row in rows}, reverse=True)
    dense_density = next(row.density for row in rows if row.way == DENSE)

    def shown(network: str, optimizer: str, density: float, way: str, *, beside: str = "") -> str:
        values = [accuracies[network, optimizer, density, way, seed] for seed in seeds]
        if beside:
            others = [accuracies[network, optimizer, density, beside, seed] for seed in seeds]
            values = [own - other for own, other in zip(values, others, strict=True)]
        return interval(values).percent()

    body = []
    for network, optimizer in sorted(cases):
        dense = shown(network, optimizer, dense_density, DENSE)
        body += [
            [
                network,
                optimizer,
                f"{density:.0%}",
                dense,
                *(shown(network, optimizer, density, way) for way in WAYS[1:]),
                shown(network, optimizer, density, "auto", beside="none"),
            ]
            for density in densities
        ]
    header = ["network", "optimizer", "density", *WAYS, "auto - none"]
    return "\n\n".join(
        [
            f"Test accuracy in percent, {len(seeds)} seeds:",
            table(header, body),
            NOTES,
        ]
    )


NOTES = f"""\
- Means with 95 % intervals. {NUM_EPOCHS} epochs of batches of 128: SGD with Nesterov momentum and a
  rate of 0.1, AdamW with one of 0.001; both fall to a tenth after half and three quarters.
- Perceptrons have four hidden layers of 256 units, and learn scikit-learn's digits. The residual
  one has four blocks of 64 and 128 units. Convolutions have 32, 64 and 64 channels, and learn
  MNIST-1D. Weights are torch's by default.
- *none*, *auto*, *variance* and *fan_in* are the values of `rescale`. *isometry* makes the masked
  matrices nearly orthogonal (Lee et al., 2020), by {NUM_ISOMETRY_STEPS} steps of Adam for each.
- *auto - none* is taken seed by seed."""

if __name__ == "__main__":
    Benchmark(__file__, __doc__, measure, tables).main()
