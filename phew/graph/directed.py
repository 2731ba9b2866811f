"""A walk graph as walks of one direction see it.

Forward walks go from the source of a link to its target, backward walks from the target to the
source. Code for both directions speaks of *near* and *far*: the side of a link that walks come
from, and the side that they go to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from phew.graph.links import Link, Space, Units


@dataclass(frozen=True, eq=False)
class DirectedGraph:
    """The spaces and links of a graph in the order in which walks of one direction meet them.

    With three spaces in a row and the links 0 (space 0 to 1) and 1 (space 1 to 2), the forward
    graph has the order 0 1 2 and the links onward (0,) (1,) (); the backward graph has the order
    2 1 0 and the links onward () (0,) (1,), by space.

    Attributes:
        spaces: The spaces of the graph.
        links: The links of the graph.
        starts: Indices of the spaces that walks start in: the entries, or the exits backward.
        backward: Whether walks go from the targets of links to their sources.
    """

    spaces: tuple[Space, ...]
    links: tuple[Link, ...]
    starts: tuple[int, ...]
    backward: bool

    @property
    def order(self) -> Sequence[int]:
        """The indices of the spaces; each comes after all spaces that walks reach it from."""
        indices = range(len(self.spaces))
        return indices[::-1] if self.backward else indices

    def near(self, index: int) -> int:
        """Return the space that walks leave by a link."""
        link = self.links[index]
        return link.target if self.backward else link.source

    def far(self, index: int) -> int:
        """Return the space that a link leads walks to."""
        link = self.links[index]
        return link.source if self.backward else link.target

    @cached_property
    def onward(self) -> tuple[tuple[int, ...], ...]:
        """Per space, the indices of the links by which walks leave it."""
        table: list[list[int]] = [[] for _ in self.spaces]
        for index in range(len(self.links)):
            table[self.near(index)].append(index)
        return tuple(map(tuple, table))

    def reach(self, index: int, near_units: Units) -> Units:
        """Return the far units of a link that have an edge from one of `near_units`."""
        return self.links[index].reach(near_units, backward=self.backward)

    def leading_to(self, index: int, far_units: Units) -> Units:
        """Return the near units of a link that have an edge to one of `far_units`."""
        return self.links[index].reach(far_units, backward=not self.backward)

    def no_units(self) -> list[Units]:
        """Return a flag per unit of each space, all false."""
        return [np.zeros(space.num_units, dtype=np.bool_) for space in self.spaces]

    def connected(self) -> list[Units]:
        """Return per space the units to which any path leads from a start."""
        connected = self.no_units()
        for space in self.starts:
            connected[space][:] = True
        for space in self.order:
            for index in self.onward[space]:
                connected[self.far(index)] |= self.reach(index, connected[space])
        return connected
