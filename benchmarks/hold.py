"""What does training under masks cost, beside dense training and beside torch.nn.utils.prune?"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from support.graphs import build_network
from support.machine import numbers_of_threads
from support.markdown import significant, table
from support.processes import in_fresh_process
from support.suite import Benchmark
from torch import Tensor, nn
from torch.nn.utils import prune

import phew

DENSITY = 0.1
BATCH_SIZE = 32
WAYS = ("dense", "held", "torch.nn.utils.prune")

PERCEPTRON = (784, 1024, 1024, 10)
"""The units of a multilayer perceptron of 1.9 million weights."""

ROUNDS = {"perceptron": (20, 5), "resnet18_32": (8, 1)}
"""The number of rounds, and of steps in each, by network."""

QUICK_ROUNDS = {"lenet5": (2, 1)}


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, 1e-3),
    "SGD, momentum": lambda parameters: torch.optim.SGD(
        parameters, 1e-3, momentum=0.9, weight_decay=1e-4
    ),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, 1e-3),
    "AdamW, fused": lambda parameters: torch.optim.AdamW(parameters, 1e-3, fused=True),
}


@dataclass(frozen=True)
class Row:
    """The steps of one network, trained in one way.

    Attributes:
        num_weights: The weights under masks.
        seconds: The median seconds of a step: forward, backward and the optimizer's.
        ratio: To those of dense training, the median over rounds, in which the ways take turns.
    """

    network: str
    optimizer: str
    way: str
    num_threads: int
    num_weights: int
    seconds: float
    ratio: float


def measure(quick: bool) -> Iterator[Row]:
    for num_threads in numbers_of_threads():
        for network, rounds in (QUICK_ROUNDS if quick else ROUNDS).items():
            for optimizer in OPTIMIZERS:
                yield from in_fresh_process(time_ways, network, optimizer, num_threads, *rounds)


def time_ways(
    network: str, optimizer: str, num_threads: int, num_rounds: int, num_steps: int
) -> list[Row]:
    """Time steps of training in each way, which take turns, in a process of its own."""
    torch.set_num_threads(num_threads)
    models = {}
    for way in WAYS:
        models[way], example = build(network)
        masks = random_masks(models[way])
        hold_by(way, models[way], masks)
    inputs = torch.randn(BATCH_SIZE, *example.shape[1:])
    targets = torch.randint(10, (BATCH_SIZE,))
    steps = {
        way: step_of(model, OPTIMIZERS[optimizer](model.parameters()), inputs, targets)
        for way, model in models.items()
    }
    for step in steps.values():
        step()
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(num_rounds):
        for way, step in steps.items():
            started = time.perf_counter()
            for _ in range(num_steps):
                step()
            seconds[way].append((time.perf_counter() - started) / num_steps)
    for name, mask in masks.items():
        pruned = models["held"].get_parameter(name)[~mask]
        assert not pruned.any(), name
    num_weights = sum(mask.numel() for mask in masks.values())
    return [
        Row(
            network,
            optimizer,
            way,
            num_threads,
            num_weights,
            statistics.median(seconds[way]),
            statistics.median(
                own / dense for own, dense in zip(seconds[way], seconds["dense"], strict=True)
            ),
        )
        for way in WAYS
    ]


def build(network: str) -> tuple[nn.Module, Tensor]:
    """Build a network, and an example of its input."""
    if network != "perceptron":
        return build_network(network)
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for num_inputs, num_outputs in itertools.pairwise(PERCEPTRON):
        layers += [nn.Linear(num_inputs, num_outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1]), torch.zeros(1, PERCEPTRON[0])


def random_masks(model: nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(parameter.shape, generator=generator) < DENSITY
        for name, parameter in model.named_parameters()
        if parameter.dim() > 1
    }


def hold_by(way: str, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    if way == "held":
        phew.Masks(masks).apply(model)
    elif way == "torch.nn.utils.prune":
        for name, mask in masks.items():
            module, _, local = name.rpartition(".")
            prune.custom_from_mask(model.get_submodule(module), local, mask)


def step_of(
    model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor
) -> Callable[[], None]:
    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()

    return step


NOTES = f"""\
- A step is a forward pass, a backward pass and the optimizer's, at a batch of {BATCH_SIZE}.
- Random masks keep {DENSITY:.0%} of the weights. The perceptron has {PERCEPTRON} units.
- The ways take turns in one process. A ratio is the median over all turns.
- Unfused AdamW takes square roots of the zeros of pruned weights, for which PyTorch takes several
  times as long on CPUs as for other numbers; with `fused=True` it does not."""


def tables(rows: Sequence[Row]) -> str:
    header = ("network", "optimizer", "way", "threads", "weights", "ms a step", "ratio to dense")
    cells = [
        (
            row.network,
            row.optimizer,
            row.way,
            str(row.num_threads),
            f"{row.num_weights:,}",
            significant(1e3 * row.seconds),
            f"{row.ratio:.2f}",
        )
        for row in rows
    ]
    return f"{table(header, cells, num_words=3)}\n\n{NOTES}"


if __name__ == "__main__":
    Benchmark(__file__, __doc__, measure, tables).main()
