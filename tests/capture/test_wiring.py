"""Capture's wiring is where autograd sees a dependence, link by link and unit by unit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from attention_networks import ATTENTION_NETWORKS
from capture_networks import NETWORKS
from weight_networks import WEIGHT_NETWORKS
from wiring_oracle import assert_wired_like_autograd

import phew
from phew.graph import WiringLink
from phew.graph.reach import unreached_weights

ALL = NETWORKS | ATTENTION_NETWORKS | WEIGHT_NETWORKS


@pytest.mark.filterwarnings("ignore:.*its weights are computed:phew.LeftDenseWarning")
@pytest.mark.parametrize("name", ALL)
def test_wiring_is_where_autograd_sees_a_dependence(name: str) -> None:
    torch.manual_seed(0)
    build, shapes = ALL[name]
    model, inputs = build(), tuple(torch.rand(shape) for shape in shapes)
    graph = phew.capture(model, inputs)
    assert_wired_like_autograd(graph, model, inputs)
    assert graph.notes.approximations == ()
    assert unreached_weights(graph) == {}


def test_the_oracle_tells_a_wrong_wire() -> None:
    build, shapes = ALL["shufflenet"]
    model, inputs = build(), tuple(torch.rand(shape) for shape in shapes)
    graph = phew.capture(model, inputs)
    assert_wired_like_autograd(graph, model, inputs)
    index, link = next(
        (i, link) for i, link in enumerate(graph.links) if isinstance(link, WiringLink)
    )
    wrong = replace(link, source_groups=link.source_groups[::-1].copy())
    links = (*graph.links[:index], wrong, *graph.links[index + 1 :])
    with pytest.raises(AssertionError):
        assert_wired_like_autograd(replace(graph, links=links), model, inputs)
