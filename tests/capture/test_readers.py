"""Tests of what reads the units of a space: normalisations, or something that size matters to."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return"
import pytest
import torch
from torch import nn

import phew


def size_matters(model: nn.Module, *example: torch.Tensor) -> set[str]:
    """Return the names of the spaces that weights lead to and whose size matters."""
    graph = phew.capture(model, example)
    spaces = [graph.spaces[link.target] for link in graph.weighted.values()]
    return {space.name for space in spaces if space.size_matters}


def test_batch_norm_behind_a_convolution() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))
    assert size_matters(model, torch.zeros(1, 3, 8, 8)) == set()
    without = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    assert size_matters(without, torch.zeros(1, 3, 8, 8)) == {"0"}


def test_activations_and_pooling_may_stand_between() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(4))
    assert size_matters(model, torch.zeros(1, 3, 8, 8)) == set()


@pytest.mark.parametrize("norm", [nn.LayerNorm(8), nn.RMSNorm(8)])
def test_a_residual_stream_is_read_by_its_sums(norm: nn.Module) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.inner, self.outer = (nn.Linear(8, 8) for _ in range(3))
            self.norm, self.last = norm, nn.LayerNorm(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.embed(x)
            x = x + self.inner(self.norm(x))
            return self.last(self.outer(x))

    assert size_matters(Block(), torch.zeros(2, 8)) == {"inner"}


class WrittenOut(nn.Module):
    """Divides by a norm that is computed step by step."""

    def __init__(self, gated: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 2)
        self.gate = nn.Linear(8, 8) if gated else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
        return self.last(x * self.gate(scale.expand_as(x)))


def test_a_norm_that_is_written_out() -> None:
    assert size_matters(WrittenOut(gated=False), torch.zeros(2, 8)) == set()
    assert size_matters(WrittenOut(gated=True), torch.zeros(2, 8)) == {"first", "gate"}


@pytest.mark.parametrize("combine", ["times", "gated", "over another", "own gate"])
def test_statistics_that_are_no_norms(combine: str) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.other, self.last = (nn.Linear(8, 8) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x, other = self.first(x), self.other(x)
            mean = other.mean(-1, keepdim=True)
            if combine == "times":
                x = x * mean
            elif combine == "gated":
                x = x * mean.sigmoid()
            elif combine == "over another":
                x = x / (1 + mean.abs())
            else:
                x = x * x.mean(-1, keepdim=True).sigmoid() + other
            return self.last(x)

    assert size_matters(Network(), torch.zeros(2, 8)) == {"first", "other"}


def test_a_mean_that_is_subtracted_belongs_to_a_norm() -> None:
    class Standardised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            x = x - x.mean(-1, keepdim=True)
            return self.last(x / (x.std(-1, keepdim=True) + 1e-6))

    assert size_matters(Standardised(), torch.zeros(2, 8)) == set()
    normalised = nn.Sequential(nn.Linear(8, 8), Unit(), nn.Linear(8, 2))
    assert size_matters(normalised, torch.zeros(2, 8)) == set()


class Unit(nn.Module):
    """Brings rows to the length 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(x, dim=-1)


def test_projections_of_which_some_are_normalised() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.packed, self.q_norm, self.k_norm = (
                nn.Linear(8, 24),
                nn.LayerNorm(8),
                nn.LayerNorm(8),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = self.packed(x).chunk(3, -1)
            return nn.functional.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v)

    assert size_matters(Attention(), torch.zeros(1, 3, 8)) == set()


def test_nothing_follows_what_the_model_returns() -> None:
    assert size_matters(nn.Sequential(nn.Linear(4, 3)), torch.zeros(2, 4)) == set()
    probabilities = nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1))
    assert size_matters(probabilities, torch.zeros(2, 4)) == set()


def test_concatenated_features_that_each_layer_normalises() -> None:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
            self.norm, self.last = nn.BatchNorm2d(4), nn.BatchNorm2d(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            return self.last(torch.cat([x, self.second(self.norm(x))], 1))

    assert size_matters(Dense(), torch.zeros(1, 3, 4, 4)) == set()
