"""Channel graphs as other engines take them: layers of units in compressed sparse rows."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from phew.graph import WalkGraph, WeightedLink
from phew.graph.weights import weights_of

Units = npt.NDArray[np.int64]
Masses = npt.NDArray[np.float32]

NUM_CHECKED_SOURCES = 256
NUM_CHECKED_GROUPS = 20
MAX_DEVIATIONS = 6.0


class Hops(NamedTuple):
    """The hops of walks.

    Attributes:
        sources: The unit that each hop along an edge leaves.
        targets: The unit that it enters.
        num_strays: The number of hops along no edge.
    """

    sources: Units
    targets: Units
    num_strays: int


@dataclass(frozen=True)
class LayeredGraph:
    """Edges from every unit of a layer to every unit of the next.

    Units are numbered through all layers, and edges by the units they leave: layers of 2, 3 and 1
    units are units 0 1, 2 3 4 and 5, and the edges of unit 0 lead to 2 3 4.

    Attributes:
        sizes: The number of units of each layer.
        data: The mass of each edge.
    """

    sizes: tuple[int, ...]
    data: Masses

    @classmethod
    def of(cls, graph: WalkGraph) -> LayeredGraph:
        """Sum each kernel's magnitudes, for a chain of channels without groups."""
        links = [link for link in graph.links if isinstance(link, WeightedLink)]
        sizes = (*(link.sources_per_group for link in links), links[-1].targets_per_group)
        layered = cls(sizes, np.empty(_num_edges(sizes), dtype=np.float32))
        for masses, link in zip(layered.layers, links, strict=True):
            weights = weights_of(graph, link)[0]
            masses[:] = weights.abs().sum(-1).numpy().T
        return layered

    @property
    def num_layers(self) -> int:
        """The number of layers of edges, which is the number of hops of a walk."""
        return len(self.sizes) - 1

    @property
    def num_units(self) -> int:
        return sum(self.sizes)

    @property
    def layers(self) -> list[Masses]:
        """The masses of each layer's edges, sources x targets, as views of `data`."""
        shapes = list(itertools.pairwise(self.sizes))
        ends = np.cumsum([sources * targets for sources, targets in shapes])
        parts = np.split(self.data, ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    @cached_property
    def firsts(self) -> Units:
        """The first unit of each layer, and the number of units."""
        return np.cumsum([0, *self.sizes])

    @property
    def rows(self) -> Units:
        """The first edge of each unit, and the number of edges."""
        num_edges = np.repeat([*self.sizes[1:], 0], self.sizes)
        return np.concatenate([[0], np.cumsum(num_edges)])

    def sources(self, dtype: npt.DTypeLike) -> npt.NDArray[np.integer]:
        """The unit that each edge leaves."""
        return np.repeat(np.arange(self.num_units, dtype=dtype), np.diff(self.rows))

    def targets(self, dtype: npt.DTypeLike) -> npt.NDArray[np.integer]:
        """The unit that each edge enters."""
        targets = np.empty(self.data.size, dtype=dtype)
        start = 0
        for (num_sources, num_targets), first in zip(
            itertools.pairwise(self.sizes), self.firsts[1:], strict=False
        ):
            layer = targets[start : start + num_sources * num_targets]
            layer.reshape(num_sources, num_targets)[:] = np.arange(first, first + num_targets)
            start += layer.size
        return targets

    def starts(self, num_walks: int) -> Units:
        """Start walks on the units of the first layer in turn, as PHEW does."""
        return np.arange(num_walks) % self.sizes[0]

    def hops(self, paths: Units) -> Hops:
        """Take walks apart into their hops over edges.

        Args:
            paths: The units of one walk per row, and -1 after its end.
        """
        sources, targets = paths[:, :-1].ravel(), paths[:, 1:].ravel()
        # Moves from the last layer do not count, because some engines cannot end walks there.
        leave = (targets >= 0) & (sources < self.firsts[-2])
        sources, targets = sources[leave], targets[leave]
        layers = np.searchsorted(self.firsts, sources, side="right") - 1
        follow = (targets >= self.firsts[layers + 1]) & (targets < self.firsts[layers + 2])
        return Hops(sources[follow], targets[follow], int(np.count_nonzero(~follow)))

    def follow_weights(self, hops: Hops) -> bool:
        """Tell whether hops choose the first layer's edges in proportion to the masses."""
        masses = self.layers[0][:NUM_CHECKED_SOURCES].astype(np.float64)
        num_sources, num_targets = masses.shape
        checked = hops.sources < num_sources
        edges = hops.sources[checked] * num_targets + hops.targets[checked] - self.sizes[0]
        visits = np.bincount(edges, minlength=masses.size).reshape(masses.shape)
        expected = masses / masses.sum(axis=1, keepdims=True) * visits.sum(axis=1, keepdims=True)
        return agree(visits, expected)


def agree(visits: npt.NDArray[np.integer], expected: npt.NDArray[np.float64]) -> bool:
    """Tell whether visits to edges are as expected, in groups from the least likely to the most."""
    order = np.argsort(expected, axis=None)
    for edges in np.array_split(order, NUM_CHECKED_GROUPS):
        mean = expected.flat[edges].sum()
        if abs(visits.flat[edges].sum() - mean) > MAX_DEVIATIONS * max(1.0, mean) ** 0.5:
            return False
    return True


def _num_edges(sizes: tuple[int, ...]) -> int:
    return sum(sources * targets for sources, targets in itertools.pairwise(sizes))
