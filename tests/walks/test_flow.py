"""The exact flow against the reference and the engine, and the forecast made from it."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return"
import dataclasses
from collections import Counter
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from graph_walks import passages, reachable_weights
from random_graphs import random_graph
from small_networks import COLOUR_IMAGE, lenet5, resnet20
from torch import nn
from visit_statistics import excess, prunable_links, visit_counts
from walk_options import OPTIONS_BY_WEIGHT, graph_seeds, with_options, with_options_by_weight

import phew
import phew._core as _core
from phew.analysis.expected_visits import Flow, edge_probabilities, exact_flow
from phew.graph import Space, WalkGraph, WeightedLink, WiringLink
from phew.reference import Reference
from phew.walks.cpu_engine import CpuEngine
from phew.walks.forecast import Forecast
from phew.walks.options import Options

BOUND = 4.0
"""The largest excess of a chi-square statistic, in standard deviations.

Walks start from all units in turn, so visits may be more even than chance, and only an excess tells
of a fault."""


def grouped_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 12, (3, 1)),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, groups=12),
        nn.Conv2d(12, 24, 1, groups=3),
        nn.ReLU(),
        nn.ConvTranspose2d(24, 8, 2, groups=4),
        nn.Flatten(),
        nn.Linear(8 * 7 * 7, 10),
    )


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "lenet5": (lenet5, (1, 28, 28)),
    "resnet20": (resnet20, (3, 32, 32)),
    "grouped": (grouped_network, (3, 10, 8)),
}


@pytest.fixture(
    scope="module",
    params=["lenet5", "grouped", pytest.param("resnet20", marks=pytest.mark.slow)],
)
def network_graph(request: pytest.FixtureRequest) -> WalkGraph:
    build, input_shape = NETWORKS[request.param]
    torch.manual_seed(0)
    return phew.capture(build(), torch.zeros(1, *input_shape))


def even_random_graph(rng: np.random.Generator) -> WalkGraph:
    """A random graph whose nonzero weights are within a factor of a hundred.

    So rounding, which the flow leaves out, changes no mass by more than a millionth.
    """
    graph = random_graph(rng)
    parameters = {
        name: (
            torch.from_numpy(rng.uniform(0.1, 1, parameter.shape) * rng.uniform(0.1, 1))
            * (parameter != 0)
        ).to(parameter.dtype)
        for name, parameter in graph.parameters.items()
    }
    return dataclasses.replace(graph, parameters=parameters)


def weight_probabilities(
    graph: WalkGraph, index: int, flow: Flow, options: Options, *, backward: bool
) -> np.ndarray:
    """Return the probability that a walk uses each element of a link's parameter."""
    link = graph.links[index]
    assert isinstance(link, WeightedLink)
    result = torch.zeros(graph.parameters[link.parameter].numel(), dtype=torch.float64)
    link.view(result).copy_(
        edge_probabilities(graph, index, flow, backward=backward, power=options.power)
    )
    return result.numpy()


def excesses(graph: WalkGraph, options: Options, num_walks: int) -> list[float]:
    """Return the excess of the engine's visits over the flow, per link and direction."""
    result = []
    for backward, counts in enumerate(visit_counts(graph, 2 * num_walks, options)):
        flow = exact_flow(graph, backward=bool(backward), fork=options.fork, power=options.power)
        for index in prunable_links(graph):
            probabilities = weight_probabilities(
                graph, index, flow, options, backward=bool(backward)
            )
            result.append(excess(counts[index], probabilities, num_walks))
    return result


@with_options_by_weight
def test_flow_is_that_of_the_reference(options: Options) -> None:
    for seed, backward in product(graph_seeds(options, 96, OPTIONS_BY_WEIGHT), (False, True)):
        graph = even_random_graph(np.random.default_rng(seed))
        reference = Reference(graph, fork=options.fork, power=options.power)
        expected = passages(reference, backward=backward)
        flow = exact_flow(graph, backward=backward, fork=options.fork, power=options.power)
        for space, units in enumerate(expected.units):
            np.testing.assert_allclose(flow.units[space], units, rtol=1e-6, atol=1e-12)
        for index, weights in expected.weights.items():
            probabilities = weight_probabilities(graph, index, flow, options, backward=backward)
            np.testing.assert_allclose(probabilities, weights, rtol=1e-6, atol=1e-12)


@with_options_by_weight
def test_flow_ends_where_nothing_leads_on(options: Options) -> None:
    for seed, backward in product(graph_seeds(options, 96, OPTIONS_BY_WEIGHT), (False, True)):
        graph = random_graph(np.random.default_rng(seed))
        reference = Reference(graph, fork=options.fork, power=options.power)
        flow = exact_flow(graph, backward=backward, fork=options.fork, power=options.power)
        ends = sum(
            float(flow.units[space][unit])
            for space in range(len(graph.spaces))
            for unit in range(graph.spaces[space].num_units)
            if not reference.eligible(space, unit, backward=backward)
        )
        assert ends == pytest.approx(1, abs=1e-9)


@with_options_by_weight
def test_visits_in_networks_are_as_expected(network_graph: WalkGraph, options: Options) -> None:
    z = excesses(network_graph, options, num_walks=50_000)
    assert max(z) < BOUND


@with_options_by_weight
def test_visits_in_random_graphs_are_as_expected(options: Options) -> None:
    for seed in graph_seeds(options, 96, OPTIONS_BY_WEIGHT):
        graph = even_random_graph(np.random.default_rng(seed))
        z = excesses(graph, dataclasses.replace(options, seed=seed), num_walks=10_000)
        assert max(z, default=0.0) < BOUND, f"graph {seed}"


def num_visited(graph: WalkGraph, num_walks: int, options: Options) -> int:
    visited = {
        name: torch.zeros(graph.parameters[name].shape, dtype=torch.bool) for name in graph.prunable
    }
    engine = CpuEngine(graph, options, num_threads=2)
    engine.walk(range(num_walks), visited, batch_size=num_walks)
    return sum(int(mask.count_nonzero()) for mask in visited.values())


def forecast_of(graph: WalkGraph, options: Options) -> Forecast:
    return Forecast(CpuEngine(graph, options, num_threads=2))


def scatter(graph: WalkGraph, num_weights: float, options: Options) -> float:
    """Return the standard deviation of a number of visited weights, were visits independent.

    Of kernels, it is that of as many visits as there are kernels of the largest size.
    """
    sizes = [link.num_positions for link in prunable_links(graph).values()]
    return (num_weights * (max(sizes) if options.granularity == "kernel" else 1)) ** 0.5


@with_options
def test_forecast_is_of_what_is_visited(network_graph: WalkGraph, options: Options) -> None:
    forecast = forecast_of(network_graph, options)
    for num_walks in (200, 2_000, 20_000):
        visited = num_visited(network_graph, num_walks, options)
        gap = abs(visited - forecast.expected(num_walks))
        assert gap < 0.001 * visited + 2 * scatter(network_graph, visited, options), num_walks


def test_uncertainty_is_of_weights_or_of_kernels_visited_by_walks() -> None:
    layers = nn.Conv2d(2, 5, 3), nn.Flatten(), nn.Linear(5, 18)
    graph = phew.capture(nn.Sequential(*layers), torch.zeros(1, 2, 3, 3))
    weights = forecast_of(graph, Options())
    assert weights.uncertainty(9_000_000) == pytest.approx(0.001 + 3 / 3_000)
    # Half of the weights are in kernels of nine and half are alone: five together, on average.
    kernels = forecast_of(graph, Options(granularity="kernel"))
    assert kernels.uncertainty(5 * 9_000_000) == pytest.approx(0.001 + 3 / 3_000)


def test_forecast_counts_weights_once_that_several_links_share() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(32, 32)
    graph = phew.capture(nn.Sequential(*[layer] * 6, nn.Linear(32, 64)), torch.zeros(1, 32))
    forecast = forecast_of(graph, Options())
    for num_walks in (50, 200, 1_000, 5_000):
        visited = num_visited(graph, num_walks, Options())
        assert forecast.expected(num_walks) == pytest.approx(visited, rel=0.03)


def test_number_of_walks_is_the_inverse_of_the_forecast(network_graph: WalkGraph) -> None:
    forecast = forecast_of(network_graph, Options())
    for density in (0.01, 0.1, 0.5, 0.9, 0.98):
        num_weights = density * network_graph.num_prunable_weights
        num_walks = forecast.walks_for(num_weights)
        assert forecast.expected(0.999 * num_walks - 1) < num_weights
        assert forecast.expected(1.001 * num_walks + 1) > num_weights


def test_forecast_from_a_sample_of_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = phew.capture(resnet20(), COLOUR_IMAGE)
    whole = forecast_of(graph, Options())
    monkeypatch.setattr("phew.walks.forecast.SAMPLE_SIZE", 2**14)
    sample = forecast_of(graph, Options())
    for num_walks in (200, 2_000, 20_000):
        assert sample.expected(num_walks) == pytest.approx(whole.expected(num_walks), rel=0.002)


@with_options
def test_reachable_is_what_some_walk_visits(options: Options) -> None:
    for seed in graph_seeds(options, 320):
        graph = random_graph(np.random.default_rng(seed))
        visits = reachable_weights(Reference(graph, **vars(options)))
        expected = Counter(visit.parameter for visit in visits)
        reachable = forecast_of(graph, options).reachable
        assert reachable == {name: expected[name] for name in graph.prunable}, f"graph {seed}"


def test_edge_probabilities_are_of_weighted_links() -> None:
    groups = np.zeros(2, dtype=np.int32)
    graph = WalkGraph(
        spaces=(Space("input", 2), Space("output", 2)),
        links=(WiringLink(0, 1, groups, groups),),
        entries=(0,),
        exits=(1,),
        parameters={},
        prunable=(),
    )
    flow = exact_flow(graph, backward=False)
    with pytest.raises(
        TypeError, match=r"index must be that of a weighted link, got 0, a wiring link\."
    ):
        edge_probabilities(graph, 0, flow, backward=False)


def test_a_forecast_asks_each_flow_for_its_links_a_few_times_at_any_depth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    num_asked = 0
    links = _core.Flow.links

    def ask(flow: _core.Flow) -> list[np.ndarray]:
        nonlocal num_asked
        num_asked += 1
        return links.__get__(flow)

    monkeypatch.setattr(_core.Flow, "links", property(ask))
    layers = [nn.Linear(4, 4) for _ in range(40)]
    graph = phew.capture(nn.Sequential(*layers), torch.zeros(1, 4))
    Forecast(CpuEngine(graph, Options(), num_threads=1))
    # Each time makes arrays of all links.
    assert 0 < num_asked < 10
