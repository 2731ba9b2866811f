"""The forecast: how many weights a number of walks visits, and how many walks a density needs.

Weights that walks visit about as often are counted together, as a rate (expected visits per walk)
and the number of weights that have it. With 20 weights that every second walk visits, and 80 that
every hundredth does:

    rates        0.5    0.01
    numbers       20      80

    visits of a walk        20 x 0.5 + 80 x 0.01 = 10.8
    weights of 10 walks     20 x (1 - e^-5) + 80 x (1 - e^-0.1) = 19.9 + 7.6 = 27.5
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from copy import copy
from functools import partial

import numpy as np
import numpy.typing as npt

from phew.graph.links import WeightedLink
from phew.walks.bridge import Flows
from phew.walks.engine import Engine
from phew.walks.reachable import count_reachable

SAMPLE_SIZE = 2**20
"""Number of weights that a forecast looks at; networks with fewer are looked at whole."""

Numbers = npt.NDArray[np.float64]


class Forecast:
    """The expected number of weights that are visited, by number of walks.

    Args:
        engine: The engine that will walk.
        sample_size: How many weights to look at, by default `SAMPLE_SIZE`.

    Attributes:
        reachable: How many weights of each prunable parameter walks can visit.
        is_whole: Whether all weights were looked at.
        hops_per_walk: How many weighted links a walk takes, on average.
    """

    def __init__(self, engine: Engine, sample_size: int | None = None) -> None:
        self._engine = engine
        self._graph = engine.graph
        share = (sample_size or SAMPLE_SIZE) / max(self._graph.num_prunable_weights, 1)
        self.is_whole = share >= 1
        # The flows hold a few float64 per unit; as locals they are freed before walking.
        flows = _flows(engine)
        self.reachable = count_reachable(engine, flows)
        self._by_parameter = self._weights_by_rate(flows, min(1.0, share))
        self._rates, self._numbers = _merged(self._by_parameter.values())
        # Whoever asks a flow for its links gets a list of all of them, made anew.
        link_flows = [flow.links for flow in flows]
        taken = (links[index].sum() for links in link_flows for index in self._graph.weighted)
        self.hops_per_walk = float(sum(taken)) / 2

    def of(self, parameters: Collection[str]) -> Forecast:
        """Return the forecast of the weights of some prunable parameters alone."""
        if len(parameters) == len(self.reachable):
            return self
        part = copy(self)
        part.reachable = {name: self.reachable[name] for name in parameters}
        part._rates, part._numbers = _merged(self._by_parameter[name] for name in parameters)
        return part

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

    def most_walks_for(self, num_weights: float) -> float:
        """Return how many walks visit so many weights for all practical purposes.

        With the forecast number of walks t, the weights that are missing on average are those whose
        e^(-rate t) add up to it. After 64 t they add up to less than 2^-64 where it was half a
        weight; where it was more, 64 new weights are to be expected. Visits mark whole kernels
        together, and the rates of weights that are several edges are only averages over these.
        """
        uses = max((self._num_uses[name] for name in self.reachable), default=1.0)
        by_kernel = self._engine.options.granularity == "kernel"
        sizes = (link.num_positions for link in self._prunable_links.values())
        together = max(sizes, default=1) if by_kernel else 1
        return 64 * uses * self.walks_for(num_weights + together - 1)

    def uncertainty(self, num_weights: float) -> float:
        """Return by what share of so many weights a forecast may be off.

        That is 0.1 %, and three standard deviations of a count of independent visits. A visit marks
        one weight, or a whole kernel of them.
        """
        return 0.001 + 3 * math.sqrt(self._weights_per_visit / num_weights)

    @property
    def _weights_per_visit(self) -> float:
        """The weights that a visit marks, on average: 1, or those of a kernel."""
        if self._engine.options.granularity == "weight":
            return 1.0
        numbers = [(link.num_edges, link.num_positions) for link in self._prunable_links.values()]
        num_weights = sum(number for number, _ in numbers)
        return sum(number * together for number, together in numbers) / num_weights

    def _weights_by_rate(self, flows: Flows, share: float) -> dict[str, tuple[Numbers, Numbers]]:
        """Return, by parameter, the rates at which walks visit weights, and their numbers."""
        links = self._prunable_links
        num_edges = dict.fromkeys(self._graph.prunable, 0.0)
        histograms = self._engine.count_rates([*links], *flows, share=share)
        for link, histogram in zip(links.values(), histograms, strict=True):
            num_edges[link.parameter] += float(histogram.numbers.sum())
        # A weight may be several edges, of links that share its parameter or of a view that expands
        # it: these count as one edge that walks take more often.
        self._num_uses = {
            name: max(1.0, number / max(self.reachable[name], 1))
            for name, number in num_edges.items()
        }
        found: dict[str, list[tuple[Numbers, Numbers]]] = {name: [] for name in num_edges}
        for link, histogram in zip(links.values(), histograms, strict=True):
            num_uses = self._num_uses[link.parameter]
            found[link.parameter].append((histogram.rates * num_uses, histogram.numbers / num_uses))
        return {name: _merged(of_links) for name, of_links in found.items()}

    @property
    def _prunable_links(self) -> dict[int, WeightedLink]:
        """The weighted links of the parameters that are forecast, by index."""
        return {
            index: link
            for index, link in self._graph.weighted.items()
            if link.parameter in self.reachable
        }


def _flows(engine: Engine) -> Flows:
    """Return the flows of both directions, each computed by another rank where there are two."""
    calls = [partial(engine.flow, backward=backward) for backward in (False, True)]
    forward, backward = engine.ranks.run_divided(calls, all_alike=engine.loads_together)
    return forward, backward


def _merged(rates_and_numbers: Iterable[tuple[Numbers, Numbers]]) -> tuple[Numbers, Numbers]:
    """Merge rates that are within 5 % of each other; return mean rates and numbers of weights."""
    nothing = np.empty(0), np.empty(0)
    rates, numbers = map(np.concatenate, zip(nothing, *rates_and_numbers, strict=True))
    bins = np.floor(np.log2(rates) * 16).astype(np.int64)
    bins -= bins.min(initial=0)
    totals = np.bincount(bins, numbers).astype(np.float64)
    used = totals > 0
    return np.bincount(bins, numbers * rates)[used] / totals[used], totals[used]
