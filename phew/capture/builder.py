"""The walk graph under construction: spaces, links, and the labels of their units."""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from phew.capture.labels import CONSTANT
from phew.capture.wiring import IntArray, Matrix, distinct_rows, groups_of, pairs_in
from phew.graph.links import Groups, Link, Space, WeightedLink, WiringLink

MOST_FACTORS = 2**24
"""A product of products is wired from all factors where these are at most so many labels."""


class GraphBuilder:
    """Collects spaces and links while a model runs.

    Units are numbered through all spaces: unit u of a space has the label `starts[space] + u`.

    A space may hold *copies* of its units, one for each of the alternatives of which an example
    takes one: the hidden units of every expert of a mixture. Labels then name the first copy and
    stand for all of them. What brings copies of equal number together joins the first with the
    first, the second with the second; whatever else reads such a label is fed by all copies.
    """

    def __init__(self) -> None:
        self.spaces: list[Space] = []
        self.links: list[Link] = []
        self._starts: list[int] = []
        self._num_units = 0
        self._num_copies: list[int] = []
        # Per space, a bit set of the spaces that lead to it.
        self._ancestors: list[int] = []
        self._entries: dict[bytes, int] = {}
        self._read: dict[bytes, int] = {}
        self._joined: dict[bytes, int] = {}
        # Of the spaces of products, the labels of the factors by unit.
        self._factors: dict[int, list[Matrix]] = {}
        # Of the spaces that are means, maxima, ... of units, the labels of these.
        self._statistics: dict[int, Matrix] = {}

    def add_space(self, name: str, num_units: int, num_copies: int = 1) -> int:
        """Add a space of so many copies of so many units and return its index."""
        self.spaces.append(Space(name, num_units * num_copies))
        self._starts.append(self._num_units)
        self._num_units += num_units * num_copies
        self._num_copies.append(num_copies)
        self._ancestors.append(0)
        return len(self.spaces) - 1

    def add_link(self, link: Link) -> None:
        """Add a link between two spaces."""
        self.links.append(link)
        self._ancestors[link.target] |= self._ancestors[link.source] | 1 << link.source

    def units(self, space: int) -> torch.Tensor:
        """Return the labels of a space's units, those of the first copy."""
        start = self._starts[space]
        num_units = self.spaces[space].num_units // self._num_copies[space]
        return torch.arange(start, start + num_units, dtype=torch.int32, device="cpu")

    def num_copies(self, labels: torch.Tensor) -> int:
        """Return how many copies every unit among the labels has, 1 if they differ."""
        return self._common_copies([labels.numpy()])

    def read(self, labels: torch.Tensor, name: str, *, num_copies: int = 1) -> int:
        """Return a space with one unit for each row of `labels`, wired from the units in that row.

        Args:
            labels: Labels by position, shape (num_positions, places). Elements of the input become
                an entry; so do constants where nothing else feeds a position.
            name: What reads it.
            num_copies: Number of copies of it.
        """
        key = _digest([labels.numpy()], num_copies)
        if key not in self._read:
            operands = self._with_entries([labels.numpy()], name)
            space = self._existing(operands[0], num_copies)
            if space is None:
                space = self._new_space(operands, f"into {name}", num_copies)
            self._read[key] = space
        return self._read[key]

    def read_statistic(self, labels: torch.Tensor, name: str) -> torch.Tensor:
        """Return the labels of what summarises the units of each row, e.g. their mean."""
        space = self.read(labels, name)
        sources = self._sources_of_statistics(labels.numpy())
        if space not in self._owners_in(sources):
            self._statistics[space] = sources
        return self.units(space)

    def _sources_of_statistics(self, labels: Matrix) -> Matrix:
        """Return the labels of units, with those of what they are statistics of in their place."""
        parts = [labels[labels >= 0]]
        for space in self._owners_in(labels):
            if space in self._statistics:
                first = self._starts[space]
                own = (parts[0] >= first) & (parts[0] < first + self.spaces[space].num_units)
                parts[0] = parts[0][~own]
                parts.append(self._statistics[space])
        return np.unique(np.concatenate(parts))

    def alternatives(self, labels: torch.Tensor, name: str) -> torch.Tensor:
        """Return labels of what is one of the units of each row, it is not known which.

        Args:
            labels: Labels by position, shape (num_positions, number of alternatives).
            name: The name of the space.
        """
        num_alternatives = labels.shape[1]
        by_copy = labels.t().reshape(-1, 1)
        key = _digest([by_copy.numpy()], -num_alternatives)
        if key not in self._read:
            space = self._new_space(self._with_entries([by_copy.numpy()], name), name)
            self._num_copies[space] = num_alternatives
            self._read[key] = space
        return self.units(self._read[key])

    def join(self, operands: Sequence[torch.Tensor], name: str) -> torch.Tensor:
        """Return the labels of what the operands make together, position by position.

        Positions that hold the same units are one unit; where all hold just one unit no new units
        are needed. An operand that is a statistic of another, as in a normalisation, is left out.
        An operand's space that is an ancestor of another operand's is a shortcut.

        Args:
            operands: Labels by position, shapes (num_positions, places).
            name: The name of the space, if a new one is needed.

        Returns:
            Labels, shape (num_positions,).
        """
        return torch.from_numpy(self._join([operand.numpy() for operand in operands], name)[0])

    def multiply(self, operands: Sequence[torch.Tensor], name: str) -> torch.Tensor:
        """Join the factors of a product that is summed over places, as in a matrix product.

        A factor that is such a product itself is replaced by its factors: what a product of three
        leads back to is a fork of three.
        """
        factors = [factor for operand in operands for factor in self._factors_of(operand.numpy())]
        labels, space, first = self._join(factors, name)
        if space is not None:
            self._factors[space] = [factor[first] for factor in factors]
        return torch.from_numpy(labels)

    def _factors_of(self, operand: Matrix) -> list[Matrix]:
        """Return the labels of the factors that an operand consists of, itself if of none."""
        owners = self._owners_in(operand)
        if len(owners) != 1 or owners[0] not in self._factors or (operand < CONSTANT).any():
            return [operand]
        (space,) = owners
        rows, inverse = distinct_rows(operand)
        units = operand[rows] - self._starts[space]
        expanded = []
        for factor in self._factors[space]:
            if len(operand) * units.shape[1] * factor.shape[1] > MOST_FACTORS:
                return [operand]
            labels = np.where((units >= 0)[:, :, np.newaxis], factor[np.maximum(units, 0)], -1)
            expanded.append(labels.reshape(len(rows), -1)[inverse])
        return expanded

    def _join(self, operands: list[Matrix], name: str) -> tuple[Matrix, int | None, IntArray]:
        """Return the joined labels, the new space, and the first position of each of its units."""
        operands = self._without_statistics(operands)
        rows = np.concatenate(operands, axis=1)
        first, inverse = distinct_rows(rows)
        rows = rows[first]
        is_unit = rows >= 0
        fed = is_unit.any(axis=1)
        largest = rows.max(axis=1, initial=-1)
        several = (is_unit & (rows != largest[:, np.newaxis])).any(axis=1)
        several |= fed & (rows < CONSTANT).any(axis=1)
        if not several.any():
            labels = np.where(fed, largest, rows.min(axis=1, initial=-1))
            return labels.astype(np.int32)[inverse], None, first
        first_fed = first[fed]
        operands = [operand[first_fed] for operand in operands]
        key = _digest(operands, 0)
        if key not in self._joined:
            fed_operands = self._with_entries(operands, name)
            num_copies = self._common_copies(operands)
            self._joined[key] = self._new_space(fed_operands, name, num_copies)
        space = self._joined[key]
        labels = rows.min(axis=1, initial=-1)
        labels[fed] = self.units(space).numpy()
        return labels[inverse], space, first_fed

    def _without_statistics(self, operands: list[Matrix]) -> list[Matrix]:
        """Leave out what summarises the other operands and nothing else."""
        kept = []
        for number, operand in enumerate(operands):
            own = self._owners_in(operand)
            if own and all(space in self._statistics for space in own):
                others = [
                    part.reshape(-1) for part in (*operands[:number], *operands[number + 1 :])
                ]
                sources = self._sources_of_statistics(operand)
                if others and np.isin(sources, np.concatenate(others)).all():
                    continue
            kept.append(operand)
        return kept

    def _common_copies(self, operands: list[Matrix]) -> int:
        copies = {self._num_copies[space] for part in operands for space in self._owners_in(part)}
        return copies.pop() if len(copies) == 1 else 1

    def _new_space(self, operands: list[Matrix], name: str, num_copies: int = 1) -> int:
        """Add a space with one unit for each row of the operands, wired from the units there."""
        space = self.add_space(name, len(operands[0]), num_copies)
        wirings = [list(self._wirings(operand, space)) for operand in operands]
        for number, wiring in enumerate(wirings):
            ancestors = 0
            for other in wirings[:number] + wirings[number + 1 :]:
                for link in other:
                    ancestors |= self._ancestors[link.source]
            for link in wiring:
                shortcut = bool(ancestors >> link.source & 1)
                self.add_link(dataclasses.replace(link, shortcut=shortcut))
        return space

    def _with_entries(self, operands: list[Matrix], name: str) -> list[Matrix]:
        """Add the units of entries where rows hold elements of the model's input."""
        rows = np.concatenate(operands, axis=1)
        unfed = (rows == CONSTANT).any(axis=1) & ~((rows >= 0) | (rows < CONSTANT)).any(axis=1)
        return [
            self._with_entry(operand, (operand < CONSTANT).any(axis=1) | unfed, name)
            for operand in operands
        ]

    def _with_entry(self, operand: Matrix, is_entry: npt.NDArray[np.bool_], name: str) -> Matrix:
        if not is_entry.any():
            return operand
        inputs = np.sort(np.minimum(operand[is_entry], -1), axis=1)
        key = _digest([inputs], 0)
        if key not in self._entries:
            self._entries[key] = self.add_space(f"input of {name}", len(inputs))
        units = np.full((len(operand), 1), -1, dtype=np.int32)
        units[is_entry, 0] = self.units(self._entries[key]).numpy()
        return np.concatenate([operand, units], axis=1)

    def _wirings(self, operand: Matrix, target: int) -> Iterator[WiringLink]:
        """Yield the links from the units in each row to the unit of a space that it stands for."""
        first, inverse = distinct_rows(operand)
        labels, rows = pairs_in(operand[first])
        owners = self._owners(labels)
        for source in np.unique(owners):
            here = owners == source
            units, positions = labels[here] - self._starts[source], rows[here]
            num_copies = self._num_copies[source]
            num_units = self.spaces[source].num_units
            side_by_side = num_copies == self._num_copies[target]
            if num_copies > 1 and not side_by_side:
                # Each unit stands for its copies, which lie one behind the other.
                steps = np.arange(num_copies)[:, np.newaxis] * (num_units // num_copies)
                units = (units + steps).reshape(-1)
                positions = np.tile(positions, num_copies)
            elif side_by_side:
                num_units //= num_copies
            for source_groups, row_groups in groups_of(units, positions, num_units, len(first)):
                target_groups = row_groups[inverse]
                if self._num_copies[target] > 1:
                    copies = self._num_copies[target]
                    target_groups = _tiled(target_groups, copies, num_units * side_by_side)
                if side_by_side:
                    source_groups = _tiled(source_groups, num_copies, num_units)
                yield WiringLink(int(source), target, source_groups, target_groups)

    def _existing(self, labels: Matrix, num_copies: int) -> int | None:
        """Return the space whose units are the positions in order, if there is one."""
        units = labels.max(axis=1, initial=-1)
        if not len(units) or units[0] < 0 or ((labels >= 0) & (labels != units[:, None])).any():
            return None
        space = self._owner(int(units[0]))
        same = self._num_copies[space] == num_copies
        return space if same and np.array_equal(units, self.units(space).numpy()) else None

    def _owner(self, label: int) -> int:
        return bisect.bisect_right(self._starts, label) - 1

    def _owners(self, labels: IntArray) -> IntArray:
        return np.searchsorted(self._starts, labels, side="right") - 1

    def _owners_in(self, operand: Matrix) -> list[int]:
        """Return the spaces of the units among labels."""
        labels = operand[operand >= 0]
        if not labels.size:
            return []
        first, last = self._owner(int(labels.min())), self._owner(int(labels.max()))
        if first == last:
            return [first]
        return [int(space) for space in np.unique(self._owners(np.unique(labels)))]

    def add_weights(
        self,
        source: int,
        name: str,
        parameter: str,
        shape: tuple[int, int, int, int],
        strides: tuple[int, int, int, int],
        offset: int,
        *,
        num_uses: float,
        num_copies: int = 1,
    ) -> int:
        """Add a weighted link from a space to a new one and return the new one."""
        target = self.add_space(name, shape[0] * shape[1] // num_copies, num_copies)
        link = WeightedLink(source, target, parameter, *shape, strides, offset, num_uses=num_uses)
        self.add_link(link)
        return target

    def add_entry(self, name: str, num_units: int) -> int:
        """Add an entry of so many units."""
        space = self.add_space(f"input of {name}", num_units)
        self._entries[b"%d" % space] = space
        return space

    def finish(
        self, exits: Sequence[int], wanted: Collection[int]
    ) -> tuple[list[Space], list[Link], list[int], dict[int, int]]:
        """Leave out the spaces without weights that lead nowhere.

        Args:
            exits: The spaces that the model's output reads.
            wanted: Other spaces that are to be kept.

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
            dataclasses.replace(link, source=index[link.source], target=index[link.target])
            for link in self.links
            if link.target in needed
        ]
        entries = [index[space] for space in self._entries.values() if space in needed]
        return [self.spaces[space] for space in sorted(needed)], links, entries, index


def _tiled(groups: Groups, num_copies: int, step: int) -> Groups:
    """Repeat groups for copies that lie one behind the other, `step` more for each."""
    copies = [np.where(groups >= 0, groups + copy * step, -1) for copy in range(num_copies)]
    return np.concatenate(copies).astype(np.int32)


def _digest(matrices: Sequence[Matrix], salt: int) -> bytes:
    digest = hashlib.blake2b(repr((salt, [matrix.shape for matrix in matrices])).encode())
    for matrix in matrices:
        digest.update(np.ascontiguousarray(matrix).data)
    return digest.digest()
