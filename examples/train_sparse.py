"""Train wide networks on MNIST-1D and scikit-learn's digits: dense, held by masks, and sparse.

A held network is dense, with pruned weights kept at zero; a sparse one has no others than those
kept. Both learn the same, so the table shows what a sparse one saves: time, memory and disk.

Needs: pip install mnist1d scikit-learn
"""

from __future__ import annotations

import copy
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import safetensors.torch
import torch
import train_digits
import train_mnist1d
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from training import DataSet, accuracy_of, parse_tiny, train

import phew


class Result(NamedTuple):
    accuracy: float
    step_milliseconds: float
    training_bytes: int
    file_bytes: int


def build_perceptron() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(64, 1024), nn.ReLU()),
        *(nn.Linear(1024, 1024), nn.ReLU()),
        nn.Linear(1024, 10),
    )


def build_convolutions() -> nn.Module:
    return nn.Sequential(
        *train_mnist1d.convolution(1, 128, kernel_size=5),
        *train_mnist1d.convolution(128, 128, kernel_size=5),
        *train_mnist1d.convolution(128, 128, kernel_size=5),
        nn.Flatten(),
        nn.Linear(128 * 5, 10),
    )


def networks(
    build: Callable[[], nn.Module], example_input: Tensor, density: float, seed: int
) -> Iterator[tuple[str, nn.Module]]:
    """Yield one network in three ways, with the same initial weights and masks."""
    torch.manual_seed(seed)
    network = build()
    masks = phew.sample_masks(network, example_input, density=density, seed=seed)
    yield "dense", copy.deepcopy(network)
    held = copy.deepcopy(network)
    masks.apply(held)
    yield "held", held
    phew.to_sparse(network, masks)
    yield "sparse", network


def evaluate(network: nn.Module, data: DataSet, num_epochs: int, seed: int) -> Result:
    started = time.perf_counter()
    optimizer = train(network, data, num_epochs, seed)
    seconds = time.perf_counter() - started
    states = list(optimizer.state.values())
    return Result(
        accuracy_of(network, data),
        1000 * seconds / int(states[0]["step"]),
        training_bytes(network, states),
        len(safetensors.torch.save(network.state_dict())),
    )


def training_bytes(network: nn.Module, states: list[dict[str, Tensor]]) -> int:
    """Return the bytes of weights, gradients, optimizer states and indices; no held masks."""
    parameters = list(network.parameters())
    gradients = [each.grad for each in parameters if each.grad is not None]
    kept = [value for state in states for value in state.values()]
    layers = [module for module in network.modules() if isinstance(module, phew.sparse.SparseLayer)]
    indices = [each for layer in layers for each in layer.indices]
    tensors = (*parameters, *gradients, *kept, *network.buffers(), *indices)
    return sum(tensor.nbytes for tensor in tensors)


def compare(
    build: Callable[[], nn.Module],
    data: DataSet,
    *,
    density: float,
    num_seeds: int,
    num_epochs: int,
) -> dict[str, list[Result]]:
    """Train a network in all ways with each seed."""
    torch.set_num_threads(1)
    results = defaultdict[str, list[Result]](list)
    for seed in range(num_seeds):
        for way, network in networks(build, data.train_inputs[:1], density, seed):
            results[way].append(evaluate(network, data, num_epochs, seed))
    return results


def print_table(data_name: str, results: dict[str, list[Result]]) -> None:
    table = Table(data_name, box=None)
    for title in ("test accuracy", "ms a step", "training, kB", "file, kB"):
        table.add_column(title, justify="right")
    for way, runs in results.items():
        accuracies, milliseconds, training, files = zip(*runs, strict=True)
        table.add_row(
            way,
            f"{statistics.mean(accuracies):.1%} ± {statistics.pstdev(accuracies):.1%}",
            f"{statistics.median(milliseconds):.2f}",
            f"{statistics.mean(training) / 1000:,.0f}",
            f"{statistics.mean(files) / 1000:,.0f}",
        )
    Console().print(table)


def main() -> None:
    tiny = parse_tiny(__doc__)
    options = {"num_seeds": 2 if tiny else 5, "num_epochs": 2 if tiny else 20}
    print_table(
        "digits", compare(build_perceptron, train_digits.load_data(), density=0.05, **options)
    )
    mnist1d = train_mnist1d.load_data(num_samples=500 if tiny else 5000)
    print_table("MNIST-1D", compare(build_convolutions, mnist1d, density=0.1, **options))


if __name__ == "__main__":
    main()
