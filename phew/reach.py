"""How far walks get by the structure of a graph alone, whatever the weights are."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import torch

from phew.graph import Units, WalkGraph, WeightedLink


def leading_units(graph: WalkGraph) -> list[Units]:
    """Return per link the units from which it leads on to an exit, and that an entry leads to."""
    live = graph.live
    return [
        live[link.source] & link.reach(live[link.target], backward=True) for link in graph.links
    ]


def unreached_weights(graph: WalkGraph) -> dict[str, int]:
    """Count the weights of prunable parameters that no walk can visit.

    Args:
        graph: The walk graph; its weights are not read.

    Returns:
        The number of weights by parameter, where there are any.
    """
    taken = _taken(graph, backward=False), _taken(graph, backward=True)
    links: dict[str, list[tuple[int, WeightedLink]]] = defaultdict(list)
    for index, link in enumerate(graph.links):
        if isinstance(link, WeightedLink):
            links[link.parameter].append((index, link))
    counts = {name: _num_unreached(graph, name, links[name], taken) for name in graph.prunable}
    return {name: count for name, count in counts.items() if count}


def _taken(graph: WalkGraph, *, backward: bool) -> list[Units]:
    """Return per link the units on its near side from which walks of one direction take it."""
    live = graph.live
    passed = [np.zeros(space.num_units, dtype=np.bool_) for space in graph.spaces]
    for space in graph.exits if backward else graph.entries:
        passed[space][:] = live[space]
    taken: list[Units] = [np.empty(0, dtype=np.bool_)] * len(graph.links)
    order = range(len(graph.spaces))
    for space in reversed(order) if backward else order:
        walked = np.zeros(graph.spaces[space].num_units, dtype=np.bool_)
        indices = (graph.links_into if backward else graph.links_from)[space]
        # A shortcut is taken only from units that no other link leads on from.
        for index in sorted(indices, key=lambda index: graph.links[index].shortcut):
            link = graph.links[index]
            far = link.source if backward else link.target
            leading = link.reach(live[far], backward=not backward)
            if not link.shortcut:
                walked |= leading
            else:
                leading &= ~walked
            taken[index] = passed[space] & leading
            passed[far] |= live[far] & link.reach(taken[index], backward=backward)
    return taken


def _num_unreached(
    graph: WalkGraph,
    name: str,
    links: list[tuple[int, WeightedLink]],
    taken: tuple[list[Units], list[Units]],
) -> int:
    parameter = graph.parameters[name]
    live = graph.live
    # Nearly always there is one link, walked from all units to all units.
    for index, link in links:
        is_whole = math.prod(link.shape) == parameter.numel()
        if is_whole and taken[0][index].all() and live[link.target].all():
            return 0
    reached = torch.zeros(parameter.shape, dtype=torch.bool, device="cpu")
    for index, link in links:
        forward = _outer(link, live[link.target], taken[0][index])
        backward = _outer(link, taken[1][index], live[link.source])
        link.view(reached).logical_or_(forward | backward)
    return reached.numel() - int(reached.count_nonzero())


def _outer(link: WeightedLink, targets: Units, sources: Units) -> torch.Tensor:
    """Flag the edges between flagged units, in the shape of the link but for kernel positions."""
    by_target = torch.from_numpy(targets).view(link.num_groups, -1, 1, 1)
    return by_target & torch.from_numpy(sources).view(link.num_groups, 1, -1, 1)
