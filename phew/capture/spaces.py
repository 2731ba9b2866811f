"""The spaces and links under construction, and which space owns a label."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
import torch

from phew.capture.by_tensor import ByTensor
from phew.capture.labels import compact
from phew.capture.wiring import IntArray, Matrix
from phew.graph.links import Groups, Link, Space, WeightedLink

Needs = list[frozenset[int]]
"""Per operand that units are made of, the numbers of the operands without which it is nothing."""


class Spaces:
    """Numbers the units of all spaces in one row; activations are labelled with these numbers.

    Spaces of 2, 3 and 3 units have the labels 0 1, 2 3 4 and 5 6 7. The space of a label is the
    last one that starts at or before it: starts 0 2 5, so label 4 is unit 2 of space 1.

    A space may hold *copies* of its units, one for each of the alternatives of which an example
    takes one: the hidden units of every expert of a mixture. Copies lie one behind the other, and
    labels name the first copy and stand for all. Two copies of 3 units have the labels 0 to 5, of
    which activations hold 0 1 2.

    Attributes:
        links: The links between the spaces.
        entries: The indices of the spaces that the model's input feeds.
        known_groups: The groups of links, by a digest of the units that they join. All steps of a
            recurrence share theirs.
    """

    def __init__(self) -> None:
        self._spaces: list[Space] = []
        self.links: list[Link] = []
        self.entries: list[int] = []
        self.known_groups: dict[bytes, list[tuple[Groups, Groups]]] = {}
        self._starts: list[int] = []
        self._num_labels = 0
        # Tensors that share labels, as before and after an activation, are asked for theirs often.
        self._owners_of = ByTensor[frozenset[int]]()
        self._num_copies: list[int] = []
        self._biased: set[int] = set()
        # Per space, the operands that each of its operands needs (see `WiringLink.needs`).
        self._needs: dict[int, Needs] = {}
        # A number per space, whose bit b is set where space b leads to it.
        self._ancestors: list[int] = []

    def add_space(self, name: str, num_units: int, num_copies: int = 1) -> int:
        """Add a space of `num_copies` copies of `num_units` units and return its index."""
        self._spaces.append(Space(name, num_units * num_copies))
        self._starts.append(self._num_labels)
        self._num_labels += num_units * num_copies
        self._num_copies.append(num_copies)
        self._ancestors.append(0)
        return len(self._spaces) - 1

    def add_entry(self, name: str, num_units: int) -> int:
        """Add an entry that something of this name reads, and return its index."""
        space = self.add_space(f"input of {name}", num_units)
        self.entries.append(space)
        return space

    def add_link(self, link: Link) -> None:
        """Add a link between two spaces."""
        self.links.append(link)
        self._ancestors[link.target] |= self._ancestors[link.source] | 1 << link.source

    def set_biased_sources(self, first_link: int) -> None:
        """Note that the weights of new links read units with values that nothing feeds."""
        for link in self.links[first_link:]:
            if isinstance(link, WeightedLink):
                self._biased.add(link.source)

    def need(self, space: int, needs: Needs) -> None:
        """Note which operands each operand of a space needs, here and wherever else it is joined.

        The sum of two operands finds the space of their product, and needs neither.
        """
        before = self._needs.get(space, needs)
        self._needs[space] = [
            both.intersection(others) for both, others in zip(before, needs, strict=True)
        ]

    def start(self, space: int) -> int:
        """Return the label of a space's first unit."""
        return self._starts[space]

    def num_units(self, space: int) -> int:
        """Return the number of a space's units, all copies counted."""
        return self._spaces[space].num_units

    def num_copies(self, space: int) -> int:
        """Return how many copies of its units a space holds."""
        return self._num_copies[space]

    def divide_into_copies(self, space: int, num_copies: int) -> None:
        """Declare that a space consists of equal parts, which are copies of the first."""
        self._num_copies[space] = num_copies

    def ancestors(self, space: int) -> int:
        """Return the spaces that lead to a space, as a bit set."""
        return self._ancestors[space]

    def units(self, space: int) -> torch.Tensor:
        """Return the labels of a space's units, those of the first copy."""
        start = self._starts[space]
        num_units = self.num_units(space) // self._num_copies[space]
        return torch.arange(start, start + num_units, dtype=torch.int32, device="cpu")

    def owner(self, label: int) -> int:
        """Return the space of a label."""
        return bisect.bisect_right(self._starts, label) - 1

    def owners(self, labels: IntArray) -> IntArray:
        """Return the space of each label."""
        if labels.size:
            first, last = self.owner(int(labels.min())), self.owner(int(labels.max()))
            if first == last:
                return np.full(labels.shape, first)
        return np.searchsorted(self._starts, labels, side="right") - 1

    def owners_in(self, labels: Matrix) -> list[int]:
        """Return the distinct spaces of the units among labels, in order."""
        units = labels[labels >= 0]
        if not units.size:
            return []
        first, last = self.owner(int(units.min())), self.owner(int(units.max()))
        if first == last:
            return [first]
        return [int(space) for space in np.unique(self.owners(np.unique(units)))]

    def owners_of(self, labels: torch.Tensor) -> frozenset[int]:
        """Return the spaces of the units among the labels of an activation."""
        owners = self._owners_of.get(labels)
        if owners is None:
            owners = self._owners_of[labels] = frozenset(self.owners_in(compact(labels).numpy()))
        return owners

    def common_copies(self, operands: Sequence[Matrix]) -> int:
        """Return how many copies every unit among the labels has, 1 if they differ."""
        copies = {self._num_copies[space] for part in operands for space in self.owners_in(part)}
        return copies.pop() if len(copies) == 1 else 1

    def existing(self, labels: Matrix, num_copies: int) -> int | None:
        """Return the space whose units are the rows of `labels` in order, None if there is none."""
        units = labels.max(axis=1, initial=-1)
        if not len(units) or units[0] < 0 or ((labels >= 0) & (labels != units[:, None])).any():
            return None
        space = self.owner(int(units[0]))
        same = self._num_copies[space] == num_copies
        return space if same and np.array_equal(units, self.units(space).numpy()) else None

    def finish(
        self, exits: Sequence[int], wanted: Collection[int], size_matters: Collection[int]
    ) -> tuple[list[Space], list[Link], list[int], dict[int, int]]:
        """Leave out the spaces without weights that lead nowhere.

        Args:
            exits: The spaces that the model's output reads.
            wanted: Other spaces that are to be kept.
            size_matters: The spaces whose size matters (see `phew.capture.readers`).

        Returns:
            The spaces, the links, the entries, and the new index of each old space.
        """
        needed = {*exits, *wanted}
        for link in sorted(self.links, key=lambda link: -link.target):
            if isinstance(link, WeightedLink):
                needed.add(link.target)
            if link.target in needed:
                needed.add(link.source)
        index = {space: number for number, space in enumerate(sorted(needed))}
        links = [
            dataclasses.replace(
                self._with_needs(link), source=index[link.source], target=index[link.target]
            )
            for link in self.links
            if link.target in needed
        ]
        entries = [index[space] for space in self.entries if space in needed]
        spaces = [
            dataclasses.replace(
                self._spaces[space],
                biased=space in self._biased,
                size_matters=space in size_matters,
            )
            for space in sorted(needed)
        ]
        return spaces, links, entries, index

    def _with_needs(self, link: Link) -> Link:
        if isinstance(link, WeightedLink) or link.target not in self._needs:
            return link
        needs = self._needs[link.target][link.factor]
        return dataclasses.replace(link, needs=tuple(sorted(needs)))
