"""The weights that walks can visit if there are enough of them."""

from __future__ import annotations

import torch

from phew.graph.links import WeightedLink
from phew.walks.bridge import Flows
from phew.walks.engine import Engine
from phew.walks.link_loader import load_parameter


def count_reachable(engine: Engine, flows: Flows) -> dict[str, int]:
    """Return how many weights of each prunable parameter walks can visit.

    Args:
        engine: The engine that will walk.
        flows: Its flows of forward and backward walks, which are positive where walks pass.
    """
    reachable = _Reachable(engine, flows)
    return {name: reachable.num_weights(name) for name in engine.graph.prunable}


class _Reachable:
    """The weights that walks of these flows can visit."""

    def __init__(self, engine: Engine, flows: Flows) -> None:
        self._engine = engine
        self._graph = engine.graph
        # `Flow.links` makes new lists each time it is read, so it is read once.
        self._link_flows = [flow.links for flow in flows]

    def num_weights(self, parameter: str) -> int:
        """Count the weights of a parameter that walks can visit over its links."""
        links = self._graph.links_of[parameter]
        weight = self._graph.parameters[parameter]
        if len(links) == 1 and self._is_passed_everywhere(links[0]):
            num_zero = self._engine.measures[links[0]].num_zero
            return weight.numel() - (num_zero if self._engine.options.power > 0 else 0)
        reachable = torch.zeros(weight.shape, dtype=torch.bool)
        for index in links:
            link = self._graph.weighted[index]
            link.mark_elements(reachable, self._edges(index, link))
        return int(reachable.count_nonzero())

    def _is_passed_everywhere(self, index: int) -> bool:
        """Return whether walks take every edge of a link, unless its weight is zero.

        That holds for nearly all links, and is found out without looking at each weight.
        """
        link, measure = self._graph.weighted[index], self._engine.measures[index]
        num_elements = self._graph.parameters[link.parameter].numel()
        if link.num_edges != num_elements or not link.is_injective:
            return False
        if measure.num_zero and (
            self._engine.options.granularity == "kernel"
            # If all edges of a unit are zero, walks take these as if they were equal.
            or not (measure.source_totals.all() and measure.target_totals.all())
        ):
            return False
        return any(
            bool((flows[index] > 0).all()) and bool(self._graph.live[far].all())
            for flows, far in zip(self._link_flows, (link.target, link.source), strict=True)
        )

    def _edges(self, index: int, link: WeightedLink) -> torch.Tensor:
        """Flag the edges that walks can take, in the shape of the link's view or to be expanded."""
        options, measure = self._engine.options, self._engine.measures[index]
        has_mass = torch.ones(1, 1, 1, 1, dtype=torch.bool)
        if options.power > 0 and measure.num_zero:
            engine = self._engine
            data = load_parameter(self._graph, link.parameter, engine.device, engine.ranks)
            has_mass = (link.view(data) != 0).cpu()
        forward, backward = (flows[index] > 0 for flows in self._link_flows)
        by_forward_walks = (
            link.by_source(forward)
            & link.by_target(self._graph.live[link.target])
            & (has_mass | link.by_source(measure.source_totals == 0))
        )
        by_backward_walks = (
            link.by_target(backward)
            & link.by_source(self._graph.live[link.source])
            & (has_mass | link.by_target(measure.target_totals == 0))
        )
        reachable = by_forward_walks | by_backward_walks
        if options.granularity == "kernel":
            reachable = reachable.any(dim=3, keepdim=True)
        return reachable
