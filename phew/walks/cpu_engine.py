"""The walk engine on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

import phew._core as _core
from phew.distributed.ranks import ALONE, Ranks
from phew.graph.walk_graph import WalkGraph
from phew.walks.bridge import (
    Visits,
    as_int64,
    check_finite,
    check_flow,
    core_graph,
    core_options,
    direction,
    naming_what_changed,
    walk_range,
)
from phew.walks.devices import CPU
from phew.walks.link_loader import LinkLoader, any_sharded, gather_order
from phew.walks.options import Options

HOPS_PER_SECOND = 1e8
"""Hops of a thread in a second, roughly (`python -m benchmarks hops`)."""


class CpuEngine:
    """An `Engine` on the CPU; it measures the graph's weights when it is made.

    Args:
        graph: The walk graph.
        options: What the walks depend on.
        num_threads: Number of threads.
        ranks: The processes that walk together.

    Raises:
        ValueError: If a parameter holds infinite or NaN weights.
    """

    device = CPU

    def __init__(
        self, graph: WalkGraph, options: Options, *, num_threads: int, ranks: Ranks = ALONE
    ) -> None:
        self.graph = graph
        self.options = options
        self.ranks = ranks
        self.loads_together = any_sharded(graph)
        self._num_threads = num_threads
        self.hops_per_second = HOPS_PER_SECOND * num_threads
        self._load = LinkLoader(graph, {}, self.device, ranks)
        self._core = _core.WalkEngine(core_graph(graph), core_options(options))
        self.measures = self._core.measure(self._load, num_threads=num_threads)
        self._load.finish()
        check_finite(graph, self.measures)

    def flow(self, *, backward: bool) -> _core.Flow:
        """Compute the exact flow, see `Engine.flow`."""
        toward = direction(backward=backward)
        flow = self._core.flow(toward, self._load, num_threads=self._num_threads)
        self._load.finish()
        check_flow(self.graph, flow, backward=backward)
        return flow

    def count_rates(
        self, links: list[int], forward: _core.Flow, backward: _core.Flow, *, share: float
    ) -> list[_core.RateHistogram]:
        """Count weights by rate, see `Engine.count_rates`."""
        histograms = self._core.count_rates(
            links,
            forward,
            backward,
            share=share,
            load=self._load,
            num_threads=self._num_threads,
        )
        self._load.finish()
        return histograms

    def walk(
        self,
        walks: range,
        visits: Mapping[str, torch.Tensor],
        *,
        batch_size: int,
        recording: Literal["mark", "count"] = "mark",
        first_listed: int | None = None,
    ) -> Visits:
        """Make walks, see `Engine.walk`."""
        load = LinkLoader(self.graph, visits, self.device, self.ranks, gather_order(self.graph))
        with naming_what_changed(self.graph):
            listed = self._core.walk(
                walk_range(walks, first_listed),
                load,
                recording=recording,
                num_threads=self._num_threads,
                batch_size=batch_size,
            )
        load.finish()
        return as_int64(listed.weights), as_int64(listed.walks)
