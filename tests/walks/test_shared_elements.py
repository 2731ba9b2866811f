"""One element of a parameter that is several edges: a visit to any of its edges keeps it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import phew
from phew.analysis import effective_masks
from phew.graph import Space, WalkGraph, WeightedLink
from phew.graph.reach import unreached_weights
from phew.reference import Reference
from phew.walks.options import Granularity


class _SharedFilter(nn.Module):
    """One filter for all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
        self.shared = nn.Parameter(torch.rand(1, 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(
            F.conv2d(self.first(x), self.shared.expand(4, 1, 3, 3), groups=4)
        )
        return result


class _Toeplitz(nn.Module):
    """A matrix whose rows are a vector, shifted: its strides are 1 and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.diagonals, self.last = nn.Parameter(torch.rand(1, 9)), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(F.linear(x, self.diagonals[0].unfold(0, 6, 1)))
        return result


class _Strided(nn.Module):
    """A kernel whose positions overlap from channel to channel."""

    def __init__(self) -> None:
        super().__init__()
        self.taps, self.last = nn.Parameter(torch.rand(1, 12)), nn.Conv1d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(F.conv1d(x, self.taps[0].unfold(0, 6, 2).view(4, 2, 3)))
        return result


class _Inflated(nn.Module):
    """One filter that is expanded along its inputs, and whose other slices are not used."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.last = nn.Parameter(torch.rand(8, 4, 3, 3)), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(F.conv2d(x, self.weight[:, :1].expand(-1, 4, -1, -1)))
        return result


MODELS = {
    "one filter for all channels": (_SharedFilter, (1, 3, 6, 6)),
    "a Toeplitz matrix": (_Toeplitz, (1, 6)),
    "overlapping kernels": (_Strided, (1, 2, 8)),
    "an expanded filter": (_Inflated, (1, 4, 6, 6)),
}

with_models = pytest.mark.parametrize("name", MODELS)


def _graph(name: str) -> WalkGraph:
    torch.manual_seed(0)
    build, shape = MODELS[name]
    return phew.capture(build(), torch.zeros(shape))


@with_models
@pytest.mark.parametrize("granularity", ["weight", "kernel"])
def test_masks_are_those_of_the_reference(name: str, granularity: Granularity) -> None:
    graph = _graph(name)
    assert not all(link.is_injective for link in graph.weighted.values())
    expected = Reference(graph, seed=3, granularity=granularity).sample_masks(0.2)
    masks = phew.sample_masks(graph, density=0.2, seed=3, granularity=granularity)
    assert masks.info["num_walks"] == expected.num_walks
    for parameter, mask in expected.masks.items():
        assert masks[parameter].numpy().tolist() == mask.tolist()


@with_models
def test_all_that_can_be_reached_is_kept_and_effective(name: str) -> None:
    graph = _graph(name)
    unreached = sum(unreached_weights(graph).values())
    masks = phew.sample_masks(graph, density=1 - unreached / graph.num_prunable_weights)
    effective = effective_masks(graph, masks=masks)
    assert sum(int(mask.sum()) for mask in effective.values()) == masks.num_kept
    assert masks.num_kept == graph.num_prunable_weights - unreached


def test_elements_without_an_edge_are_out_of_reach() -> None:
    graph = _graph("an expanded filter")
    assert unreached_weights(graph) == {"weight": 8 * 3 * 9}
    with pytest.raises(ValueError, match=r"no walk takes 216 weights of 'weight'"):
        phew.sample_masks(graph, density=0.5)


def test_as_many_edges_as_elements_need_not_be_all_elements() -> None:
    link = WeightedLink(0, 1, "w", 1, 2, 2, 1, (0, 0, 1, 1))
    weights = {"w": torch.rand(4)}
    graph = WalkGraph((Space("a", 2), Space("b", 2)), (link,), (0,), (1,), weights, ("w",))
    assert unreached_weights(graph) == {"w": 2}
    with pytest.raises(ValueError, match=r"walks reach 50\.0% of the prunable weights"):
        phew.sample_masks(graph, density=1.0)


def test_elements_are_marked_by_any_of_their_edges() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        groups, targets, sources, positions = rng.integers(1, 4, size=4).tolist()
        shape = (groups, targets, sources, positions)
        step, target_step, source_step, position_step = rng.integers(0, 7, size=4).tolist()
        strides = (step, target_step, source_step, position_step)
        offset = int(rng.integers(0, 3))
        link = WeightedLink(0, 1, "w", groups, targets, sources, positions, strides, offset)
        flags = torch.from_numpy(rng.random(shape) < 0.3)
        marked = torch.from_numpy(rng.random(80) < 0.1)
        expected, edges_of = marked.clone(), np.zeros(80, dtype=int)
        for at in np.ndindex(shape):
            element = offset + int(np.dot(at, strides))
            edges_of[element] += 1
            expected[element] |= flags[at]
        assert link.mark_elements(marked, flags).equal(expected)
        # The check of sizes and strides may take a link for an overlapping one that is none.
        assert not link.is_injective or edges_of.max() == 1
