"""New spaces that are wired from the units of others."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator

import numpy as np

from phew.capture.labels import NO_UNIT
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
    target_copies = spaces.num_copies(target)
    for source in spaces.owners_in(operand):
        num_units, num_copies = spaces.num_units(source), spaces.num_copies(source)
        # Labels of the same units are other numbers at each step of a recurrence.
        units = operand - spaces.start(source)
        units[(operand < 0) | (units < 0) | (units >= num_units)] = NO_UNIT
        sizes = num_units, num_copies, target_copies
        key = hashlib.blake2b(repr((sizes, units.shape)).encode() + units.tobytes()).digest()
        if key not in spaces.known_groups:
            spaces.known_groups[key] = list(_groups(units, *sizes))
        for source_groups, target_groups in spaces.known_groups[key]:
            yield WiringLink(source, target, source_groups, target_groups)


def _groups(
    units: Matrix, num_units: int, num_copies: int, target_copies: int
) -> Iterator[tuple[Groups, Groups]]:
    """Yield the groups of the links that lead from the units in each row to that row.

    Args:
        units: The units of one space by position, -1 for none.
        num_units: The number of units of the space, copies included.
        num_copies: The number of their copies.
        target_copies: The number of copies of the positions.
    """
    first, inverse = distinct_rows(units)
    sources, positions = pairs_in(units[first])
    side_by_side = num_copies == target_copies
    if num_copies > 1 and not side_by_side:
        # The copies of a unit lie a fixed number of units apart.
        steps = np.arange(num_copies)[:, np.newaxis] * (num_units // num_copies)
        sources = (sources + steps).reshape(-1)
        positions = np.tile(positions, num_copies)
    elif side_by_side:
        num_units //= num_copies
    for source_groups, row_groups in groups_of(sources, positions, num_units, len(first)):
        target_groups = row_groups[inverse]
        if target_copies > 1:
            target_groups = _tiled(target_groups, target_copies, num_units * side_by_side)
        if side_by_side:
            source_groups = _tiled(source_groups, num_copies, num_units)
        yield source_groups, target_groups


def _tiled(groups: Groups, num_copies: int, step: int) -> Groups:
    """Repeat groups for copies that lie one behind the other, `step` more for each.

    The groups 0 1 -1 for 2 copies and step 3 become 0 1 -1 3 4 -1.
    """
    copies = [np.where(groups >= 0, groups + copy * step, -1) for copy in range(num_copies)]
    return np.concatenate(copies).astype(np.int32)
