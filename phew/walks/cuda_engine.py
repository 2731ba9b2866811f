"""The walk engine on a CUDA device."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Literal

import torch

import phew._core as _core
from phew.distributed.ranks import ALONE, Ranks
from phew.graph.walk_graph import WalkGraph
from phew.walks.bridge import (
    Visits,
    check_finite,
    check_flow,
    core_graph,
    core_options,
    direction,
    walk_range,
    weights_changed,
)
from phew.walks.link_loader import LinkLoader, any_sharded, gather_order
from phew.walks.options import Options

ROOM_FOR_VISITS = 2**20
"""Visits that there is room for at first when they are listed on a CUDA device."""

HOPS_PER_SECOND = 1e10
"""Hops in a second, roughly (`python -m benchmarks cuda`)."""


class CudaEngine:
    """An `Engine` on a CUDA device; it measures the graph's weights when it is made.

    It works on the stream that is current when it is made, and its results are to be used there.

    Args:
        graph: The walk graph. Weights on other devices are copied one link at a time.
        options: What the walks depend on.
        device: The device.
        ranks: The processes that walk together.

    Raises:
        ValueError: If a parameter holds infinite or NaN weights.
    """

    hops_per_second = HOPS_PER_SECOND

    def __init__(
        self, graph: WalkGraph, options: Options, *, device: torch.device, ranks: Ranks = ALONE
    ) -> None:
        self.graph = graph
        self.options = options
        self.device = device
        self.ranks = ranks
        self.loads_together = any_sharded(graph)
        self._load = LinkLoader(graph, {}, device, ranks)
        self._stream = torch.cuda.current_stream(device)
        with torch.cuda.stream(self._stream):
            self._core = _core.CudaWalkEngine(
                core_graph(graph),
                core_options(options),
                # The engine's memory is torch's, so torch's statistics of memory include it.
                allocate=torch.cuda.caching_allocator_alloc,
                release=torch.cuda.caching_allocator_delete,
                stream=self._stream.cuda_stream,
            )
            # One more than a link whose weights are not those that were measured.
            self._changed_link = torch.zeros(1, dtype=torch.int64, device=device)
            self.measures = self._core.measure(self._load)
        self._load.finish()
        check_finite(graph, self.measures)

    def flow(self, *, backward: bool) -> _core.Flow:
        """Compute the exact flow, see `Engine.flow`."""
        with torch.cuda.stream(self._stream):
            flow = self._core.flow(direction(backward=backward), self._load)
        self._load.finish()
        check_flow(self.graph, flow, backward=backward)
        return flow

    def count_rates(
        self, links: list[int], forward: _core.Flow, backward: _core.Flow, *, share: float
    ) -> list[_core.RateHistogram]:
        """Count weights by rate, see `Engine.count_rates`."""
        with torch.cuda.stream(self._stream):
            histograms = self._core.count_rates(
                links, forward, backward, share=share, load=self._load
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
        """Make walks, see `Engine.walk`; the host waits for them only where visits are listed.

        Only there is it told of weights that have changed.
        """
        room = 0 if first_listed is None else ROOM_FOR_VISITS
        with torch.cuda.stream(self._stream):
            while True:
                load = LinkLoader(
                    self.graph, visits, self.device, self.ranks, gather_order(self.graph)
                )
                weights, listed = torch.empty(2, room, dtype=torch.int64, device=self.device)
                num_listed = torch.zeros(1, dtype=torch.int64, device=self.device)
                self._core.walk(
                    walk_range(walks, first_listed),
                    load,
                    recording=recording,
                    batch_size=batch_size,
                    listed_walks=listed.data_ptr(),
                    listed_weights=weights.data_ptr(),
                    capacity=room,
                    num_visits=num_listed.data_ptr(),
                    changed_link=self._changed_link.data_ptr(),
                )
                load.finish()
                if first_listed is None:
                    return weights, listed
                num_visits = int(num_listed)
                if changed_link := int(self._changed_link):
                    raise weights_changed([self.graph.weighted[changed_link - 1].parameter])
                most_visits = self.ranks.maximum(num_visits) if self.loads_together else num_visits
                if most_visits <= room:
                    return weights[:num_visits], listed[:num_visits]
                # There was too little room, so the listed walks are made again. The other walks
                # have marked their visits and need not be.
                walks = walks[bisect_left(walks, first_listed) :]
                room = most_visits
