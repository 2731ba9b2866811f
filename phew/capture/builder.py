"""The walk graph under construction: spaces and links from the labels of activations."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from phew.capture.factors import Factors, Product
from phew.capture.labels import CONSTANT, NO_UNIT
from phew.capture.spaces import Needs, Spaces
from phew.capture.statistics import Statistics
from phew.capture.wired_spaces import add_wired_space
from phew.capture.wiring import IntArray, Matrix, distinct_rows
from phew.graph.links import NOTHING, WeightedLink


class GraphBuilder:
    """Adds spaces and links while a model runs.

    A residual block computes `x + linear(x)`. Its input x has the three units of space 1, which are
    labelled 2 3 4. The layer adds space 2, whose units are labelled 5 6 7, and a weighted link from
    space 1. The sum joins two operands position by position:

        x       linear(x)    row          new unit
        2       5            2 5          8
        3       6            3 6          9
        4       7            4 7          10

    Its three rows are distinct and each holds two units, so they become a space 3 of three units,
    and the sum is labelled 8 9 10. There are two wirings to it, both with the groups 0 1 2 on both
    sides: one from space 2, and one from space 1, which is a shortcut, as space 1 leads to space 2
    too. The same sum computed again finds space 3.

    Attributes:
        spaces: The spaces and links.
    """

    def __init__(self) -> None:
        self.spaces = Spaces()
        self._factors = Factors(self.spaces)
        self._statistics = Statistics(self.spaces)
        # These find the entries of inputs, and the spaces of rows and joins, by digests of labels.
        self._entry_of: dict[bytes, int] = {}
        self._space_of_rows: dict[bytes, int] = {}
        self._space_of_join: dict[bytes, int] = {}

    def find_or_add_space(self, labels: torch.Tensor, name: str, *, num_copies: int = 1) -> int:
        """Return a space with a unit for each row of `labels`, wired from the units in that row.

        It is a new one unless the rows are the units of a space in order, or were asked for before.

        Args:
            labels: Labels by position, shape (num_positions, places). Elements of the input become
                an entry; so do constants where nothing else feeds a position.
            name: The name of the operation that reads them.
            num_copies: Number of copies of its units.

        Returns:
            The index of the space.
        """
        key = _digest([labels.numpy()], num_copies)
        if key not in self._space_of_rows:
            operands = self._with_entries([labels.numpy()], name)
            space = self.spaces.existing(operands[0], num_copies)
            if space is None:
                space = add_wired_space(self.spaces, operands, f"into {name}", num_copies)
            self._space_of_rows[key] = space
        return self._space_of_rows[key]

    def summarise(self, labels: torch.Tensor, name: str) -> torch.Tensor:
        """Return the labels of a statistic of the units of each row, e.g. their mean."""
        space = self.find_or_add_space(labels, name)
        self._statistics.add(space, labels.numpy())
        return self.spaces.units(space)

    def is_statistic(self, labels: torch.Tensor) -> bool:
        """Return whether units among labels are statistics of others."""
        return any(map(self.summarised, self.spaces.owners_of(labels)))

    def summarised(self, space: int) -> set[int]:
        """Return the spaces whose units a space summarises, none if it is no statistic."""
        return self._statistics.sources(space)

    def choose(self, labels: torch.Tensor, name: str) -> torch.Tensor:
        """Return the labels of results that are one of the units of each row, not known which.

        Args:
            labels: Labels by position, shape (num_positions, number of alternatives).
            name: The name of the space.

        Returns:
            Labels, shape (num_positions,), of units with a copy for each alternative.
        """
        num_alternatives = labels.shape[1]
        by_copy = labels.t().reshape(-1, 1)
        key = _digest([by_copy.numpy()], -num_alternatives)
        if key not in self._space_of_rows:
            operands = self._with_entries([by_copy.numpy()], name)
            space = add_wired_space(self.spaces, operands, name)
            self.spaces.divide_into_copies(space, num_alternatives)
            self._space_of_rows[key] = space
        return self.spaces.units(self._space_of_rows[key])

    def join(
        self, operands: Sequence[torch.Tensor], name: str, needs: Needs | None = None
    ) -> torch.Tensor:
        """Return the labels of what the operands make together, position by position.

        Positions that hold the same units are one unit; where all hold just one unit no new units
        are needed. An operand that is a statistic of another, as in a normalisation, is left out.
        An operand's space that is an ancestor of another operand's is a shortcut.

        Args:
            operands: Labels by position, shapes (num_positions, places).
            name: The name of the space, if a new one is needed.
            needs: Per operand, those without which it has no effect; none by default.

        Returns:
            Labels, shape (num_positions,).
        """
        matrices = [operand.numpy() for operand in operands]
        needs = needs or [frozenset()] * len(operands)
        return torch.from_numpy(self._join(matrices, name, needs)[0])

    def multiply(
        self, operands: Sequence[torch.Tensor], name: str, biased: Sequence[bool]
    ) -> torch.Tensor:
        """Join the factors of a product that is summed over places, as in a matrix product.

        A factor that is such a product itself is replaced by its factors: a product of three leads
        back to a fork of three.

        Args:
            operands: As for `join`.
            name: As for `join`.
            biased: Per operand, whether it has values where nothing feeds its units.

        Returns:
            Labels, shape (num_positions,).
        """
        product = Product.of([self._factors.of(part.numpy()) for part in operands], biased)
        labels, space, first = self._join(product.operands, name, product.needs)
        if space is not None:
            of_units = [operand[first] for operand in product.operands]
            self._factors.add(space, Product(of_units, product.needs, product.zeros))
        return torch.from_numpy(labels)

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
        absent: torch.Tensor | None = None,
    ) -> int:
        """Add a weighted link from a space to a new one and return the new one."""
        target = self.spaces.add_space(name, shape[0] * shape[1] // num_copies, num_copies)
        link = WeightedLink(
            source, target, parameter, *shape, strides, offset, num_uses=num_uses, absent=absent
        )
        self.spaces.add_link(link)
        return target

    def _join(
        self, operands: list[Matrix], name: str, needs: Needs
    ) -> tuple[Matrix, int | None, IntArray]:
        """Return the joined labels, the new space, and the first position of each of its units."""
        kept = self._statistics.without(operands)
        operands = [operands[number] for number in kept]
        place = {NOTHING: NOTHING} | {number: index for index, number in enumerate(kept)}
        needs = [
            frozenset(place[other] for other in needs[number] if other in place) for number in kept
        ]
        rows = np.concatenate(operands, axis=1)
        first, inverse = distinct_rows(rows)
        rows = rows[first]
        is_unit = rows >= 0
        fed = is_unit.any(axis=1)
        largest = rows.max(axis=1, initial=NO_UNIT)
        several = (is_unit & (rows != largest[:, np.newaxis])).any(axis=1)
        several |= fed & (rows < CONSTANT).any(axis=1)
        if not several.any():
            labels = np.where(fed, largest, rows.min(axis=1, initial=NO_UNIT))
            return labels.astype(np.int32)[inverse], None, first
        first_fed = first[fed]
        operands = [operand[first_fed] for operand in operands]
        key = _digest(operands, 0)
        if key not in self._space_of_join:
            fed_operands = self._with_entries(operands, name)
            num_copies = self.spaces.common_copies(operands)
            space = add_wired_space(self.spaces, fed_operands, name, num_copies)
            self._space_of_join[key] = space
        space = self._space_of_join[key]
        self.spaces.need(space, needs)
        labels = rows.min(axis=1, initial=NO_UNIT)
        labels[fed] = self.spaces.units(space).numpy()
        return labels[inverse], space, first_fed

    def _with_entries(self, operands: list[Matrix], name: str) -> list[Matrix]:
        """Add the units of entries where rows hold elements of the model's input."""
        rows = np.concatenate(operands, axis=1)
        unfed = (rows == CONSTANT).any(axis=1) & ~((rows >= 0) | (rows < CONSTANT)).any(axis=1)
        return [
            self._with_entry(operand, (operand < CONSTANT).any(axis=1) | unfed, name)
            for operand in operands
        ]

    def _with_entry(self, operand: Matrix, is_entry: npt.NDArray[np.bool_], name: str) -> Matrix:
        """Add a column to an operand: the units of one entry in some rows, no units in others."""
        if not is_entry.any():
            return operand
        inputs = np.sort(np.minimum(operand[is_entry], NO_UNIT), axis=1)
        key = _digest([inputs], 0)
        if key not in self._entry_of:
            self._entry_of[key] = self.spaces.add_entry(name, len(inputs))
        units = np.full((len(operand), 1), NO_UNIT, dtype=np.int32)
        units[is_entry, 0] = self.spaces.units(self._entry_of[key]).numpy()
        return np.concatenate([operand, units], axis=1)


def _digest(matrices: Sequence[Matrix], salt: int) -> bytes:
    digest = hashlib.blake2b(repr((salt, [matrix.shape for matrix in matrices])).encode())
    for matrix in matrices:
        digest.update(np.ascontiguousarray(matrix).data)
    return digest.digest()
