"""How far off are forecasts of the weights that walks visit?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from support.graphs import build_graph, chain_of, random_weights
from support.markdown import significant, table
from support.suite import Benchmark

from phew.graph import WalkGraph
from phew.models import NETWORKS
from phew.walks.cpu_engine import CpuEngine
from phew.walks.forecast import Forecast
from phew.walks.options import Fork, Granularity, Options, Power
from phew.walks.visited import Visited

FORKS: tuple[Fork, ...] = ("uniform", "mass")
GRANULARITIES: tuple[Granularity, ...] = ("weight", "kernel")
POWERS: tuple[Power, ...] = (0, 1, 2)
DENSITIES = (0.01, 0.03, 0.1, 0.3, 0.6, 0.9)
MOST_WALKS = 3_000_000
CPU = torch.device("cpu")

SKEWED = {f"perceptron, skewed by {skew:g}": skew for skew in (0.5, 1.0, 2.0)}
"""By how much the weights of perceptrons are skewed: `NOTES` says what that means."""
SKEWED_SIZES = (2_000,) * 9
QUICK = ("lenet5",)


@dataclass(frozen=True)
class Row:
    """A network under all options and densities.

    Errors are relative errors of the number of visited weights. `Forecast.uncertainty` is the error
    that sampling allows for.
    """

    network: str
    num_weights: int
    granularity: Granularity
    num_cases: int
    mean_error: float
    worst_error: float
    worst_of_allowed: float


def measure(quick: bool) -> Iterator[Row]:
    for network in QUICK if quick else (*NETWORKS, *SKEWED):
        graph = skewed_graph(SKEWED[network]) if network in SKEWED else build_graph(network)
        for granularity in GRANULARITIES if has_kernels(graph) else GRANULARITIES[:1]:
            yield measure_network(network, graph, granularity)


def skewed_graph(skew: float) -> WalkGraph:
    generator = torch.Generator().manual_seed(1)

    weights = random_weights(SKEWED_SIZES)
    for weight in weights:
        for shape in ((len(weight), 1), (1, weight.shape[1])):
            weight *= torch.empty(shape).normal_(0, skew, generator=generator).exp()
    return chain_of(weights)


def has_kernels(graph: WalkGraph) -> bool:
    return any(parameter.ndim > 2 for parameter in graph.parameters.values())


def measure_network(network: str, graph: WalkGraph, granularity: Granularity) -> Row:
    has_forks = any(len(links) > 1 for links in (*graph.forward.onward, *graph.backward.onward))
    errors = [
        each
        for fork, power in product(FORKS if has_forks else FORKS[:1], POWERS)
        for each in errors_under(graph, Options(0, fork, granularity, power))
    ]
    plain = [error for error, _ in errors]
    return Row(
        network=network,
        num_weights=graph.num_prunable_weights,
        granularity=granularity,
        num_cases=len(errors),
        mean_error=sum(plain) / len(plain),
        worst_error=max(plain),
        worst_of_allowed=max(error / allowed for error, allowed in errors),
    )


def errors_under(graph: WalkGraph, options: Options) -> Iterator[tuple[float, float]]:
    """Yield, for each density, the error of the forecast and what is allowed for."""
    engine = CpuEngine(graph, options, num_threads=torch.get_num_threads())
    forecast = Forecast(engine)
    visited = Visited.nothing(graph, CPU, packed=False)
    num_walks = 0
    for density in DENSITIES:
        target = density * graph.num_prunable_weights
        if target > 0.98 * sum(forecast.reachable.values()):
            return
        end = forecast.walks_for(target)
        if end > MOST_WALKS:
            return
        with visited.recording() as masks:
            engine.walk(range(num_walks, end), masks, batch_size=MOST_WALKS)
        num_walks = end
        num_visited = visited.count(graph.prunable)
        error = abs(forecast.expected(num_walks) / num_visited - 1)
        yield error, forecast.uncertainty(num_visited)


NOTES = f"""\
- Under all powers of magnitude and rules at forks, at densities {DENSITIES[0]:g} to
  {DENSITIES[-1]:g}, as far as {MOST_WALKS:,} walks reach: the forecast number of visited weights
  beside those that are visited.
- *Allowed* is what `phew.walks.plan` allows for. Where a forecast is further off, walks go through
  the weights once or twice more; masks do not depend on it.
- In perceptrons that are skewed by s, each weight is scaled by e to the power of s times two normal
  numbers, one of its source and one of its target: some units have far more weight than others."""


def tables(rows: Sequence[Row]) -> str:
    header = (
        *("network", "granularity", "weights", "cases", "mean error", "worst error"),
        "worst, of allowed",
    )
    body = [
        (
            row.network,
            row.granularity,
            f"{row.num_weights:,}",
            f"{row.num_cases:,}",
            f"{row.mean_error:.3%}",
            f"{row.worst_error:.3%}",
            significant(row.worst_of_allowed),
        )
        for row in rows
    ]
    total = sum(row.num_cases for row in rows)
    within = max((row.worst_of_allowed for row in rows if row.network not in SKEWED), default=0.0)
    summary = (
        f"{total:,} cases. Of networks with random weights, the worst error is "
        f"{significant(within)} of what is allowed for."
    )
    return "\n\n".join((table(header, body), summary, NOTES))


if __name__ == "__main__":
    Benchmark(__file__, __doc__, measure, tables).main()
