"""Tests of which spaces nothing reads but normalisations."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return"
import pytest
import torch
from torch import nn

import phew


def normalised(model: nn.Module, *example: torch.Tensor) -> set[str]:
    """Return the names of the normalised spaces."""
    graph = phew.capture(model, example)
    return {space.name for space in graph.spaces if space.normalised}


def test_batch_norm_behind_a_convolution() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))
    assert normalised(model, torch.zeros(1, 3, 8, 8)) == {"0"}


def test_activations_and_pooling_may_stand_between() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(4))
    assert normalised(model, torch.zeros(1, 3, 8, 8)) == {"0"}


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

    assert normalised(Block(), torch.zeros(2, 8)) == {"outer"}


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
    assert normalised(WrittenOut(gated=False), torch.zeros(2, 8)) == {"first"}
    assert normalised(WrittenOut(gated=True), torch.zeros(2, 8)) == set()


def test_projections_of_which_some_are_normalised_are_not() -> None:
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

    assert normalised(Attention(), torch.zeros(1, 3, 8)) == set()


def test_what_the_model_returns_is_read() -> None:
    assert normalised(nn.Sequential(nn.Linear(4, 3)), torch.zeros(2, 4)) == set()
    norm = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
    assert normalised(norm, torch.zeros(2, 4)) == {"0"}


def test_concatenated_features_that_each_layer_normalises() -> None:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
            self.norm, self.last = nn.BatchNorm2d(4), nn.BatchNorm2d(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            return self.last(torch.cat([x, self.second(self.norm(x))], 1))

    assert normalised(Dense(), torch.zeros(1, 3, 4, 4)) == {"first", "second"}
