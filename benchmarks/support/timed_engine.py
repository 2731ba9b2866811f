"""The walk engine as benchmarks call it. They call it through this module alone."""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

from phew.graph import WalkGraph, WeightedLink
from phew.walks.engine import make_engine
from phew.walks.options import Options

BATCH_SIZE = 2**23
"""Walks of one direction that move together: enough for 10 million walks, 5 million each way."""

HOPS_SAMPLE = 100_000

CPU = torch.device("cpu")


class Walks:
    """The walks 0, 1, 2, ... of a graph, whose weights are measured when this is made.

    Args:
        graph: The walk graph.
        num_threads: Number of threads that measure and walk on the CPU.
        device: Where to walk.
    """

    def __init__(self, graph: WalkGraph, *, num_threads: int, device: torch.device = CPU) -> None:
        started = time.perf_counter()
        self._engine = make_engine(graph, Options(), num_threads=num_threads, device=device)
        self.measuring_seconds = time.perf_counter() - started

    def mark(self, num_walks: int, visited: Mapping[str, Tensor]) -> None:
        """Walk, and mark the weights that are visited."""
        self._engine.walk(range(num_walks), visited, batch_size=BATCH_SIZE)

    def count_hops(self, num_walks: int) -> int:
        """Count the hops over weights.

        Walks differ in their number of hops only where paths of several lengths meet, and then
        little on average. So at most `HOPS_SAMPLE` walks are counted, and the rest is extrapolated.
        """
        num_counted = min(num_walks, HOPS_SAMPLE)
        num_hops = sum(int(count.sum()) for count in self.count(num_counted).values())
        return round(num_hops * num_walks / num_counted)

    def count(self, num_walks: int) -> dict[str, Tensor]:
        """Walk, and count the visits to each weight."""
        counts = empty_visits(self._engine.graph, torch.int32, self._engine.device)
        self._engine.walk(range(num_walks), counts, batch_size=BATCH_SIZE, recording="count")
        return counts


def empty_visits(
    graph: WalkGraph, dtype: torch.dtype, device: torch.device = CPU
) -> dict[str, Tensor]:
    # zero_() writes to the memory, so that its first touch is not measured.
    return {
        name: torch.empty(graph.parameters[name].shape, dtype=dtype, device=device).zero_()
        for name in graph.prunable
    }


def checksum(masks: Mapping[str, Tensor]) -> int:
    """Return a checksum by which masks are compared without being kept."""
    value = 0
    for name in sorted(masks):
        value = zlib.crc32(masks[name].cpu().numpy().tobytes(), value)
    return value


def most_units(graph: WalkGraph) -> int:
    """Return the number of units of the largest space that weights lead from or to."""
    return max(
        graph.spaces[space].num_units
        for link in graph.links
        if isinstance(link, WeightedLink)
        for space in (link.source, link.target)
    )
