"""Products of activations, and the factors that a product of products consists of."""

from __future__ import annotations

import numpy as np

from phew.capture.labels import CONSTANT
from phew.capture.spaces import Spaces
from phew.capture.wiring import Matrix, distinct_rows

MOST_FACTORS = 2**24
"""A product of products is wired from all factors where these are at most so many labels."""


class Factors:
    """Knows the labels of the factors of each space that is a product.

    A score of attention with the unit 8 is the product of a query with the units 0 1 and a key with
    the units 4 5. Multiplied by a value with the unit 7, label 8 is replaced by 0 1 and 4 5, so
    that the output is wired from three factors: (0 1), (4 5) and (7).
    """

    def __init__(self, spaces: Spaces) -> None:
        self._spaces = spaces
        # The matrices of a space have a row per unit.
        self._factors: dict[int, list[Matrix]] = {}

    def add(self, space: int, factors: list[Matrix]) -> None:
        """Note the labels of the factors of a space's units, a row per unit."""
        self._factors[space] = factors

    def of(self, operand: Matrix) -> list[Matrix]:
        """Return the labels of an operand's factors, the operand alone if it is no product."""
        owners = self._spaces.owners_in(operand)
        if len(owners) != 1 or owners[0] not in self._factors or (operand < CONSTANT).any():
            return [operand]
        (space,) = owners
        rows, inverse = distinct_rows(operand)
        units = operand[rows] - self._spaces.start(space)
        expanded = []
        for factor in self._factors[space]:
            if len(operand) * units.shape[1] * factor.shape[1] > MOST_FACTORS:
                return [operand]
            labels = np.where((units >= 0)[:, :, np.newaxis], factor[np.maximum(units, 0)], -1)
            expanded.append(labels.reshape(len(rows), -1)[inverse])
        return expanded
