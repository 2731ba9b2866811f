"""PHEW as a careful user would write it with PyTorch, for chains of convolutions and linear layers.

All walkers of a direction move together, with one `searchsorted` per layer.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import torch
from support.methods import Run
from torch import Generator, Tensor, nn


class Sample(NamedTuple):
    masks: dict[str, Tensor]
    num_walks: int
    num_hops: int


def sample_masks(model: nn.Module, density: float, generator: Generator) -> Sample:
    """Walk forward and backward in turn until the target is met, on the generator's device.

    The masks may keep more than the target, by less than one walk of each direction.
    """
    weights = {name: weight for name, weight in model.named_parameters() if weight.dim() > 1}
    layers = _layers(list(weights.values()))
    num_entries, num_exits = layers[0].num_sources, layers[-1].num_targets
    target = round(density * sum(weight.numel() for weight in weights.values()))
    num_pairs = 0
    while (missing := target - sum(int(layer.visited.count_nonzero()) for layer in layers)) > 0:
        # A walk visits one weight per layer, so this many walks cannot exceed the target.
        round_pairs = max(1, missing // (2 * len(layers)))
        starts = torch.arange(num_pairs, num_pairs + round_pairs, device=generator.device)
        units = starts % num_entries
        for layer in layers:
            units = layer.forward(units, generator)
        units = starts % num_exits
        for layer in reversed(layers):
            units = layer.backward(units, generator)
        num_pairs += round_pairs
    masks = {
        name: layer.visited.view(weight.shape)
        for (name, weight), layer in zip(weights.items(), layers, strict=True)
    }
    return Sample(masks, 2 * num_pairs, 2 * num_pairs * len(layers))


def run_pytorch(network: nn.Module, example_input: Tensor, density: float) -> Run:
    """Sample masks on the CPU. The example input is there because other methods need one."""
    generator = torch.Generator().manual_seed(0)
    started = time.perf_counter()
    sample = sample_masks(network, density, generator)
    return Run(sample.masks, sample.num_walks, time.perf_counter() - started)


def _layers(weights: list[Tensor]) -> list[_Layer]:
    num_units = [weights[0].shape[1], *(weight.shape[0] for weight in weights[:-1])]
    return [_Layer(weight, num) for weight, num in zip(weights, num_units, strict=True)]


class _Layer:
    """A layer's tables in both directions, and which of its weights are visited.

    Args:
        weight: The weights, targets x sources x kernel.
        num_units: The units before the layer. A flatten makes several sources of each.
    """

    def __init__(self, weight: Tensor, num_units: int) -> None:
        magnitudes = weight.detach().abs().reshape(*weight.shape[:2], -1)
        self.num_targets, self.num_sources, self.num_positions = magnitudes.shape
        self.sources_per_unit = self.num_sources // num_units
        self.forward_sums = _running_sums(magnitudes.transpose(0, 1).flatten(1))
        self.backward_sums = _running_sums(magnitudes.flatten(1))
        self.visited = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)

    def forward(self, units: Tensor, generator: Generator) -> Tensor:
        """Move walkers from the units before the layer to its targets."""
        places = torch.randint(
            self.sources_per_unit, units.shape, generator=generator, device=units.device
        )
        sources = units * self.sources_per_unit + places
        edges = _draw(self.forward_sums, sources, generator)
        targets, positions = edges // self.num_positions, edges % self.num_positions
        self.visited[(targets * self.num_sources + sources) * self.num_positions + positions] = True
        return targets

    def backward(self, targets: Tensor, generator: Generator) -> Tensor:
        """Move walkers from the layer's targets to the units before it."""
        edges = _draw(self.backward_sums, targets, generator)
        self.visited[targets * self.num_sources * self.num_positions + edges] = True
        return edges // self.num_positions // self.sources_per_unit


def _running_sums(masses: Tensor) -> Tensor:
    """Sum along each row, scaled to end at 1 and raised by the number of the row.

    The sums of all rows are then one ascending vector: rows (1 3) and (2 2) make .25 1 1.5 2. A
    walker on row 1 that draws .6 looks for 1.6 and falls to index 3, the first sum above it.
    """
    sums = masses.cumsum(dim=1, dtype=torch.float64)
    sums /= sums[:, -1:].clone()
    sums += torch.arange(len(sums), device=sums.device).unsqueeze(1)
    return sums


def _draw(sums: Tensor, rows: Tensor, generator: Generator) -> Tensor:
    """Draw for each walker an edge of the row that it stands on."""
    width = sums.shape[1]
    values = rows + torch.rand(
        rows.shape, dtype=torch.float64, generator=generator, device=rows.device
    )
    edges = torch.searchsorted(sums.view(-1), values, right=True) - rows * width
    return edges.clamp(max=width - 1)  # a draw close to 1 may round up to the next row
