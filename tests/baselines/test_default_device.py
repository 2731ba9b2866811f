"""Baselines where torch makes tensors on another device than the CPU by default."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import nn

import phew
from phew import baselines


@pytest.fixture
def meta_by_default() -> Iterator[None]:
    device = torch.get_default_device()
    torch.set_default_device("meta")
    yield
    torch.set_default_device(device)


def network() -> nn.Module:
    with torch.device("cpu"):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4))


def loss(model: nn.Module) -> torch.Tensor:
    squares: torch.Tensor = model(torch.ones(2, 16, device="cpu")).square()
    return squares.sum()


METHODS = {
    "random": baselines.random,
    "random by layer": partial(baselines.random, scope="layer"),
    "erk": baselines.erk,
    "magnitude": baselines.magnitude,
    "synflow": baselines.synflow,
    "synflow_l2": baselines.synflow_l2,
    "snip": partial(baselines.snip, loss=loss),
    "grasp": partial(baselines.grasp, loss=loss),
    "ablation": partial(baselines.ablation, variant="squared"),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_default_device_does_not_matter(
    method: Callable[..., phew.Masks], request: pytest.FixtureRequest
) -> None:
    model, image = network(), torch.zeros(1, 16)
    expected = method(model, image, density=0.3)
    request.getfixturevalue("meta_by_default")
    assert method(model, image, density=0.3) == expected


def test_comparison_runs_on_the_weights_device(meta_by_default: None) -> None:
    image = torch.zeros(1, 16, device="cpu")
    methods = {"random": baselines.random, "ERK": baselines.erk}
    comparison = phew.analysis.compare(network(), image, methods=methods, densities=[0.5])
    assert [row.analysis.total.num_kept for row in comparison.rows] == [120, 120]
