"""All walks of the reference at once: every edge is followed instead of one being drawn."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from phew.graph import WeightedLink
from phew.reference import Reference, Visit

Probabilities: TypeAlias = npt.NDArray[np.float64]


class Passages(NamedTuple):
    """The probabilities that one walk of one direction passes units and weights.

    Attributes:
        units: Per space, that it passes each unit.
        weights: Per link, that it uses each element of the link's parameter.
        ends: That it is at a unit that leads no further, over all these units.
    """

    units: list[Probabilities]
    weights: dict[int, Probabilities]
    ends: float


def start_units(reference: Reference, *, backward: bool) -> list[tuple[int, int]]:
    """List the units that walks of one direction start from."""
    starts = dict.fromkeys([first := reference.start(int(backward))])
    walk = int(backward) + 2
    while (start := reference.start(walk)) != first:
        starts[start] = None
        walk += 2
    return list(starts)


def passages(reference: Reference, *, backward: bool) -> Passages:
    """Follow a walk of weight granularity along all its edges at once."""
    graph = reference.graph
    units = [np.zeros(space.num_units) for space in graph.spaces]
    weights = {
        index: np.zeros(graph.parameters[link.parameter].numel())
        for index, link in enumerate(graph.links)
        if isinstance(link, WeightedLink)
    }
    ends = 0.0
    starts = start_units(reference, backward=backward)
    for space, unit in starts:
        units[space][unit] = 1 / len(starts)
    order = range(len(graph.spaces))
    for space in reversed(order) if backward else order:
        for unit in np.flatnonzero(units[space]).tolist():
            links = reference.eligible(space, unit, backward=backward)
            if not links:
                ends += units[space][unit]
            masses = [
                reference.fork_mass(index, unit, backward=backward)
                if reference.fork == "mass"
                else 1
                for index in links
            ]
            for index, mass in zip(links, masses, strict=True):
                edges = reference.edges(index, unit, backward=backward)
                taken = units[space][unit] * mass / sum(masses) / sum(edge.mass for edge in edges)
                link = graph.links[index]
                far = link.source if backward else link.target
                for edge in edges:
                    units[far][edge.unit] += taken * edge.mass
                    for weight in edge.visits:
                        weights[index][weight] += taken * edge.mass
    return Passages(units, weights, ends)


def reachable_weights(reference: Reference) -> set[Visit]:
    """Return the prunable weights that some walk visits."""
    graph = reference.graph
    visits: set[Visit] = set()
    for backward in (False, True):
        pending = start_units(reference, backward=backward)
        seen = set(pending)
        while pending:
            space, unit = pending.pop()
            for index in reference.eligible(space, unit, backward=backward):
                link = graph.links[index]
                far = link.source if backward else link.target
                for edge in reference.edges(index, unit, backward=backward):
                    if edge.mass == 0:
                        continue
                    if isinstance(link, WeightedLink) and link.parameter in graph.prunable:
                        visits.update(Visit(link.parameter, weight) for weight in edge.visits)
                    if (far, edge.unit) not in seen:
                        seen.add((far, edge.unit))
                        pending.append((far, edge.unit))
    return visits
