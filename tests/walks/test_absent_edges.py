"""Links of which some edges are absent: as walks and analysis see them, and as engines are told."""

from __future__ import annotations

# mypy: disable-error-code="operator"
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from saved_networks import save
from torch import nn
from walk_engines import EngineOn
from walk_options import with_options

import phew
from phew import analysis
from phew.distributed.ranks import ALONE
from phew.graph import Space, WalkGraph, WeightedLink
from phew.graph.digests import digest_of_graph
from phew.graph.reach import absent_weights, unreached_weights
from phew.walks.devices import CPU
from phew.walks.forecast import Forecast
from phew.walks.link_loader import LinkLoader
from phew.walks.options import Options


def convolutions(absent: torch.Tensor | None) -> WalkGraph:
    """Two convolutions of 3 to 3 to 2 units, with kernels of two weights; the first lacks edges."""
    generator = torch.Generator().manual_seed(1)
    strides = (0, 6, 2, 1)
    return WalkGraph(
        spaces=(Space("input", 3), Space("hidden", 3), Space("output", 2)),
        links=(
            WeightedLink(0, 1, "first", 1, 3, 3, 2, strides, absent=absent),
            WeightedLink(1, 2, "second", 1, 2, 3, 2, strides),
        ),
        entries=(0,),
        exits=(2,),
        parameters={
            "first": torch.rand(3, 3, 2, generator=generator),
            "second": torch.rand(2, 3, 2, generator=generator),
        },
        prunable=("first", "second"),
    )


def some_absent() -> torch.Tensor:
    """Source 0 leads nowhere and nothing to target 1; the kernel from 2 to 2 lacks a weight."""
    absent = torch.zeros(3, 3, 2, dtype=torch.bool)
    absent[:, 0] = absent[1] = True
    absent[2, 2, 0] = True
    return absent


def test_units_without_edges_are_not_live() -> None:
    graph = convolutions(some_absent())
    assert [live.tolist() for live in graph.live] == [
        [False, True, True],
        [True, False, True],
        [True, True],
    ]
    assert unreached_weights(graph) == {"first": 11, "second": 4}
    absent = absent_weights(graph)
    assert absent.keys() == {"first"}
    assert absent["first"].equal(some_absent())


@with_options
def test_walks_keep_all_edges_that_are_on_a_path_and_no_others(
    options: Options, engine: EngineOn
) -> None:
    graph = convolutions(some_absent())
    sampler = engine.sampler(graph, options, batch_size=None)
    (sample,) = sampler.run([sampler.target(15 / 30)])
    assert sample.visited["first"].cpu().equal(~some_absent())
    on_path = torch.ones(2, 3, 2, dtype=torch.bool)
    on_path[:, 1] = False
    assert sample.visited["second"].cpu().equal(on_path)


def test_analysis_counts_edges_alone() -> None:
    graph = convolutions(some_absent())
    masks = {name: torch.ones_like(weight).bool() for name, weight in graph.parameters.items()}
    # Seven edges lead to the units 0 and 2, each of which has four that lead on.
    assert analysis.num_paths(graph) == analysis.num_paths(graph, masks=masks) == 7 * 4
    effective = analysis.effective_masks(graph, masks=masks)
    assert effective["first"].equal(~some_absent())
    first, second = analysis.analyze(graph, masks=masks).layers
    assert (first.num_kept, first.num_effective, second.num_effective) == (18, 7, 8)
    assert (first.num_active_units, first.num_effective_units) == (2, 2)
    weights = graph.parameters["first"].double().square() * ~some_absent()
    into = weights.sum(dim=(1, 2))
    onward = graph.parameters["second"].double().square().sum(dim=(0, 2))
    edges = (~some_absent()).sum(dim=(1, 2))
    expected = float((edges * onward).sum() + (into * 4)[[0, 2]].sum())
    assert analysis.path_kernel_trace(graph) == pytest.approx(expected)


def test_a_parameter_whose_weights_all_are_absent_is_no_dead_layer() -> None:
    graph = convolutions(torch.ones(3, 3, 2, dtype=torch.bool))
    masks = {"first": torch.ones(3, 3, 2, dtype=torch.bool)}
    assert analysis.analyze(graph, masks=masks).dead_layers == ()
    with pytest.raises(ValueError, match="model must have a path from its input to its output"):
        phew.sample_masks(graph, density=0.1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_engine_is_given_minus_zero_for_absent_edges(dtype: torch.dtype) -> None:
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    weights = torch.tensor([-0.0, -smallest, 2.0, torch.nan], dtype=dtype).view(2, 2)
    graph = WalkGraph(
        spaces=(Space("input", 2), Space("output", 2)),
        links=(
            WeightedLink(
                *(0, 1, "weight", 1, 2, 2, 1, (0, 2, 1, 1)),
                absent=torch.tensor([[False, False], [True, True]]),
            ),
        ),
        entries=(0,),
        exits=(1,),
        parameters={"weight": weights},
        prunable=("weight",),
    )
    load = LinkLoader(graph, {}, CPU, ALONE)
    load(0)
    assert load._copy is not None
    given = load._copy.flatten()
    assert given.tolist() == [0, float(smallest), 0, 0]
    assert given.signbit().tolist() == [False, False, True, True]
    assert weights.flatten()[:3].tolist() == [0, -float(smallest), 2]


def test_a_forecast_counts_a_weight_once_whichever_links_it_is_an_edge_of() -> None:
    absent = torch.zeros(3, 3, 2, dtype=torch.bool)
    absent[:, :, 0] = True
    graph = convolutions(absent)
    other = replace(graph.weighted[0], absent=~absent)
    graph = replace(graph, links=(*graph.links, other))
    assert absent_weights(graph)["first"].any().item() is False
    engine = EngineOn("cpu")(graph, Options())
    assert Forecast(engine).expected(1e9) == pytest.approx(30)


def test_digests_tell_absent_edges() -> None:
    graphs = [convolutions(some_absent()), convolutions(some_absent().flip(0)), convolutions(None)]
    assert len({digest_of_graph(graph) for graph in graphs}) == 3
    assert digest_of_graph(convolutions(some_absent())) == digest_of_graph(graphs[0])


@pytest.mark.parametrize("absent", [torch.zeros(3, 3, 2), torch.zeros(18, dtype=torch.bool)])
def test_absent_must_be_flags_of_the_parameters_shape(absent: torch.Tensor) -> None:
    with pytest.raises(
        ValueError,
        match=r"absent of links\[0\] must be a bool tensor of the shape of 'first', \(3, 3, 2\), "
        r"got torch\.(float32 of the shape \(3, 3, 2\)|bool of the shape \(18,\))\.",
    ):
        convolutions(absent)


def test_the_masks_of_a_checkpoint_are_those_of_the_masked_model(tmp_path: Path) -> None:
    class Masked(nn.Linear):
        def __init__(self, num_sources: int, num_targets: int) -> None:
            super().__init__(num_sources, num_targets)
            self.register_buffer("mask", (torch.rand(num_targets, num_sources) < 0.5).float())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(x, self.weight * self.mask, self.bias)

    torch.manual_seed(0)
    model = nn.Sequential(Masked(16, 32), nn.ReLU(), Masked(32, 4))
    folder = save(model, tmp_path / "model", num_shards=1)
    with torch.device("meta"):
        on_meta = nn.Sequential(Masked(16, 32), nn.ReLU(), Masked(32, 4))
    inputs = torch.zeros(1, 16)
    found = phew.prune_checkpoint(on_meta, folder, inputs, density=0.2, out=tmp_path / "out")
    assert found == phew.sample_masks(model, inputs, density=0.2)
    assert not any((found[f"{i}.weight"] & (model[i].mask == 0)).any() for i in (0, 2))
