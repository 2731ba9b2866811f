"""The promises of every walk engine, and the engine for a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import torch

from phew._core import Flow, LinkMeasure, RateHistogram
from phew.distributed.ranks import ALONE, Ranks
from phew.graph.walk_graph import WalkGraph
from phew.walks.bridge import Visits
from phew.walks.cpu_engine import CpuEngine
from phew.walks.cuda_engine import CudaEngine
from phew.walks.options import Options


class Engine(Protocol):
    """The walks of a graph under a set of options, on one device.

    Attributes:
        graph: The walk graph.
        options: What the walks depend on.
        device: The device.
        ranks: The processes that walk together.
        loads_together: Whether weights are sharded, so that ranks must make the engine's calls
            together.
        measures: The measures of each link: the sums of its masses, and whether all of its weights
            are finite.
        hops_per_second: How many hops over weighted links it makes in a second, roughly.
    """

    graph: WalkGraph
    options: Options
    device: torch.device
    ranks: Ranks
    loads_together: bool
    measures: list[LinkMeasure]
    hops_per_second: float

    def flow(self, *, backward: bool) -> Flow:
        """Compute the exact flow of one direction (see `phew.analysis.expected_visits`).

        Raises:
            RuntimeError: If weights have changed since the engine was made.
        """
        ...

    def count_rates(
        self, links: list[int], forward: Flow, backward: Flow, *, share: float
    ) -> list[RateHistogram]:
        """Count the weights of prunable links by how often walks are expected to visit them.

        Args:
            links: Indices of weighted links.
            forward: The flow of forward walks.
            backward: The flow of backward walks.
            share: The share of the weights to look at, the others being taken to be alike.
        """
        ...

    def walk(
        self,
        walks: range,
        visits: Mapping[str, torch.Tensor],
        *,
        batch_size: int,
        recording: Literal["mark", "count"] = "mark",
        first_listed: int | None = None,
    ) -> Visits:
        """Make walks and record their visits.

        Args:
            walks: Their numbers, one or two apart. If weights are sharded, one apart and at most
                one batch of each direction, and ranks make their calls together.
            visits: Where to record (see `LinkLoader`).
            batch_size: Number of walks of one direction that move together.
            recording: Whether to mark what is visited, or to count, as tests do.
            first_listed: The first walk that does not mark: its visits, and those of the walks
                after it, to what is not marked are returned.

        Returns:
            The visits that are listed: possibly several of one weight, also of one that this call
            marks, in any order.

        Raises:
            RuntimeError: If a walk passes a unit whose weights have changed since the engine was
                made, so that they have another mass in all.
        """
        ...


def make_engine(
    graph: WalkGraph,
    options: Options,
    *,
    device: torch.device,
    num_threads: int,
    ranks: Ranks = ALONE,
) -> Engine:
    """Make the engine for a device, the CPU or a CUDA device.

    Raises:
        ValueError: If a parameter holds infinite or NaN weights.
    """
    if device.type == "cuda":
        return CudaEngine(graph, options, device=device, ranks=ranks)
    return CpuEngine(graph, options, num_threads=num_threads, ranks=ranks)
