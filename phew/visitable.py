"""Which weights walks can visit."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TypeAlias

import torch

from phew import _core
from phew.engine import AnyEngine
from phew.graph import WeightedLink

Flows: TypeAlias = tuple[_core.Flow, _core.Flow]
"""Of forward and of backward walks."""


def num_visitable(engine: AnyEngine, flows: Flows) -> dict[str, int]:
    """Return how many weights of each prunable parameter walks can visit."""
    graph = engine.graph
    links: dict[str, list[int]] = defaultdict(list)
    for index, link in enumerate(graph.links):
        if isinstance(link, WeightedLink):
            links[link.parameter].append(index)
    visitable = _Visitable(engine, flows)
    return {name: visitable.num_weights(name, links[name]) for name in graph.prunable}


class _Visitable:
    """What walks of these flows can visit."""

    def __init__(self, engine: AnyEngine, flows: Flows) -> None:
        self._engine = engine
        self._graph = engine.graph
        # Read once: each time they are, these are new lists.
        self._link_flows = [flow.links for flow in flows]

    def num_weights(self, parameter: str, links: list[int]) -> int:
        """Count the weights of a parameter that walks can visit over its links."""
        weight = self._graph.parameters[parameter]
        if len(links) == 1 and self._is_passed_everywhere(links[0]):
            num_zero = self._engine.measures[links[0]].num_zero
            return weight.numel() - (num_zero if self._engine.options.power > 0 else 0)
        visitable = torch.zeros(weight.shape, dtype=torch.bool)
        for index in links:
            link = self._graph.links[index]
            assert isinstance(link, WeightedLink)
            link.view(visitable).logical_or_(self._edges(index, link))
        return int(visitable.count_nonzero())

    def _is_passed_everywhere(self, index: int) -> bool:
        """Return whether walks take every edge of a link, unless its weight is zero.

        Where it is so, as nearly always, it tells without a look at each weight.
        """
        link, measure = self._graph.links[index], self._engine.measures[index]
        assert isinstance(link, WeightedLink)
        if math.prod(link.shape) != self._graph.parameters[link.parameter].numel():
            return False
        if measure.num_zero and (
            self._engine.options.granularity == "kernel"
            # Where all edges of a unit are zero, they are walked.
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
            data = self._engine.ranks.data_of(self._graph, link.parameter, self._engine.device)
            has_mass = (link.view(data) != 0).cpu()
        by_source, by_target = (link.num_groups, 1, -1, 1), (link.num_groups, -1, 1, 1)
        visitable = torch.zeros(1, 1, 1, 1, dtype=torch.bool)
        for flows, totals, (near_shape, far_shape), far in (
            (self._link_flows[0], measure.source_totals, (by_source, by_target), link.target),
            (self._link_flows[1], measure.target_totals, (by_target, by_source), link.source),
        ):
            passed = torch.from_numpy(flows[index] > 0).view(near_shape)
            all_zero = torch.from_numpy(totals == 0).view(near_shape)
            live = torch.from_numpy(self._graph.live[far]).view(far_shape)
            visitable = visitable | (passed & live & (has_mass | all_zero))
        if options.granularity == "kernel":
            visitable = visitable.any(dim=3, keepdim=True)
        return visitable
