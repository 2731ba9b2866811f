"""Train one network dense, pruned by PHEW and pruned at random; the examples share this."""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import phew


@dataclass(frozen=True)
class DataSet:
    train_inputs: Tensor
    train_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor


class Result(NamedTuple):
    accuracy: float
    active_units: float
    seconds: float


def parse_tiny(description: str | None) -> bool:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--tiny", action="store_true", help="a few seconds, to see that it runs")
    tiny: bool = parser.parse_args().tiny
    return tiny


def compare(
    build: Callable[[], nn.Module],
    data: DataSet,
    *,
    densities: Sequence[float],
    num_seeds: int,
    num_epochs: int,
) -> None:
    """Train with every method, density and seed, and print a table of the means over seeds.

    All methods start from the same initial weights, which the seed determines.
    """
    torch.set_num_threads(1)  # networks this small train faster in one thread
    results = defaultdict[tuple[str, float], list[Result]](list)
    for seed in range(num_seeds):
        torch.manual_seed(seed)
        network = build()
        for method, masks in choose_masks(network, data.train_inputs[:1], densities, seed):
            density = 1.0 if masks is None else masks.density
            result = evaluate(copy.deepcopy(network), masks, data, num_epochs, seed)
            results[method, round(density, 3)].append(result)
    print_table(results)


def choose_masks(
    network: nn.Module, example_input: Tensor, densities: Sequence[float], seed: int
) -> Iterator[tuple[str, phew.Masks | None]]:
    yield "dense", None
    for density in densities:
        masks = phew.sample_masks(network, example_input, density=density, seed=seed)
        yield "PHEW", masks
        yield "random", random_masks(masks, seed)


def random_masks(like: phew.Masks, seed: int) -> phew.Masks:
    """Keep as many weights as the given masks do, drawn uniformly from all prunable weights."""
    generator = torch.Generator().manual_seed(seed)
    kept = torch.zeros(like.num_weights, dtype=torch.bool)
    kept[torch.randperm(like.num_weights, generator=generator)[: like.num_kept]] = True
    parts = kept.split([mask.numel() for mask in like.values()])
    return phew.Masks(
        {name: part.view(like[name].shape) for name, part in zip(like, parts, strict=True)}
    )


def evaluate(
    network: nn.Module, masks: phew.Masks | None, data: DataSet, num_epochs: int, seed: int
) -> Result:
    """Train the network under the masks, and check that no pruned weight came back."""
    if masks:
        masks.apply(network)
    started = time.perf_counter()
    train(network, data, num_epochs, seed)
    seconds = time.perf_counter() - started
    for name, mask in (masks or {}).items():
        assert not network.get_parameter(name)[~mask].any(), f"{name} has pruned weights not zero"
    return Result(accuracy_of(network, data), active_units(masks) if masks else 1.0, seconds)


@torch.no_grad()
def accuracy_of(network: nn.Module, data: DataSet) -> float:
    predictions = network.eval()(data.test_inputs).argmax(dim=1)
    accuracy: float = (predictions == data.test_labels).float().mean().item()
    return accuracy


def train(network: nn.Module, data: DataSet, num_epochs: int, seed: int) -> torch.optim.Optimizer:
    batch_size = 100
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_epochs)
    for _ in range(num_epochs):
        order = torch.randperm(len(data.train_labels), generator=generator)
        for batch in order.split(batch_size):
            loss = nn.functional.cross_entropy(
                network(data.train_inputs[batch]), data.train_labels[batch]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return optimizer


def active_units(masks: phew.Masks) -> float:
    """Return the share of units outside of the last layer that a kept weight leads to."""
    *hidden, _ = masks.values()
    active = torch.cat([mask.flatten(1).any(dim=1) for mask in hidden])
    return active.float().mean().item()


def print_table(results: dict[tuple[str, float], list[Result]]) -> None:
    table = Table("method", box=None)
    for title in ("density", "test accuracy", "active units", "seconds"):
        table.add_column(title, justify="right")
    for (method, density), runs in results.items():
        accuracies, units, seconds = zip(*runs, strict=True)
        table.add_row(
            method,
            f"{density:g}",
            f"{statistics.mean(accuracies):.1%} ± {statistics.pstdev(accuracies):.1%}",
            f"{statistics.mean(units):.1%}",
            f"{statistics.mean(seconds):.1f}",
        )
    Console().print(table)
