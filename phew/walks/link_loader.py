"""The weights of one link at a time, as the engines ask for them.

This is the one place where walks gather sharded weights. All ranks that hold a part of a parameter
must gather it together, so each of them must come to the same gathers in the same order. But an
engine asks only for the links that its own walkers take, which are not the same on all ranks:

    links of sharded weights, in walking order:   0  2  5  7
    rank 0's walkers take the links               0     5
    rank 1's walkers take the links                  2  5  7

So a loader knows the whole order. When the engine of rank 0 asks for link 5, its loader first
gathers link 2, which rank 1 is waiting for, and drops it; after the walks, `finish` gathers link 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain, takewhile
from typing import Literal, TypeAlias

import torch

from phew._core import LinkBuffers
from phew.distributed.ranks import Ranks
from phew.distributed.sharding import is_sharded, own_part, whole
from phew.graph.walk_graph import WalkGraph
from phew.graph.weights import data_of

DType: TypeAlias = Literal["float64", "float32", "float16", "bfloat16"]

DTYPES: dict[torch.dtype, DType] = {
    torch.float64: "float64",
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}


_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""The integers with as many bytes as a weight."""


class LinkLoader:
    """Gives the engine the weights of one link at a time, and where to record its visits.

    Args:
        graph: The walk graph.
        visits: By parameter name, one element per weight, on the engine's device: uint8 or bool to
            mark and to find what is new, int32 to count. Only of prunable parameters; visits to
            others are not recorded.
        device: The engine's device.
        ranks: The processes that load sharded weights together.
        gathers: The sharded links in the order in which every rank must gather them. By default
            the engine asks for all of them, on all ranks alike.
    """

    def __init__(
        self,
        graph: WalkGraph,
        visits: Mapping[str, torch.Tensor],
        device: torch.device,
        ranks: Ranks,
        gathers: Iterable[int] = (),
    ) -> None:
        self._graph = graph
        self._visits = visits
        self._device = device
        self._ranks = ranks
        self._gathers = iter(gathers)
        self._weights: dict[int, torch.Tensor] = {}
        self._copy: torch.Tensor | None = None

    def __call__(self, index: int) -> LinkBuffers:
        """Return the buffers of a weighted link, valid until the next call."""
        parameter = self._graph.weighted[index].parameter
        weights = self._load(index, parameter)
        visits = self._visits.get(parameter)
        has_absent = self._graph.weighted[index].absent is not None
        return LinkBuffers(
            weights.data_ptr(),
            DTYPES[weights.dtype],
            0 if visits is None else visits.data_ptr(),
            self._graph.first_numbers.get(parameter, 0),
            has_absent,
        )

    def _load(self, index: int, name: str) -> torch.Tensor:
        if index in self._weights:
            return self._weights[index]
        # The latest copy is let go of before the next is made, so memory stays at one link.
        self._copy = None
        parameter = self._graph.parameters[name]
        if is_sharded(parameter):
            self.finish(before=index)
        weights = load_parameter(self._graph, name, self._device, self._ranks)
        absent = self._graph.weighted[index].absent
        if absent is not None:
            weights = _with_absent(weights, absent)
        if not is_sharded(parameter) and weights.data_ptr() == parameter.data_ptr():
            # This tensor is the parameter's own memory: keeping it costs nothing.
            self._weights[index] = weights
        else:
            self._copy = weights
        return weights

    def finish(self, before: int | None = None) -> None:
        """Gather, with the other ranks, the links that this rank's walkers skipped.

        At the end of all, the last copy of weights is let go of, too.

        Args:
            before: The link to stop at; None gathers all that are left.
        """
        for index in takewhile(lambda index: index != before, self._gathers):
            parameter = self._graph.weighted[index].parameter
            load_parameter(self._graph, parameter, self._device, self._ranks)
        if before is None:
            self._copy = None


def load_parameter(
    graph: WalkGraph, parameter: str, device: torch.device, ranks: Ranks
) -> torch.Tensor:
    """Return a parameter's data on a device (see `data_of`), all ranks together if it is sharded.

    Raises:
        ValueError: As from `data_of`.
        RuntimeError: If another rank fails.
    """
    sharded = graph.parameters[parameter].detach()
    if not is_sharded(sharded):
        return data_of(graph, parameter, device)
    _check_room_for(sharded)
    with ranks.synchronised():
        gathered = whole(sharded)
    return data_of(graph, parameter, device, gathered)


def _with_absent(weights: torch.Tensor, absent: torch.Tensor) -> torch.Tensor:
    """Return the magnitudes of weights, and -0 for absent edges, by which the engine knows them.

    Bits are changed, because arithmetic may read subnormals as zero.
    """
    dtype = _BITS[weights.element_size()]
    bits = weights.view(dtype) & torch.iinfo(dtype).max
    return bits.masked_fill_(absent.to(bits.device), torch.iinfo(dtype).min).view(weights.dtype)


def any_sharded(graph: WalkGraph) -> bool:
    """Return whether ranks must load some of a graph's weights together."""
    return any(map(is_sharded, graph.parameters.values()))


def gather_order(graph: WalkGraph) -> list[int]:
    """Return the links of sharded weights in the order that one batch of each direction loads them.

    A batch skips links that none of its walkers takes.
    """
    return [
        index
        for index in chain(*graph.forward.onward, *reversed(graph.backward.onward))
        if index in graph.weighted and is_sharded(graph.parameters[graph.weighted[index].parameter])
    ]


def _check_room_for(sharded: torch.Tensor) -> None:
    """Fail before other ranks wait for this one, if there is no room for a gathered tensor.

    On a CUDA device this allocates what gathering takes: the whole tensor, and its parts once more.
    On the CPU an allocation that is not touched nearly always succeeds, so there it finds only a
    tensor that is larger than the limit of the process.
    """
    own_part(sharded).new_empty((2, *sharded.shape))
