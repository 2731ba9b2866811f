"""Turn "these units feed these positions" into the groups that wiring links are made of."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from phew.graph.links import Groups

Matrix = npt.NDArray[np.int32]
"""Labels by position: one row per position, with all its labels; negative ones are no units."""

IntArray = npt.NDArray[np.int64]

_BLOCK_SIZE = 2**20


def distinct_rows(rows: Matrix) -> tuple[IntArray, IntArray]:
    """Return where each distinct row stands first, and for each row which of those it equals.

    The rows (5 6) (7 8) (5 6) give 0 1 and 0 1 0.
    """
    if rows.size == 0:
        return np.zeros(min(len(rows), 1), np.int64), np.zeros(len(rows), np.int64)
    # Sorting one number per row, a random combination of its labels, is much faster than sorting
    # rows. Should two rows have the same number by chance, the rows themselves are sorted.
    coefficients = _coefficients(rows.shape[1])
    num_rows = max(1, _BLOCK_SIZE // rows.shape[1])
    blocks = (rows[start : start + num_rows] for start in range(0, len(rows), num_rows))
    hashes = np.concatenate([block.astype(np.uint64) @ coefficients for block in blocks])
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    if not np.array_equal(rows[first][inverse], rows):
        _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse.reshape(-1)]


@lru_cache(maxsize=16)
def _coefficients(number: int) -> npt.NDArray[np.uint64]:
    generator = np.random.Generator(np.random.Philox(0))
    return generator.integers(1, 2**63, size=number, dtype=np.uint64)


def pairs_in(rows: Matrix) -> tuple[IntArray, IntArray]:
    """Return the distinct pairs of a unit and the row that it stands in.

    The rows (5 6) (7 -1) give the units 5 6 7 and the rows 0 0 1.
    """
    positions = np.repeat(np.arange(len(rows)), rows.shape[1])
    labels = rows.reshape(-1).astype(np.int64)
    is_unit = labels >= 0
    labels, positions = labels[is_unit], positions[is_unit]
    if rows.shape[1] > 1 and len(labels):
        keys = np.unique(labels * len(rows) + positions)
        labels, positions = keys // len(rows), keys % len(rows)
    return labels, positions


def groups_of(
    units: IntArray, positions: IntArray, num_units: int, num_positions: int
) -> Iterator[tuple[Groups, Groups]]:
    """Yield the groups of the wiring links that together join distinct pairs, and nothing else.

    A link joins all units of a group to all positions of it. So one link can hold the pairs if
    every connected part of them is complete:

        position 0 reads units 0 1, position 1 reads units 0 1, position 2 reads unit 2:
        units 0 0 2, positions 0 0 2

    If not, the first pair of every position makes one link, the second another, and so on:

        position 0 reads units 0 1, position 1 reads units 1 2; one group would join 0 to 1:
        units 0 1 -1, positions 0 1; then units -1 1 2, positions 1 2

    Args:
        units: The unit of each pair.
        positions: The position of each pair.
        num_units: The number of units of the source space.
        num_positions: The number of positions, which are the units of the target space.

    Yields:
        The groups of the units and those of the positions, for each link.
    """
    sizes = (num_units, num_positions)
    parts = _connected_parts(units, positions, sizes)
    counts = [np.bincount(part[part >= 0], minlength=num_units) for part in parts]
    if np.dot(*counts) == len(units):
        yield parts
        return
    order = np.lexsort((units, positions))
    first = np.searchsorted(positions[order], positions[order], side="left")
    rank = np.empty(len(units), dtype=np.int64)
    rank[order] = np.arange(len(units)) - first
    for number in range(rank.max() + 1):
        chosen = rank == number
        yield _connected_parts(units[chosen], positions[chosen], sizes)


def _connected_parts(
    units: IntArray, positions: IntArray, sizes: tuple[int, int]
) -> tuple[Groups, Groups]:
    """Return the connected part of each unit and position in a set of pairs, -1 for none."""
    unit_part = np.full(sizes[0], -1, dtype=np.int32)
    position_part = np.full(sizes[1], -1, dtype=np.int32)
    unit_part[units] = units
    while True:
        # A part's number is its smallest unit. It is passed back and forth until all agree on it.
        position_part[positions] = sizes[0]
        np.minimum.at(position_part, positions, unit_part[units])
        before = unit_part.copy()
        np.minimum.at(unit_part, units, position_part[positions])
        if np.array_equal(before, unit_part):
            return unit_part, position_part
