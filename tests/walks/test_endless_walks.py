"""Walks that would take days, or would never end, are an error that says why."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from random_graphs import random_graph
from torch import nn
from torch.nn import functional as F

import phew
from phew.graph import Space, WalkGraph, WeightedLink
from phew.walks.cpu_engine import CpuEngine
from phew.walks.forecast import Forecast
from phew.walks.options import Options
from phew.walks.sampler import Sampler
from phew.walks.targets import Target, check_time


class FirstFilter(nn.Module):
    """All channels share the first of four filters."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(4, 1, 3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight[:1].expand(4, 1, 3, 3), groups=4)


class FirstChannel(nn.Module):
    """All channels share the filters of the first one, as where a network for grey images grows."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(8, 4, 3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight[:, :1].expand(-1, 4, -1, -1))


def one_link(weight: torch.Tensor, strides: tuple[int, int, int, int]) -> WalkGraph:
    """A link from 2 units to 2 units that views a parameter by these strides."""
    return WalkGraph(
        spaces=(Space("input", 2), Space("output", 2)),
        links=(WeightedLink(0, 1, "weight", 1, 2, 2, 1, strides),),
        entries=(0,),
        exits=(1,),
        parameters={"weight": weight},
        prunable=("weight",),
    )


@pytest.mark.parametrize(("model", "missing"), [(FirstFilter(), 27), (FirstChannel(), 216)])
def test_views_with_as_many_edges_as_elements_may_not_cover_them(
    model: nn.Module, missing: int
) -> None:
    graph = phew.capture(model, torch.rand(1, 4, 6, 6))
    message = rf"^density 0.5 is out of reach: walks reach 25.0% .* takes {missing} weights"
    with pytest.raises(ValueError, match=message):
        phew.sample_masks(graph, density=0.5)
    assert phew.sample_masks(graph, density=0.25).density == 0.25


@pytest.mark.parametrize("strides", [(0, 0, 1, 1), (0, 1, 0, 1), (0, 1, 1, 1)])
def test_reach_is_of_elements_and_not_of_edges(strides: tuple[int, int, int, int]) -> None:
    num_reached = 1 + strides[1] + strides[2]
    graph = one_link(torch.rand(4), strides)
    assert Forecast(CpuEngine(graph, Options(), num_threads=1)).reachable == {"weight": num_reached}
    with pytest.raises(ValueError, match=r"^density 1\.0 is out of reach"):
        phew.sample_masks(graph, density=1.0)
    masks = phew.sample_masks(graph, density=num_reached / 4)
    assert masks["weight"].tolist() == [True] * num_reached + [False] * (4 - num_reached)


def with_one_tiny_weight(size: int, tiny: float) -> WalkGraph:
    torch.manual_seed(0)
    model = nn.Linear(size, size, bias=False)
    with torch.no_grad():
        model.weight.uniform_(0.5, 1)
        # The sample of every second segment of 16 columns lacks it, and that of every fourth.
        model.weight[1, 1] = tiny
    return phew.capture(model, torch.zeros(1, size))


def test_a_tiny_weight_that_a_sample_lacks_is_found_before_days_are_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("phew.walks.forecast.SAMPLE_SIZE", 1)
    graph = with_one_tiny_weight(200, 1e-14)
    sampler = Sampler(graph, Options(), num_threads=1)
    target = sampler.target(1.0)
    message = r"^density 1 takes some \d+e\+\d+ walks, about [\d,]+ days of walking: a few weights"
    with pytest.raises(ValueError, match=message):
        list(sampler.run([target]))
    assert phew.sample_masks(graph, density=(200**2 - 1) / 200**2).num_kept == 200**2 - 1


def test_a_small_weight_that_a_sample_lacks_only_takes_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = with_one_tiny_weight(200, 1e-3)
    expected = phew.sample_masks(graph, density=1.0)
    monkeypatch.setattr("phew.walks.forecast.SAMPLE_SIZE", 1)
    assert phew.sample_masks(graph, density=1.0) == expected


def test_time_is_the_limit_and_not_a_number_of_walks() -> None:
    graph = with_one_tiny_weight(64, 1e-9)
    engine = CpuEngine(graph, Options(), num_threads=1)
    forecast = Forecast(engine)
    target = Target(graph.num_prunable_weights, graph.prunable)
    assert forecast.hops_per_walk == pytest.approx(1)
    assert forecast.walks_for(target.num_weights) > 2**34
    check_time(target, engine, forecast)
    engine.hops_per_second = 1e5
    days = forecast.walks_for(target.num_weights) / 1e5 / 86_400
    with pytest.raises(ValueError, match=rf"about {days:,.0f} days of walking"):
        check_time(target, engine, forecast)


def test_walks_that_find_too_few_weights_for_long_are_given_up() -> None:
    torch.manual_seed(0)
    graph = phew.capture(nn.Linear(20, 20, bias=False), torch.zeros(1, 20))
    weight = graph.parameters["weight"].data
    weight[:] = 1
    weight[:2, :2] = 0.5
    sampler = Sampler(graph, Options(), num_threads=1)
    target = sampler.target(1.0)
    # No unit has another mass than was measured, but two weights can no longer be visited.
    weight[:2, :2] = torch.eye(2)
    message = (
        r"^[\d,]+ walks have visited 398 weights, but [\d,]+ should have visited 400\. Weights"
    )
    with pytest.raises(RuntimeError, match=message):
        list(sampler.run([target]))


def test_walks_of_any_graph_end_long_before_they_are_given_up() -> None:
    for seed in range(60):
        graph = random_graph(np.random.default_rng(seed))
        forecast = Forecast(CpuEngine(graph, Options(), num_threads=1))
        target = sum(forecast.reachable.values())
        if target and forecast.walks_for(target) < 10**6:
            (sample,) = Sampler(graph, Options(), num_threads=1).run(
                [Target(target, graph.prunable)]
            )
            assert sample.num_walks < forecast.most_walks_for(target)
