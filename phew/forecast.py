"""How far walks reach, and how many of them a density needs."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from phew.flow import edge_probabilities, exact_flow
from phew.graph import WalkGraph, WeightedLink
from phew.options import Fork, Granularity, Power

SAMPLE_SIZE = 2**19
"""Number of weights that a forecast looks at; networks with fewer are looked at whole."""

Histogram: TypeAlias = npt.NDArray[np.float64]


class Forecast:
    """The expected number of weights that are visited, by number of walks.

    Args:
        graph: The walk graph.
        fork: How a walk chooses among links.
        granularity: Whether a walk visits the weights of its edges, or the kernels they are in.
        power: The power of the magnitude that an edge is chosen by.
    """

    def __init__(
        self, graph: WalkGraph, *, fork: Fork, granularity: Granularity, power: Power
    ) -> None:
        self._graph = graph
        self._granularity = granularity
        self._flows = [
            exact_flow(graph, backward=backward, fork=fork, power=power)
            for backward in (False, True)
        ]
        self._power = power
        self._rates, self._numbers = self._histogram()

    def expected(self, num_walks: float) -> float:
        """Return the number of weights that so many walks are expected to visit."""
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

    def _histogram(self) -> tuple[Histogram, Histogram]:
        """Sort weights by the rate at which walks visit them: rates and numbers of weights."""
        graph = self._graph
        every = max(1, graph.num_prunable_weights // SAMPLE_SIZE)
        rates = []
        numbers = []
        for index, link in enumerate(graph.links):
            if not isinstance(link, WeightedLink) or link.parameter not in graph.prunable:
                continue
            step = min(every, max(1, link.targets_per_group))
            forward, backward = (
                self._visit_probabilities(index, backward=backward, every=step)
                for backward in (False, True)
            )
            # A walk is forward or backward with probability 1/2; over n walks a weight is missed
            # with e^(-rate n).
            misses = torch.log1p(-forward.clamp(max=1 - 1e-12)) + torch.log1p(
                -backward.clamp(max=1 - 1e-12)
            )
            rate = (misses / -2).flatten()
            number = np.prod(link.shape) / max(rate.numel(), 1)
            # Links that share a parameter visit the same weights: as one that is taken more often.
            num_uses = self._num_uses(link.parameter)
            rates.append(rate * num_uses)
            numbers.append(torch.full_like(rate, number / num_uses))
        return _binned(torch.cat(rates).numpy(), torch.cat(numbers).numpy())

    def _visit_probabilities(self, index: int, *, backward: bool, every: int) -> torch.Tensor:
        """Return the probability that a walk visits each weight, or each kernel, of a link."""
        probabilities = edge_probabilities(
            self._graph,
            index,
            self._flows[backward],
            backward=backward,
            power=self._power,
            every=every,
        )
        return probabilities.sum(dim=3) if self._granularity == "kernel" else probabilities

    def _num_uses(self, parameter: str) -> float:
        """Return how many links the weights of a parameter are in, on average and at least 1."""
        num_edges = sum(
            math.prod(link.shape)
            for link in self._graph.links
            if isinstance(link, WeightedLink) and link.parameter == parameter
        )
        return max(1.0, num_edges / max(self._graph.parameters[parameter].numel(), 1))

    @cached_property
    def reachable(self) -> dict[str, int]:
        """How many weights of each prunable parameter walks can visit."""
        reachable = {}
        for name in self._graph.prunable:
            visitable = torch.zeros(self._graph.parameters[name].shape, dtype=torch.bool)
            for index, link in enumerate(self._graph.links):
                if isinstance(link, WeightedLink) and link.parameter == name:
                    link.view(visitable).logical_or_(self._visitable(index, link))
            reachable[name] = int(visitable.count_nonzero())
        return reachable

    def _visitable(self, index: int, link: WeightedLink) -> torch.Tensor:
        """Flag the edges that walks can take, in the shape of the link's view or to be expanded."""
        has_mass = torch.ones(1, 1, 1, 1, dtype=torch.bool)
        if self._power > 0:
            nonzero = self._graph.weights_of(link) != 0
            # Nearly always: then a flag a channel pair is enough.
            if not nonzero.all():
                has_mass = nonzero
        by_source, by_target = (link.num_groups, 1, -1, 1), (link.num_groups, -1, 1, 1)
        visitable = torch.zeros(1, 1, 1, 1, dtype=torch.bool)
        for flow, (near_shape, far_shape), far in (
            (self._flows[0], (by_source, by_target), link.target),
            (self._flows[1], (by_target, by_source), link.source),
        ):
            passed = (flow.links[index] > 0).view(near_shape)
            all_zero = (flow.totals[index] == 0).view(near_shape)
            live = torch.from_numpy(self._graph.live[far]).view(far_shape)
            visitable = visitable | (passed & live & (has_mass | all_zero))
        if self._granularity == "kernel":
            visitable = visitable.any(dim=3, keepdim=True)
        return visitable


def _binned(rates: Histogram, numbers: Histogram) -> tuple[Histogram, Histogram]:
    """Merge rates that are within 2 % of each other: mean rates and numbers of weights."""
    positive = rates > 0
    rates, numbers = rates[positive], numbers[positive]
    bins = np.floor(np.log2(rates) * 32).astype(np.int64)
    bins -= bins.min(initial=0)
    totals = np.bincount(bins, numbers).astype(np.float64)
    used = totals > 0
    return np.bincount(bins, numbers * rates)[used] / totals[used], totals[used]
