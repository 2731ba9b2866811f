"""The weights of one link at a time."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import phew
from phew.distributed.ranks import ALONE
from phew.graph.weights import data_of
from phew.walks import link_loader
from phew.walks.cpu_engine import CpuEngine
from phew.walks.devices import CPU
from phew.walks.options import Options


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fn])
def test_one_converted_copy_is_in_memory_at_a_time(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    graph = phew.capture(model, torch.zeros(1, 4))
    parameters = {name: weight.detach().to(dtype) for name, weight in graph.parameters.items()}
    copies: list[weakref.ref[torch.Tensor]] = []

    def watched(*arguments: Any) -> torch.Tensor:
        assert all(copy() is None for copy in copies)
        copy = data_of(*arguments)
        copies.append(weakref.ref(copy))
        return copy

    monkeypatch.setattr(link_loader, "data_of", watched)
    load = link_loader.LinkLoader(replace(graph, parameters=parameters), {}, CPU, ALONE)
    for index in (*graph.weighted, *graph.weighted):
        load(index)
    assert len(copies) == 4


def test_weights_that_need_no_conversion_are_not_copied() -> None:
    weight = torch.rand(4, 4)
    model = nn.Linear(4, 4)
    graph = replace(phew.capture(model, torch.zeros(1, 4)), parameters={"weight": weight})
    loaded = link_loader.load_parameter(graph, "weight", CPU, ALONE)
    assert loaded.data_ptr() == weight.data_ptr()


def test_an_engine_keeps_no_copy_between_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = phew.capture(nn.Linear(4, 2), torch.zeros(1, 4))
    parameters = {
        name: weight.detach().to(torch.complex64) for name, weight in graph.parameters.items()
    }
    copies: list[weakref.ref[torch.Tensor]] = []

    def watched(*arguments: Any) -> torch.Tensor:
        copy = data_of(*arguments)
        copies.append(weakref.ref(copy))
        return copy

    monkeypatch.setattr(link_loader, "data_of", watched)
    engine = CpuEngine(replace(graph, parameters=parameters), Options(), num_threads=1)
    flows = [engine.flow(backward=backward) for backward in (False, True)]
    engine.count_rates([*graph.weighted], *flows, share=1.0)
    assert len(copies) == 4
    assert all(copy() is None for copy in copies)
