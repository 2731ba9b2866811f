"""The weights that walks have visited: one byte per weight, or one bit.

All prunable weights are numbered in a row (`WalkGraph.first_numbers`). With the parameters `a` of
shape (2, 3) and `b` of shape (2, 2), weight 7 is element 1 of `b`, `b[0, 1]`:

    numbers       0 1 2 3 4 5    6 7 8 9
    bytes         0 0 0 0 0 0    0 1 0 0      one tensor; the masks of `a` and `b` are its parts
    bits          byte 0 of a    byte 0 of b  bit 1 of this byte is weight 7 (see `PackedMasks`)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch

from phew.distributed.ranks import Ranks
from phew.graph.walk_graph import WalkGraph
from phew.masks.packed import PackedMasks, pack, unpack
from phew.walks.bridge import Visits

_AT_ONCE = 2**22
"""Weights that are counted or unpacked at a time, to bound the memory that this takes."""


class Visited(ABC):
    """A set of visited weights, which are given and asked for by number, or as masks."""

    @staticmethod
    def nothing(graph: WalkGraph, device: torch.device, *, packed: bool) -> Visited:
        """Return an empty set: on a device, or packed into one bit per weight on the CPU."""
        if packed:
            shapes = {name: graph.parameters[name].shape for name in graph.prunable}
            return _VisitedBits(graph, PackedMasks(shapes))
        return _VisitedBytes(graph, _zeros(graph.num_prunable_weights, device))

    @staticmethod
    def packed(graph: WalkGraph, masks: PackedMasks) -> Visited:
        """Return the weights that packed masks keep; marking changes these masks."""
        return _VisitedBits(graph, masks)

    @abstractmethod
    def masks_of(self, parameters: Collection[str], *, copied: bool) -> Mapping[str, torch.Tensor]:
        """Return a boolean tensor of the shape of each of some parameters, marked as weights are.

        Unless they are copied, they change where more weights are marked.
        """

    @abstractmethod
    def recording(self) -> AbstractContextManager[Mapping[str, torch.Tensor]]:
        """Give an engine, one at a time, the masks that it marks."""

    @abstractmethod
    def copy(self) -> Visited:
        """Return the same set with masks of its own."""

    @abstractmethod
    def count(self, parameters: Collection[str]) -> int:
        """Return the number of visited weights of some parameters."""

    @abstractmethod
    def merge(self, ranks: Ranks) -> None:
        """Mark the weights that any rank has marked, in one exchange."""

    @abstractmethod
    def are_marked(self, weights: torch.Tensor) -> torch.Tensor:
        """Return a flag for each of some weights: whether it is visited."""

    @abstractmethod
    def mark(self, weights: torch.Tensor) -> None:
        """Mark weights as visited."""

    def first_visits(self, visits: Visits) -> Visits:
        """Return each weight among visits that is not marked, and the first walk that visits it."""
        weights, walks = visits
        is_new = ~self.are_marked(weights)
        walks, order = walks[is_new].sort()
        # A stable sort leaves the first of several visits to a weight the first.
        weights, by_weight = weights[is_new][order].sort(stable=True)
        walks = walks[by_weight]
        is_first = torch.ones_like(weights, dtype=torch.bool)
        torch.ne(weights[1:], weights[:-1], out=is_first[1:])
        return weights[is_first], walks[is_first]


class _VisitedBytes(Visited):
    """One byte per weight, which engines mark in place.

    Args:
        graph: The walk graph.
        flat: A flag for each prunable weight, by its number.
    """

    def __init__(self, graph: WalkGraph, flat: torch.Tensor) -> None:
        self._graph = graph
        self._flat = flat
        shapes = [graph.parameters[name].shape for name in graph.prunable]
        parts = flat.split([shape.numel() for shape in shapes])
        self._masks = {
            name: part.view(shape)
            for name, part, shape in zip(graph.prunable, parts, shapes, strict=True)
        }

    def masks_of(self, parameters: Collection[str], *, copied: bool) -> Mapping[str, torch.Tensor]:
        masks = {name: self._masks[name] for name in parameters}
        return {name: mask.clone() for name, mask in masks.items()} if copied else masks

    def recording(self) -> AbstractContextManager[Mapping[str, torch.Tensor]]:
        return nullcontext(self._masks)

    def copy(self) -> _VisitedBytes:
        return _VisitedBytes(self._graph, self._flat.clone())

    def count(self, parameters: Collection[str]) -> int:
        if len(parameters) == len(self._masks):
            return _count(self._flat)
        return sum(_count(self._masks[name].view(-1)) for name in parameters)

    def merge(self, ranks: Ranks) -> None:
        if self._flat.is_cuda:
            # NCCL has no bitwise operations, so bytes are exchanged.
            ranks.merge_flags(self._flat)
        elif ranks.number > 1:
            bits = pack(self._flat)
            ranks.merge_bits(bits)
            parts = self._flat.split(_AT_ONCE)
            for part, merged in zip(parts, bits.split(_AT_ONCE // 8), strict=True):
                part.copy_(unpack(merged, part.shape))

    def are_marked(self, weights: torch.Tensor) -> torch.Tensor:
        return self._flat[weights]

    def mark(self, weights: torch.Tensor) -> None:
        self._flat[weights] = True


class _VisitedBits(Visited):
    """One bit per weight, on the CPU.

    While an engine marks a parameter, that one alone is unpacked to one byte per weight.

    Args:
        graph: The walk graph.
        masks: What is visited.
    """

    def __init__(self, graph: WalkGraph, masks: PackedMasks) -> None:
        self._graph = graph
        self._masks = masks
        self._names = list(self._masks)
        self._first_numbers = torch.tensor([graph.first_numbers[name] for name in self._names])

    def masks_of(self, parameters: Collection[str], *, copied: bool) -> PackedMasks:
        shapes = {name: self._masks.shapes[name] for name in parameters}
        masks = PackedMasks(shapes, {name: self._masks.packed[name] for name in parameters})
        return masks.copy() if copied else masks

    @contextmanager
    def recording(self) -> Iterator[Mapping[str, torch.Tensor]]:
        masks = _OneUnpacked(self._masks)
        try:
            yield masks
        finally:
            masks.pack()

    def copy(self) -> _VisitedBits:
        return _VisitedBits(self._graph, self._masks.copy())

    def count(self, parameters: Collection[str]) -> int:
        return sum(map(self._masks.num_kept, parameters))

    def merge(self, ranks: Ranks) -> None:
        if ranks.number == 1:
            return
        parts = [self._masks.packed[name] for name in self._names]
        bits = torch.cat(parts)
        ranks.merge_bits(bits)
        for part, merged in zip(parts, bits.split([len(part) for part in parts]), strict=True):
            part.copy_(merged)

    def are_marked(self, weights: torch.Tensor) -> torch.Tensor:
        marked = torch.empty_like(weights, dtype=torch.bool)
        for packed, here, elements in self._by_parameter(weights):
            marked[here] = (packed[elements >> 3] >> (elements & 7) & 1).bool()
        return marked

    def mark(self, weights: torch.Tensor) -> None:
        for packed, _, elements in self._by_parameter(weights):
            bits = torch.ones_like(elements, dtype=torch.uint8) << (elements & 7)
            np.bitwise_or.at(packed.numpy(), (elements >> 3).numpy(), bits.numpy())

    def _by_parameter(
        self, weights: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Yield a parameter's bytes, the places of its weights, and their elements in it."""
        owners = torch.searchsorted(self._first_numbers, weights, right=True) - 1
        order = owners.argsort()
        counts = torch.bincount(owners, minlength=len(self._names)).tolist()
        for number, here in enumerate(order.split(counts)):
            if len(here):
                elements = weights[here] - self._first_numbers[number]
                yield self._masks.packed[self._names[number]], here, elements


class _OneUnpacked(Mapping[str, torch.Tensor]):
    """Packed masks of which the one that was last asked for is unpacked, and may be changed."""

    def __init__(self, masks: PackedMasks) -> None:
        self._masks = masks
        self._name: str | None = None
        self._unpacked = torch.empty(0)

    def __getitem__(self, name: str) -> torch.Tensor:
        if name != self._name:
            self.pack()
            self._unpacked = self._masks[name]
            self._name = name
        return self._unpacked

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    def pack(self) -> None:
        """Pack the mask that is unpacked."""
        if self._name is not None:
            self._masks.packed[self._name].copy_(pack(self._unpacked))
            # It is dropped before another is unpacked, so that there is never more than one.
            self._name, self._unpacked = None, torch.empty(0)


def _count(flags: torch.Tensor) -> int:
    """Count the true ones of flags in a row."""
    if flags.is_cuda:
        # torch takes eight bytes per element while it counts, so parts are counted in turn.
        counts = [part.count_nonzero() for part in flags.split(_AT_ONCE)]
        return int(torch.stack(counts).sum())
    # NumPy counts in one thread; torch's threads would compete with the engine's.
    return int(np.count_nonzero(flags.numpy()))


def _zeros(num_weights: int, device: torch.device) -> torch.Tensor:
    if device.type == "cpu":
        # NumPy asks the system for zeros, which take time and memory only when they are touched.
        return torch.from_numpy(np.zeros(num_weights, dtype=np.bool_))
    return torch.zeros(num_weights, dtype=torch.bool, device=device)
