"""Analysis where torch makes tensors on another device than the CPU by default."""

from __future__ import annotations

import torch
from torch import nn

import phew
from phew.analysis.expected_visits import edge_probabilities, exact_flow


def test_expected_visits_are_on_the_cpu() -> None:
    torch.manual_seed(0)
    graph = phew.capture(nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 2)), torch.zeros(1, 6))
    with torch.device("meta"):
        flow = exact_flow(graph, backward=False)
        probabilities = edge_probabilities(graph, next(iter(graph.weighted)), flow, backward=False)
    # Each walk passes one edge of the first layer.
    torch.testing.assert_close(float(probabilities.sum()), 1.0)


def test_weights_that_no_walk_reaches_are_counted_on_the_cpu() -> None:
    class FirstHalf(nn.Module):
        """It passes on the first 3 of 6 units."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :3]

    model = nn.Sequential(nn.Linear(8, 6), FirstHalf(), nn.Linear(3, 2))
    graph = phew.capture(model, torch.zeros(1, 8))
    with torch.device("meta"):
        assert phew.inspect(graph).as_dict()["unreached"] == {"0.weight": 24}
