"""New spaces that are wired from the units of others."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from phew.capture.spaces import Spaces
from phew.capture.wiring import Matrix, distinct_rows, groups_of, pairs_in
from phew.graph.links import Groups, WiringLink


def add_wired_space(spaces: Spaces, operands: list[Matrix], name: str, num_copies: int = 1) -> int:
    """Add a space with a unit for each row of the operands, fed by the units in that row.

    The wiring from an operand's space is a shortcut where that space leads to another operand's.

    Args:
        spaces: The spaces to add it to.
        operands: Labels by position, shapes (num_positions, places).
        name: The space's name.
        num_copies: How many copies of the units it holds.

    Returns:
        The index of the space.
    """
    space = spaces.add_space(name, len(operands[0]), num_copies)
    wirings = [list(_wirings(spaces, operand, space)) for operand in operands]
    for factor, wiring in enumerate(wirings):
        ancestors = 0
        for other in wirings[:factor] + wirings[factor + 1 :]:
            for link in other:
                ancestors |= spaces.ancestors(link.source)
        for link in wiring:
            shortcut = bool(ancestors >> link.source & 1)
            spaces.add_link(dataclasses.replace(link, shortcut=shortcut, factor=factor))
    return space


def _wirings(spaces: Spaces, operand: Matrix, target: int) -> Iterator[WiringLink]:
    """Yield the links from the units in each row to the unit of `target` that the row stands for.

    Copies of equal number are joined the first with the first, the second with the second. If the
    numbers differ, every unit of the target is fed by all copies of those in its row.
    """
    first, inverse = distinct_rows(operand)
    labels, rows = pairs_in(operand[first])
    owners = spaces.owners(labels)
    target_copies = spaces.num_copies(target)
    for owner in np.unique(owners):
        source = int(owner)
        here = owners == source
        units, positions = labels[here] - spaces.start(source), rows[here]
        num_copies = spaces.num_copies(source)
        num_units = spaces.num_units(source)
        side_by_side = num_copies == target_copies
        if num_copies > 1 and not side_by_side:
            # The copies of a unit lie a fixed number of units apart.
            steps = np.arange(num_copies)[:, np.newaxis] * (num_units // num_copies)
            units = (units + steps).reshape(-1)
            positions = np.tile(positions, num_copies)
        elif side_by_side:
            num_units //= num_copies
        for source_groups, row_groups in groups_of(units, positions, num_units, len(first)):
            target_groups = row_groups[inverse]
            if target_copies > 1:
                target_groups = _tiled(target_groups, target_copies, num_units * side_by_side)
            if side_by_side:
                source_groups = _tiled(source_groups, num_copies, num_units)
            yield WiringLink(source, target, source_groups, target_groups)


def _tiled(groups: Groups, num_copies: int, step: int) -> Groups:
    """Repeat groups for copies that lie one behind the other, `step` more for each.

    The groups 0 1 -1 for 2 copies and step 3 become 0 1 -1 3 4 -1.
    """
    copies = [np.where(groups >= 0, groups + copy * step, -1) for copy in range(num_copies)]
    return np.concatenate(copies).astype(np.int32)
