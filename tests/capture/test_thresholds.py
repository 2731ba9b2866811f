"""Units pass through comparisons, flags and integers, but not where these choose elements."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return, no-untyped-call, attr-defined"
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import phew
from phew.graph import WeightedLink

pytestmark = pytest.mark.filterwarnings("ignore::phew.LeftDenseWarning")


class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, potential: Tensor) -> Tensor:
        return (potential > 0).float()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class SpikingNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(10, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        first = second = torch.zeros(1)
        for _ in range(3):
            first = 0.9 * first + self.first(x)
            spikes = Spike.apply(first - 1)
            first = first * (1 - spikes)
            second = 0.9 * second + self.second(spikes)
        return second


def test_every_layer_of_a_spiking_network_is_on_paths() -> None:
    graph = phew.capture(SpikingNetwork(), torch.rand(1, 10))
    assert all(units.all() for units in graph.live)
    masks = phew.sample_masks(graph, density=0.2)
    assert all(mask.any() for mask in masks.values())
    assert set(masks) == {"first.weight", "second.weight"}


class Between(nn.Module):
    """A function of what two layers return, and a layer behind it."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.other = nn.Linear(4, 6), nn.Linear(4, 6)
        self.last = nn.Linear(6, 2)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x), self.other(x)))


def num_live(function: Callable[[Tensor, Tensor], Tensor]) -> list[int]:
    """Return how many units of the first and of the other layer are on paths."""
    graph = phew.capture(Between(function), torch.rand(3, 4))
    assert graph.notes.approximations == ()
    by_name = {link.parameter: link for link in graph.links if isinstance(link, WeightedLink)}
    return [
        int(graph.live[by_name[name].target].sum()) if name in by_name else 0
        for name in ("first.weight", "other.weight")
    ]


def by_flags(x: Tensor, _: Tensor) -> Tensor:
    spikes = torch.zeros_like(x)
    spikes[x > 0] = 1
    return spikes


ALONE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "comparison": lambda x, _: (x > 0).float(),
    "negation": lambda x, _: (~(x > 0)).float(),
    "where": lambda x, _: torch.where(x > 0, 1.0, 0.0),
    "sign": lambda x, _: x.sign().int().float(),
    "rounding": lambda x, _: torch.round(x * 8).clamp(-128, 127).to(torch.int8).float() / 8,
    "floor division": lambda x, _: x // 0.1,
    "quantisation": lambda x, _: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8).dequantize(),
    "fake quantisation": lambda x, _: torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -128, 127),
    "buckets": lambda x, _: torch.bucketize(x, torch.tensor([0.0, 1.0])).float(),
    "drawing": lambda x, _: torch.bernoulli(x.sigmoid()),
    "drawing in place": lambda x, _: torch.empty_like(x).bernoulli_(x.sigmoid()),
    "step": lambda x, _: torch.heaviside(x, torch.tensor(0.0)),
    "largest": lambda x, _: (x == x.amax(1, keepdim=True)).float(),
    "written by flags": by_flags,
    "filled by flags": lambda x, _: torch.zeros_like(x).masked_fill_(x > 0, 1.0),
}
TOGETHER: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "where": lambda x, y: torch.where(x > 0, y, 0.0),
    "gate": lambda x, y: y * (x > 0),
    "same sign": lambda x, y: (x.sign() == y.sign()).float(),
    "logical": lambda x, y: ((x > 0) & (y > 0) | (x > 1)).float(),
    "bits": lambda x, y: ((x > 0).int() << 1 | (y > 0).int()).float(),
    "any": lambda x, y: (x > 0).any(1, keepdim=True).float() * y,
    "fill": lambda x, y: y.masked_fill(x < 0, 0.0),
    "count": lambda x, y: (x > 0).sum(1, keepdim=True) * y,
}


@pytest.mark.parametrize("name", ALONE)
def test_units_pass_through_thresholds(name: str) -> None:
    assert num_live(ALONE[name]) == [6, 0]


@pytest.mark.parametrize("name", TOGETHER)
def test_flags_join_what_they_meet(name: str) -> None:
    assert num_live(TOGETHER[name]) == [6, 6]


CHOICES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "largest": lambda x, y: y[x.argmax(0)],
    "best": lambda x, y: y.gather(0, x.topk(2, 0).indices),
    "by flags": lambda x, y: y[(x > 0).long()[:, 0]],
    "one-hot": lambda x, y: F.one_hot(x.argmax(1), 6) * y,
    "place of the largest": lambda x, y: x.max(1, keepdim=True).indices * y,
}


@pytest.mark.parametrize("name", CHOICES)
def test_units_do_not_pass_where_elements_are_chosen(name: str) -> None:
    assert num_live(CHOICES[name]) == [0, 6]


def test_padding_masks_of_token_ids_hold_no_units() -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.mix = nn.Embedding(9, 4), nn.Linear(4, 4)

        def forward(self, ids: Tensor) -> Tensor:
            mask = (ids != 0).float()
            hidden = self.mix(self.embed(ids)) * mask.unsqueeze(-1)
            return hidden.sum(1) / mask.sum(1, keepdim=True)

    graph = phew.capture(Padded(), torch.tensor([[1, 2, 0]]))
    assert [space.num_units for space in graph.spaces] == [4, 4]
    assert [type(link) for link in graph.links] == [WeightedLink]


def test_padding_masks_of_raw_features_hold_no_units() -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 6)
            self.mix = nn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            padding = (x == 0).all(-1)
            hidden = self.first(x) * (~padding).float().unsqueeze(-1)
            mixed, _ = self.mix(hidden, hidden, hidden, key_padding_mask=padding)
            return mixed.sum(1) / (~padding).sum(1, keepdim=True)

    graph = phew.capture(Padded(), torch.rand(2, 3, 4))
    assert [graph.spaces[space].num_units for space in graph.entries] == [4]
    assert graph.notes.approximations == ()


def test_flags_that_a_model_returns_are_an_exit() -> None:
    class Decide(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) > 0

    graph = phew.capture(Decide(4, 3), torch.rand(1, 4))
    assert [graph.spaces[space].num_units for space in graph.exits] == [3]
