"""The engines of every device, made and asked in the same way."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import replace
from typing import TypeAlias

import torch

from phew.graph import WalkGraph
from phew.reference import Visit
from phew.walks.engine import Engine, make_engine
from phew.walks.options import Options
from phew.walks.sampler import Sampler

Counts: TypeAlias = Counter[tuple[int, Visit]]
"""How often each walk visits each weight."""


class EngineOn:
    """Makes engines on one device.

    Attributes:
        device: The device.
        num_threads: The numbers of threads that make a difference there.
    """

    def __init__(self, device: str) -> None:
        self.device = torch.device(device, 0) if device == "cuda" else torch.device(device)
        self.num_threads = (1, 2, 3, 7) if device == "cpu" else (1,)

    def __call__(self, graph: WalkGraph, options: Options, *, num_threads: int = 1) -> Engine:
        """Make an engine for a graph, whose weights go to the device."""
        return make_engine(self.put(graph), options, device=self.device, num_threads=num_threads)

    def sampler(
        self, graph: WalkGraph, options: Options, *, num_threads: int = 1, batch_size: int | None
    ) -> Sampler:
        """Make a sampler for a graph, whose weights go to the device."""
        return Sampler(
            self.put(graph),
            options,
            device=self.device,
            num_threads=num_threads,
            batch_size=batch_size,
        )

    def put(self, graph: WalkGraph) -> WalkGraph:
        """Return a graph with its weights on the device."""
        parameters = {name: data.to(self.device) for name, data in graph.parameters.items()}
        return replace(graph, parameters=parameters)


def unvisited(
    graph: WalkGraph, dtype: torch.dtype, device: torch.device
) -> dict[str, torch.Tensor]:
    """Return a zero for each prunable weight."""
    return {
        name: torch.zeros(graph.parameters[name].numel(), dtype=dtype, device=device)
        for name in graph.prunable
    }


def new_visits(
    engine: Engine,
    walks: range,
    visited: dict[str, torch.Tensor] | None = None,
    *,
    batch_size: int = 1 << 20,
) -> Counts:
    """Return the visits of walks to what is not marked in `visited`, by default nothing."""
    graph = engine.graph
    if visited is None:
        visited = unvisited(graph, torch.uint8, engine.device)
    listed = engine.walk(walks, visited, first_listed=0, batch_size=batch_size)
    names, first_numbers = zip(*graph.first_numbers.items(), strict=True)
    counts: Counts = Counter()
    for weight, walk in zip(*(numbers.tolist() for numbers in listed), strict=True):
        parameter = bisect_right(first_numbers, weight) - 1
        counts[walk, Visit(names[parameter], weight - first_numbers[parameter])] += 1
    return counts
