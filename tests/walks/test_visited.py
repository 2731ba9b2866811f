"""The visits of walks, one byte or one bit per weight."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import phew
from phew.distributed.ranks import Ranks
from phew.walks.devices import CPU
from phew.walks.visited import Visited


class RankOfTwo(Ranks):
    """One of two ranks, which meets the other by the bits that it is given.

    Attributes:
        exchanged: The bits of each exchange, as they were before it.
    """

    def __init__(self, others: torch.Tensor | None = None) -> None:
        super().__init__()
        self.number = 2
        self.exchanged: list[torch.Tensor] = []
        self._others = others

    def merge_bits(self, bits: torch.Tensor) -> None:
        self.exchanged.append(bits.clone())
        if self._others is not None:
            bits |= self._others


@pytest.mark.parametrize("packed", [False, True])
def test_visits_of_ranks_are_merged_in_one_exchange(packed: bool) -> None:
    # Masks of 15, 9 and 3 weights: none of them fills its bytes.
    layers = nn.Linear(5, 3), nn.Linear(3, 3), nn.Linear(3, 1)
    graph = phew.capture(nn.Sequential(*layers), torch.zeros(1, 5))
    visits = torch.tensor([0, 3, 14, 16]), torch.tensor([3, 7, 15, 26])
    first, second = (Visited.nothing(graph, CPU, packed=packed) for _ in visits)
    first.mark(visits[0])
    second.mark(visits[1])
    rank = RankOfTwo()
    first.merge(rank)
    (bits,) = rank.exchanged
    other = RankOfTwo(bits)
    second.merge(other)
    assert len(other.exchanged) == 1
    marked = torch.cat(
        [mask.flatten() for mask in second.masks_of(graph.prunable, copied=False).values()]
    )
    assert marked.nonzero().flatten().tolist() == [0, 3, 7, 14, 15, 16, 26]
    assert second.count(graph.prunable) == 7
