"""The exact flow: the probability that a walk uses each edge, computed without sampling.

Nothing in phew needs it per edge: it is what tests and benchmarks hold samples of walks against.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from phew.graph.links import WeightedLink
from phew.graph.walk_graph import WalkGraph
from phew.graph.weights import weights_of
from phew.reference import link_mass
from phew.walks.cpu_engine import CpuEngine
from phew.walks.options import Fork, Options, Power


@dataclass(frozen=True)
class Flow:
    """The expected passages of one walk of one direction.

    Attributes:
        units: Per space, the probability that a walk passes each unit, float64.
        links: Per link, the probability that a walk takes it from each unit on its near side,
            float64.
        totals: Per weighted link, the mass of each near unit's edges to live units.
    """

    units: list[torch.Tensor]
    links: list[torch.Tensor]
    totals: dict[int, torch.Tensor]


def exact_flow(
    graph: WalkGraph,
    *,
    backward: bool,
    fork: Fork = "uniform",
    power: Power = 1,
    num_threads: int = 1,
) -> Flow:
    """Compute the flow: probability that spreads through the links from the live entries (exits).

    Args:
        graph: The walk graph, its parameters finite.
        backward: Whether walks run from the exits to the entries.
        fork: How a walk chooses among links.
        power: The power of the magnitude that an edge is chosen by.
        num_threads: Number of threads.

    Returns:
        The flow; a space's probabilities sum to the share of the walks that pass through it.
    """
    engine = CpuEngine(graph, Options(fork=fork, power=power), num_threads=num_threads)
    flow = engine.flow(backward=backward)
    totals = {
        index: (measure.target_totals if backward else measure.source_totals).astype(np.float64)
        for index, measure in enumerate(engine.measures)
        if index in graph.weighted
    }
    return Flow(
        units=[torch.tensor(units, device="cpu") for units in flow.units],
        links=[torch.tensor(units, device="cpu") for units in flow.links],
        totals={index: torch.from_numpy(total) for index, total in totals.items()},
    )


def edge_probabilities(
    graph: WalkGraph, index: int, flow: Flow, *, backward: bool, power: Power = 1
) -> torch.Tensor:
    """Return the probability that a walk uses each edge of a weighted link.

    Args:
        graph: The walk graph.
        index: Index of a weighted link.
        flow: The exact flow of the same direction and power.
        backward: The direction.
        power: The power of the magnitude that an edge is chosen by.

    Returns:
        Probabilities, float64, in the shape of the link's view.
    """
    link = graph.links[index]
    if not isinstance(link, WeightedLink):
        raise TypeError(f"index must be that of a weighted link, got {index}, a wiring link.")
    by_near, by_far, far, far_dim = link.by_source, link.by_target, link.target, 1
    if backward:
        by_near, by_far, far, far_dim = link.by_target, link.by_source, link.source, 2
    is_edge = (link.is_edge & by_far(graph.live[far])).expand(link.shape)
    num_edges = is_edge.sum(dim=(far_dim, 3), keepdim=True)
    totals = by_near(flow.totals[index])
    is_zero = totals == 0
    rate = by_near(flow.links[index]) / torch.where(is_zero, num_edges.clamp(min=1), totals)
    magnitudes = weights_of(graph, link).double().abs().numpy()
    masses = torch.from_numpy(link_mass(magnitudes, power).masses)
    return torch.where(is_zero, 1.0, masses) * is_edge * rate
