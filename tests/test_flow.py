"""The exact flow against the reference and the engine, and the forecast made from it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

import phew
from graph_walks import passages, reachable_weights
from phew.flow import Flow, edge_probabilities, exact_flow
from phew.forecast import Forecast
from phew.graph import WalkGraph, WeightedLink, WiringLink
from phew.models import lenet5, resnet_cifar
from phew.options import Options
from phew.reference import Reference
from random_graphs import random_graph
from visit_statistics import excess, prunable_links, visit_counts

OPTIONS = [Options(fork=fork, power=power) for fork, power in product(("uniform", "mass"), (1, 0, 2, -1))]  # type: ignore[arg-type]
BOUND = 4.5
"""On the excess of a chi-square statistic, in standard deviations: of 2,000 one is so high once in
150 times."""


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
    "resnet20": (lambda: resnet_cifar(20), (3, 32, 32)),
    "grouped": (grouped_network, (3, 10, 8)),
}


@pytest.fixture(scope="module", params=NETWORKS)
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


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_flow_is_that_of_the_reference(options: Options) -> None:
    for seed, backward in product(range(OPTIONS.index(options), 96, len(OPTIONS)), (False, True)):
        graph = even_random_graph(np.random.default_rng(seed))
        reference = Reference(graph, fork=options.fork, power=options.power)
        expected = passages(reference, backward=backward)
        flow = exact_flow(graph, backward=backward, fork=options.fork, power=options.power)
        for space, units in enumerate(expected.units):
            np.testing.assert_allclose(flow.units[space], units, rtol=1e-6, atol=1e-12)
        for index, weights in expected.weights.items():
            probabilities = weight_probabilities(graph, index, flow, options, backward=backward)
            np.testing.assert_allclose(probabilities, weights, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_flow_ends_where_nothing_leads_on(options: Options) -> None:
    for seed, backward in product(range(OPTIONS.index(options), 96, len(OPTIONS)), (False, True)):
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


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_visits_in_networks_are_as_expected(network_graph: WalkGraph, options: Options) -> None:
    z = excesses(network_graph, options, num_walks=50_000)
    print('Z', options, len(z), min(z), max(z))
    assert max(z) < BOUND


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_visits_in_random_graphs_are_as_expected(options: Options) -> None:
    for seed in range(OPTIONS.index(options), 96, len(OPTIONS)):
        graph = even_random_graph(np.random.default_rng(seed))
        z = excesses(graph, dataclasses.replace(options, seed=seed), num_walks=10_000)
        print('Zr', options, len(z), min(z, default=0.), max(z, default=0.))
        assert max(z, default=0.0) < BOUND, f"graph {seed}"
