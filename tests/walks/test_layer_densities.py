"""Layers with densities of their own: the rule, and what its arguments select."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from equality import assert_same_elements
from random_graphs import random_graph
from small_networks import IMAGE, lenet5
from torch import nn
from walk_engines import EngineOn
from walk_options import graph_seeds, with_options

import phew
from phew.graph import WalkGraph
from phew.reference import Reference
from phew.walks.options import Options
from phew.walks.sampler import Sampler

NUM_GRAPHS = 80


def layer_densities_within_reach(
    rng: np.random.Generator, graph: WalkGraph, reference: Reference
) -> dict[str, float]:
    """Draw a density that 60 walks are enough for, or 1, for some parameters but not for all."""
    visited = {visit for walk in range(60) for visit in reference.walk(walk)}
    densities = {}
    for name in graph.prunable[1:]:
        num_visited = sum(visit.parameter == name for visit in visited)
        if rng.random() < 0.2:
            densities[name] = 1.0
        elif num_visited and rng.random() < 0.6:
            target = int(rng.integers(1, num_visited, endpoint=True))
            densities[name] = target / graph.parameters[name].numel()
    return densities


def densities_of_the_rest(
    rng: np.random.Generator, graph: WalkGraph, reference: Reference, others: dict[str, float]
) -> list[float]:
    """Draw up to three densities that 60 walks are enough for."""
    rest = [name for name in graph.prunable if name not in others]
    visited = {visit for walk in range(60) for visit in reference.walk(walk)}
    num_visited = sum(visit.parameter in rest for visit in visited)
    num_weights = sum(graph.parameters[name].numel() for name in rest)
    if num_visited == 0:
        return []
    targets = rng.integers(1, num_visited, size=3, endpoint=True).tolist()
    return [target / num_weights for target in targets]


@pytest.mark.filterwarnings("ignore::phew.CollapseWarning")
@with_options
def test_each_share_stops_at_the_walk_that_the_reference_stops_at(
    options: Options, engine: EngineOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phew.walks.plan.LANDING_SIZE", 2**10)
    num_cases = 0
    for number in graph_seeds(options, NUM_GRAPHS):
        rng = np.random.default_rng(number)
        graph = random_graph(rng)
        seeded = replace(options, seed=int(rng.integers(2**64, dtype=np.uint64)))
        reference = Reference(graph, **vars(seeded))
        others = layer_densities_within_reach(rng, graph, reference)
        densities = densities_of_the_rest(rng, graph, reference, others)
        if not others or not densities:
            continue
        num_cases += 1
        sampled = phew.sample_masks(
            engine.put(graph), densities=densities, layer_densities=others, **vars(seeded)
        )
        for density, masks in zip(densities, sampled, strict=True):
            expected = reference.sample_masks(density, others)
            assert masks.num_walks == expected.num_walks, number
            assert_same_elements(masks, expected.masks, f"graph {number}")
    assert num_cases > 0


def names_kept(masks: phew.Masks) -> Iterator[tuple[str, float]]:
    for name, mask in masks.items():
        yield name, round(float(mask.double().mean()), 3)


def test_the_first_pattern_counts_and_the_others_follow_density() -> None:
    masks = phew.sample_masks(
        lenet5(),
        IMAGE,
        density=0.1,
        layer_densities={"fc3": 1, "fc*": 0.3, "conv1.weight": 0.5},
    )
    kept = dict(names_kept(masks))
    assert kept["fc3.weight"] == 1
    assert kept["conv1.weight"] == pytest.approx(0.5, abs=0.01)
    together = [masks[name].flatten() for name in ("fc1.weight", "fc2.weight")]
    assert float(torch.cat(together).double().mean()) == pytest.approx(0.3, abs=0.001)
    assert kept["conv2.weight"] == pytest.approx(0.1, abs=0.001)
    assert masks.info["density"] == 0.1
    assert masks.info["layer_densities"] == ('{"fc3": 1.0, "fc*": 0.3, "conv1.weight": 0.5}')


def test_a_share_of_the_same_density_stops_elsewhere_than_the_whole_network() -> None:
    graph = phew.capture(lenet5(), IMAGE)
    together = phew.sample_masks(graph, density=0.1)
    assert float(together["fc3.weight"].double().mean()) > 0.3
    apart = phew.sample_masks(graph, density=0.1, layer_densities={"fc3": 0.1})
    assert int(apart["fc3.weight"].sum()) == pytest.approx(84, abs=1)


def test_shares_that_stop_at_about_the_same_walk_are_met_in_few_passes() -> None:
    torch.manual_seed(0)
    graph = phew.capture(nn.Sequential(*[nn.Linear(64, 64) for _ in range(12)]), torch.zeros(1, 64))
    together = phew.sample_masks(graph, density=0.3)
    sampler = Sampler(graph, Options(), num_threads=2)
    before = sampler.num_passes
    targets = [
        sampler.target(int(mask.sum()) / mask.numel(), (name,)) for name, mask in together.items()
    ]
    samples = list(sampler.run(targets))
    assert len(samples) == len(targets)
    for sample in samples:
        (name,) = sample.visited
        assert sample.visited[name].equal(together[name])
    assert sampler.num_passes - before <= 2 * 4


def test_a_layer_that_is_kept_whole_needs_no_walk_to_each_weight() -> None:
    first, last = nn.Linear(8, 8, bias=False), nn.Linear(8, 4, bias=False)
    model = nn.Sequential(first, last)
    with torch.no_grad():
        last.weight[0, 0] = 0  # walks take no weights of zero beside others
    masks = phew.prune(model, torch.zeros(1, 8), density=0.2, layer_densities={"1": 1.0})
    assert masks["1.weight"].all()
    message = r"^layer_densities\['1'\] 0\.99 is out of reach: walks reach 96\.9% of the prunable"
    with pytest.raises(ValueError, match=message):
        phew.sample_masks(model, torch.zeros(1, 8), density=0.2, layer_densities={"1": 0.99})


class WithEmptyHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.empty = nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(8, 0)

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.body(inputs)
        return self.head(hidden), self.empty(hidden)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_share_of_parameters_without_weights_needs_no_walks() -> None:
    densities = {"empty": 0.5, "head": 0.5}
    masks = phew.sample_masks(
        WithEmptyHead(), torch.zeros(1, 8), density=0.25, layer_densities=densities
    )
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {
        "body.weight": 16,
        "head.weight": 16,
        "empty.weight": 0,
    }
    with pytest.raises(ValueError, match="layer_densities must leave parameters to density"):
        phew.sample_masks(
            WithEmptyHead(), torch.zeros(1, 8), density=0.5, layer_densities={"body": 1, "head": 1}
        )


def test_tied_weights_go_by_any_of_their_names() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2))
    model[2].weight = model.get_parameter("1.weight")
    masks = phew.sample_masks(model, torch.zeros(1, 8), density=0.2, layer_densities={"2": 0.75})
    assert int(masks["1.weight"].sum()) == 48


@pytest.mark.parametrize(
    ("layer_densities", "error", "message"),
    [
        ([0.1], TypeError, "layer_densities must map names of parameters or modules, or patterns"),
        ({nn.Linear: 0.1}, TypeError, "layer_densities must map names of parameters or modules"),
        ({"0": 2}, ValueError, r"layer_densities\['0'\] must be in \(0, 1\], got 2\."),
        ({"0": "x"}, TypeError, r"layer_densities\['0'\] must be a number in \(0, 1\], got 'x'\."),
        ({"head": 0.1}, ValueError, "layer_densities must match prunable parameters, got 'head', "),
        (
            {"0.*": 0.1, "0.weight": 1},
            ValueError,
            r"layer_densities\['0.weight'\] must come before patterns that select the same",
        ),
        ({"*": 0.1}, ValueError, "layer_densities must leave parameters to density, got patterns"),
        ({"0": 1e-9}, ValueError, r"layer_densities\['0'\] must keep at least one of 64 weights"),
    ],
)
def test_layer_densities_that_cannot_be(layer_densities: Any, error: Any, message: str) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    with pytest.raises(error, match=f"^{message}"):
        phew.prune(model, torch.zeros(1, 8), density=0.5, layer_densities=layer_densities)
    assert not phew.is_pruned(model)
