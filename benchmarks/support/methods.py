"""The ways to make PHEW's masks that the benchmarks compare."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

import phew
from phew.reference import Reference
from phew.walks.cpu_engine import CpuEngine
from phew.walks.options import Options
from phew.walks.sampler import FEWEST_PER_BATCH
from support.graphs import build_network
from support.machine import median_seconds
from support.timed_engine import empty_visits


class Run(NamedTuple):
    """The masks of a method, its seconds with capture, and the seconds of capture alone."""

    masks: Mapping[str, Tensor]
    num_walks: int
    seconds: float
    capture_seconds: float = 0.0


class Method(Protocol):
    def __call__(self, network: nn.Module, example_input: Tensor, density: float) -> Run: ...


def run_engine(
    network: nn.Module, example_input: Tensor, density: float, *, num_threads: int | None = None
) -> Run:
    started = time.perf_counter()
    graph = phew.capture(network, example_input)
    captured = time.perf_counter()
    masks = phew.sample_masks(graph, density=density, num_threads=num_threads)
    seconds = time.perf_counter() - started
    return Run(masks, int(masks.info["num_walks"]), seconds, captured - started)


def run_walks(
    network: nn.Module,
    example_input: Tensor,
    density: float,
    *,
    num_walks: int,
    num_threads: int,
) -> Run:
    """Time nothing but the walks, whose number is known to meet the density."""
    graph = phew.capture(network, example_input)
    visited = empty_visits(graph, torch.bool)
    started = time.perf_counter()
    walk(graph, num_walks, visited, recording="mark", num_threads=num_threads)
    return Run(visited, num_walks, time.perf_counter() - started)


def run_reference(network: nn.Module, example_input: Tensor, density: float) -> Run:
    started = time.perf_counter()
    graph = phew.capture(network, example_input)
    captured = time.perf_counter()
    result = Reference(graph).sample_masks(density)
    seconds = time.perf_counter() - started
    masks = {name: torch.from_numpy(mask) for name, mask in result.masks.items()}
    return Run(masks, result.num_walks, seconds, captured - started)


def time_training_step(name: str, batch_size: int) -> float:
    """Return the median seconds of a step of SGD on a network, in a process of its own."""
    network, example_input = build_network(name)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    inputs = torch.randn(batch_size, *example_input.shape[1:])

    def step() -> None:
        optimizer.zero_grad()
        network(inputs).square().mean().backward()
        optimizer.step()

    step()
    return median_seconds(step)


def count_hops(network: nn.Module, example_input: Tensor, num_walks: int) -> int:
    """Count the hops of walks over weighted links."""
    graph = phew.capture(network, example_input)
    counts = empty_visits(graph, torch.int32)
    walk(graph, num_walks, counts, recording="count", num_threads=torch.get_num_threads())
    return sum(int(count.sum()) for count in counts.values())


def walk(
    graph: phew.WalkGraph,
    num_walks: int,
    visits: Mapping[str, Tensor],
    *,
    recording: Literal["mark", "count"],
    num_threads: int,
) -> None:
    """Measure the weights, then build the tables, walk and record the visits."""
    engine = CpuEngine(graph, Options(), num_threads=num_threads)
    engine.walk(range(num_walks), visits, recording=recording, batch_size=FEWEST_PER_BATCH["cpu"])
