"""How far walks reach, and how many of them a density needs."""

from __future__ import annotations

import math
from collections import defaultdict
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from phew.engine import AnyEngine
from phew.graph import WeightedLink

SAMPLE_SIZE = 2**20
"""Number of weights that a forecast looks at; networks with fewer are looked at whole."""

Numbers = npt.NDArray[np.float64]


class Forecast:
    """The expected number of weights that are visited, by number of walks.

    Args:
        engine: The engine that will walk.
    """

    def __init__(self, engine: AnyEngine) -> None:
        self._engine = engine
        self._graph = engine.graph
        self._flows = (engine.flow(backward=False), engine.flow(backward=True))
        # Read once: each time they are, these are new lists.
        self._link_flows = [flow.links for flow in self._flows]
        self._rates, self._numbers = self._weights_by_rate()

    @property
    def visits_per_walk(self) -> float:
        """The number of visits that a walk is expected to make."""
        return float(self._numbers @ self._rates)

    def expected(self, num_walks: float) -> float:
        """Return the number of weights that so many walks are expected to visit."""
        # Over n walks a weight is missed with probability e^(-rate n).
        return float(self._numbers @ -np.expm1(-self._rates * num_walks))

    def walks_for(self, num_weights: float) -> int:
        """Return the number of walks that is expected to visit so many weights."""
        num_weights = min(num_weights, self._numbers.sum() - 0.5)
        high = 1.0
        while self.expected(high) < num_weights and high < 2.0**63:
            high *= 2
        low = 0.0
        while high - low > max(1.0, 1e-4 * low):
            middle = (low + high) / 2
            low, high = (middle, high) if self.expected(middle) < num_weights else (low, middle)
        return int(high)

    def _weights_by_rate(self) -> tuple[Numbers, Numbers]:
        """Return the rates at which walks visit weights, and the numbers of weights."""
        graph = self._graph
        share = min(1.0, SAMPLE_SIZE / graph.num_prunable_weights)
        parameters = {
            index: link.parameter
            for index, link in enumerate(graph.links)
            if isinstance(link, WeightedLink) and link.parameter in graph.prunable
        }
        histograms = self._engine.count_rates([*parameters], *self._flows, share=share)
        rates, numbers = [np.empty(0)], [np.empty(0)]
        for parameter, histogram in zip(parameters.values(), histograms, strict=True):
            # Links that share a parameter visit the same weights: as one taken more often.
            num_uses = self._num_uses(parameter)
            rates.append(histogram.rates * num_uses)
            numbers.append(histogram.numbers / num_uses)
        return _merged(np.concatenate(rates), np.concatenate(numbers))

    def _num_uses(self, parameter: str) -> float:
        """Return how many links the weights of a parameter are in, on average and at least 1."""
        num_edges = self._num_edges[parameter]
        return max(1.0, num_edges / max(self._graph.parameters[parameter].numel(), 1))

    @cached_property
    def _num_edges(self) -> dict[str, int]:
        num_edges: dict[str, int] = defaultdict(int)
        for link in self._graph.links:
            if isinstance(link, WeightedLink):
                num_edges[link.parameter] += math.prod(link.shape)
        return num_edges

    @cached_property
    def reachable(self) -> dict[str, int]:
        """How many weights of each prunable parameter walks can visit."""
        links: dict[str, list[int]] = defaultdict(list)
        for index, link in enumerate(self._graph.links):
            if isinstance(link, WeightedLink):
                links[link.parameter].append(index)
        return {name: self._num_reachable(name, links[name]) for name in self._graph.prunable}

    def _num_reachable(self, parameter: str, links: list[int]) -> int:
        weight = self._graph.parameters[parameter]
        if len(links) == 1 and self._is_passed_everywhere(links[0]):
            num_zero = self._engine.measures[links[0]].num_zero
            return weight.numel() - (num_zero if self._engine.options.power > 0 else 0)
        visitable = torch.zeros(weight.shape, dtype=torch.bool)
        for index in links:
            link = self._graph.links[index]
            assert isinstance(link, WeightedLink)
            link.view(visitable).logical_or_(self._visitable(index, link))
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

    def _visitable(self, index: int, link: WeightedLink) -> torch.Tensor:
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


def _merged(rates: Numbers, numbers: Numbers) -> tuple[Numbers, Numbers]:
    """Merge rates that are within 5 % of each other: mean rates and numbers of weights."""
    bins = np.floor(np.log2(rates) * 16).astype(np.int64)
    bins -= bins.min(initial=0)
    totals = np.bincount(bins, numbers).astype(np.float64)
    used = totals > 0
    return np.bincount(bins, numbers * rates)[used] / totals[used], totals[used]
