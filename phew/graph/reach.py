"""The reach of walks by the structure of a graph alone, and the units that masks leave active.

Three spaces of 4, 2 and 4 units: link 0 is a slice of units 0 and 1 of space 0, link 1 has weights
from each of these to each unit of space 2, and link 2 is a shortcut around both, unit by unit.

                     link 0      link 1    link 2
    leading          1 1 0 0     1 1       1 1 1 1     its source units that an edge leads on from
    taken forward    1 1 0 0     1 1       0 0 1 1     no shortcut where another link leads on
    taken backward   1 1         1 1 1 1   0 0 0 0     flags of the target units

All units are live, and walks reach every weight of link 1. If a mask keeps one weight there, which
leads to unit 3, and the graph has no shortcut, only that unit of space 2 is active: 0 0 0 1.

Where units are products, a link to them carries nothing to those whose other operands are zero (see
`WiringLink.needs`). Of `gate * up`, whose operands reach the units 1 1 0 and 0 1 1, only unit 1 is
not zero.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import accumulate

import numpy as np
import torch

from phew.graph.directed import DirectedGraph
from phew.graph.links import Units, WeightedLink, WiringLink
from phew.graph.walk_graph import WalkGraph


def leading_units(graph: WalkGraph) -> list[Units]:
    """Return per link its live source units that have an edge to a live target unit."""
    live = graph.live
    return [
        live[link.source] & graph.forward.leading_to(index, live[link.target])
        for index, link in enumerate(graph.links)
    ]


def unreached_weights(graph: WalkGraph) -> dict[str, int]:
    """Count the weights of prunable parameters that no walk can visit.

    Args:
        graph: The walk graph; its weights are not read.

    Returns:
        The number of weights by parameter, where there are any.
    """
    taken = _taken(graph, graph.forward), _taken(graph, graph.backward)
    counts = {name: _num_unreached(graph, name, taken) for name in graph.prunable}
    return {name: count for name, count in counts.items() if count}


def _taken(graph: WalkGraph, directed: DirectedGraph) -> list[Units]:
    """Return per link the units on its near side from which walks of one direction take it."""
    live = graph.live
    passed = directed.no_units()
    for space in directed.starts:
        passed[space][:] = live[space]
    taken: list[Units] = [np.empty(0, dtype=np.bool_)] * len(graph.links)
    for space in directed.order:
        has_other = np.zeros(graph.spaces[space].num_units, dtype=np.bool_)
        # Walks take a shortcut only from units that no other link leads on from, so shortcuts come
        # last.
        for index in sorted(directed.onward[space], key=lambda index: graph.links[index].shortcut):
            far = directed.far(index)
            leading = directed.leading_to(index, live[far])
            if graph.links[index].shortcut:
                leading &= ~has_other
            else:
                has_other |= leading
            taken[index] = passed[space] & leading
            passed[far] |= live[far] & directed.reach(index, taken[index])
    return taken


def _num_unreached(graph: WalkGraph, name: str, taken: tuple[list[Units], list[Units]]) -> int:
    """Count the weights of a parameter that no walk visits, given what `_taken` returns."""
    parameter, live = graph.parameters[name], graph.live
    links = {index: graph.weighted[index] for index in graph.links_of[name]}
    # Nearly always one link is all of the parameter, and walks take it from all units to all.
    for index, link in links.items():
        is_whole = link.num_edges == parameter.numel() and link.is_injective
        if is_whole and taken[0][index].all() and live[link.target].all():
            return 0
    reached = torch.zeros(parameter.shape, dtype=torch.bool, device="cpu")
    for index, link in links.items():
        forward = link.by_target(live[link.target]) & link.by_source(taken[0][index])
        backward = link.by_target(taken[1][index]) & link.by_source(live[link.source])
        link.mark_elements(reached, (forward | backward) & link.is_edge)
    return reached.numel() - int(reached.count_nonzero())


def absent_weights(graph: WalkGraph) -> dict[str, torch.Tensor]:
    """Flag the weights of prunable parameters that are absent wherever the model uses them.

    Returns:
        By parameter name a boolean tensor of its shape, where there are any.
    """
    absent = {}
    for name in graph.prunable:
        links = [graph.weighted[index] for index in graph.links_of[name]]
        if all(link.absent is None for link in links):
            continue
        shape = graph.parameters[name].shape
        used, edges = (torch.zeros(shape, dtype=torch.bool, device="cpu") for _ in range(2))
        for link in links:
            link.mark_elements(used, torch.ones(1, 1, 1, 1, dtype=torch.bool, device="cpu"))
            link.mark_elements(edges, link.is_edge)
        absent[name] = used & ~edges
    return absent


def active_units(graph: WalkGraph, masks: Mapping[str, torch.Tensor]) -> list[Units]:
    """Return per space the units that `masks` leave with a kept incoming weight.

    Units that wiring feeds are active where one of their sources is, and those of a product where
    all of its operands are that may be zero; entries are active.

    Args:
        graph: The walk graph.
        masks: Boolean tensors by parameter name; weights without a mask are kept.

    Returns:
        One boolean vector per space, shape (num_units,).
    """
    kept = _targets_with_kept_weights(graph, masks)

    def cross(index: int, _: WeightedLink, sources: Units) -> Units:
        return kept[index] if index in kept else graph.forward.reach(index, sources)

    active, _ = carry(graph, graph.forward.no_units(), cross)
    return active


def carry(
    graph: WalkGraph, flags: list[Units], cross: Callable[[int, WeightedLink, Units], Units]
) -> tuple[list[Units], dict[int, Units]]:
    """Carry flags of units from the entries on, through products only where no operand is missing.

    Args:
        graph: The walk graph.
        flags: Per space, the units that are flagged whatever leads to them; they are changed.
        cross: A function of a weighted link's index, the link and the flags of its source units
            that returns those of its target units.

    Returns:
        The flags, and per link that needs other operands the target units that have them.
    """
    served = {}
    for space in graph.entries:
        flags[space][:] = True
    for space in graph.forward.order:
        operands: dict[int, Units] = {}
        reached: list[tuple[int, WiringLink, Units]] = []
        for index in graph.backward.onward[space]:
            link = graph.links[index]
            if isinstance(link, WeightedLink):
                flags[space] |= cross(index, link, flags[link.source])
                continue
            units = link.reach(flags[link.source])
            operands[link.factor] = operands.get(link.factor, np.zeros_like(units)) | units
            reached.append((index, link, units))
        for index, link, units in reached:
            if link.needs:
                nothing = np.zeros_like(units)
                needed = [operands.get(number, nothing) for number in link.needs]
                served[index] = np.logical_and.reduce(needed)
                units &= served[index]
            flags[space] |= units
    return flags, served


def units_led_to(links: Sequence[WeightedLink], units: Sequence[Units]) -> Units:
    """Return the flags of the units that the weights of one parameter lead to.

    Links of the same weights, such as the time steps of a recurrence, lead to the same units: these
    are counted once, and flagged where any step's are.

    Args:
        links: The parameter's links.
        units: Per space, the flags of its units.
    """
    flags: dict[Hashable, Units] = {}
    for link in links:
        weights = link.shape, link.strides, link.offset
        flags[weights] = flags.get(weights, np.False_) | units[link.target]
    return np.concatenate([np.empty(0, np.bool_), *flags.values()])


def _targets_with_kept_weights(
    graph: WalkGraph, masks: Mapping[str, torch.Tensor]
) -> dict[int, Units]:
    """Return, per link whose weights have a mask, the target units of its kept weights."""
    links = {index: link for index, link in graph.weighted.items() if link.parameter in masks}
    if not links:
        return {}
    kept = [_any_source(_kept(link, masks[link.parameter])) for link in links.values()]
    # One copy from the device serves all links; masks may be on several devices.
    flat = torch.cat([units.reshape(-1).to(kept[0].device) for units in kept]).cpu().numpy()
    ends = accumulate(units.numel() for units in kept)
    return dict(zip(links, np.split(flat, [*ends][:-1]), strict=True))


def _kept(link: WeightedLink, mask: torch.Tensor) -> torch.Tensor:
    """Return flags of the kept edges of a link, shape (groups, targets, sources, positions)."""
    kept = link.view(mask)
    return kept if link.absent is None else kept & link.is_edge.to(kept.device)


def _any_source(kept: torch.Tensor) -> torch.Tensor:
    """Return a flag per target unit: whether any of its weights is kept.

    Args:
        kept: Flags of weights, shape (groups, targets, sources, positions).

    Returns:
        Flags of units, shape (groups, targets).
    """
    kept = kept.flatten(2)
    # On the CPU NumPy's any() is ten times as fast as torch's.
    return torch.from_numpy(kept.numpy().any(axis=2)) if kept.is_cpu else kept.any(dim=2)
