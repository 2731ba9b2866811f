"""Products of activations, and the factors that a product of products consists of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phew.capture.labels import CONSTANT
from phew.capture.spaces import Needs, Spaces
from phew.capture.wiring import Matrix, distinct_rows

MOST_FACTORS = 2**24
"""A product of products is wired from all factors where these are at most so many labels."""


@dataclass(frozen=True)
class Product:
    """The operands that a product is made of.

    Attention is `softmax(query @ key) @ value`, a product of three operands. The scores of a query
    of zeros are zeros, but their softmax is not: so the query needs key and value, the key needs
    query and value, and the value needs nothing. The product is zero where the value is.

    Attributes:
        operands: Labels by position, a matrix per operand.
        needs: Per operand, those without which it has no effect: {1, 2}, {0, 2} and {}.
        zeros: The operands any of which makes the product zero: {2}.
    """

    operands: list[Matrix]
    needs: Needs
    zeros: frozenset[int]

    @classmethod
    def of(cls, factors: Sequence[Product], biased: Sequence[bool]) -> Product:
        """Multiply factors, of which those that are biased are not zero where nothing feeds them.

        The units of a query with 0 1 and of a key with 4 5 and their product are one of scores.
        """
        operands: list[Matrix] = []
        zeros = []
        for factor, is_biased in zip(factors, biased, strict=True):
            first = len(operands)
            operands += factor.operands
            zeros.append(frozenset({first + number for number in factor.zeros if not is_biased}))
        needs: Needs = []
        for position, factor in enumerate(factors):
            first = len(needs)
            outer = frozenset().union(*zeros[:position], *zeros[position + 1 :])
            needs += [outer.union(first + number for number in inner) for inner in factor.needs]
        return cls(operands, needs, frozenset().union(*zeros))


class Factors:
    """Knows the products that spaces are, with the labels of their operands, a row per unit.

    A score of attention with the unit 8 is the product of a query with the units 0 1 and a key with
    the units 4 5. Multiplied by a value with the unit 7, label 8 is replaced by 0 1 and 4 5, so
    that the output is wired from three operands: (0 1), (4 5) and (7).
    """

    def __init__(self, spaces: Spaces) -> None:
        self._spaces = spaces
        self._products: dict[int, Product] = {}

    def add(self, space: int, product: Product) -> None:
        """Note which product a space is."""
        self._products[space] = product

    def of(self, operand: Matrix) -> Product:
        """Return the product that an operand is, of itself alone if it is none."""
        alone = Product([operand], [frozenset()], frozenset({0}))
        owners = self._spaces.owners_in(operand)
        if len(owners) != 1 or owners[0] not in self._products or (operand < CONSTANT).any():
            return alone
        (space,) = owners
        rows, inverse = distinct_rows(operand)
        units = operand[rows] - self._spaces.start(space)
        expanded = []
        product = self._products[space]
        for factor in product.operands:
            if len(operand) * units.shape[1] * factor.shape[1] > MOST_FACTORS:
                return alone
            labels = np.where((units >= 0)[:, :, np.newaxis], factor[np.maximum(units, 0)], -1)
            expanded.append(labels.reshape(len(rows), -1)[inverse])
        return Product(expanded, product.needs, product.zeros)
