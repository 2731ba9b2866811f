"""Means, maxima and other statistics, which a normalisation brings back to what they summarise."""

from __future__ import annotations

import numpy as np

from phew.capture.spaces import Spaces
from phew.capture.wiring import Matrix


class Statistics:
    """Knows which spaces are statistics, and the labels of the units that they summarise.

    In `x - x.mean(1)`, where x has the units 2 3 4, the mean is a space of its own with unit 5,
    which summarises 2 3 4. A join of 5 with all of these leaves it out, so that the difference has
    the units 2 3 4 still, and walks pass through a normalisation unit by unit.
    """

    def __init__(self, spaces: Spaces) -> None:
        self._spaces = spaces
        self._sources: dict[int, Matrix] = {}

    def add(self, space: int, labels: Matrix) -> None:
        """Note that a space summarises the units among labels."""
        sources = self._sources_of(labels)
        if space not in self._spaces.owners_in(sources):
            self._sources[space] = sources

    def sources(self, space: int) -> set[int]:
        """Return the spaces whose units a space summarises, none if it is no statistic."""
        labels = self._sources.get(space)
        return set() if labels is None else set(self._spaces.owners_in(labels))

    def without(self, operands: list[Matrix]) -> list[int]:
        """Return the numbers of the operands but those that summarise units of the others alone."""
        if not self._sources:
            return [*range(len(operands))]
        kept = []
        for number, operand in enumerate(operands):
            own = self._spaces.owners_in(operand)
            if own and all(space in self._sources for space in own):
                others = [
                    part.reshape(-1) for part in (*operands[:number], *operands[number + 1 :])
                ]
                sources = self._sources_of(operand)
                if others and np.isin(sources, np.concatenate(others)).all():
                    continue
            kept.append(number)
        return kept

    def _sources_of(self, labels: Matrix) -> Matrix:
        """Return the labels of units, a statistic's replaced by those that it summarises."""
        plain = labels[labels >= 0]
        summarised = []
        for space in self._spaces.owners_in(labels):
            if space in self._sources:
                first = self._spaces.start(space)
                own = (plain >= first) & (plain < first + self._spaces.num_units(space))
                plain = plain[~own]
                summarised.append(self._sources[space])
        return np.unique(np.concatenate([plain, *summarised]))
