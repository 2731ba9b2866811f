"""From a density to a number of weights, or the error where walks cannot visit so many."""

from __future__ import annotations

from collections.abc import Mapping

from phew.arguments import num_to_keep
from phew.graph.reach import absent_weights
from phew.graph.walk_graph import WalkGraph
from phew.walks.engine import Engine
from phew.walks.forecast import Forecast

MOST_DAYS = 2
"""Walks that would take longer are not begun."""

_SECONDS_PER_DAY = 86_400

_MOST_NAMES = 5
"""The most parameters that an error lists."""


def check_walkable(graph: WalkGraph) -> None:
    """Raise ValueError unless walks can be made and have weights to visit."""
    if graph.num_prunable_weights == 0:
        raise ValueError("model must have prunable weights, got none.")
    for name, parameter in graph.parameters.items():
        if parameter.is_meta:
            raise ValueError(
                f"model must hold its weights, got {name!r} on the meta device. "
                "Load or initialise it first, e.g. with model.to_empty(device='cpu')."
            )
    if not any(graph.live[space].any() for space in graph.entries):
        raise ValueError(
            "model must have a path from its input to its output, got none: "
            "no output depends on a floating-point input or an embedding."
        )


def target_of(density: float, engine: Engine, forecast: Forecast) -> int:
    """Return the number of weights that a density keeps, if walks can reach it.

    Args:
        density: Kept / prunable weights, in (0, 1].
        engine: The engine that will walk.
        forecast: The forecast of its walks.

    Raises:
        ValueError: If the number is 0, or out of reach, or takes too many walks.
    """
    graph = engine.graph
    target = num_to_keep(density, graph.num_prunable_weights)
    if target > sum(forecast.reachable.values()):
        raise ValueError(_out_of_reach(density, graph, forecast.reachable))
    check_time(target, engine, forecast)
    return target


def check_time(target: int, engine: Engine, forecast: Forecast) -> None:
    """Raise ValueError if walks to so many weights would take more than `MOST_DAYS`."""
    num_walks = forecast.walks_for(target)
    hops_per_second = engine.hops_per_second * engine.ranks.number
    days = num_walks * forecast.hops_per_walk / hops_per_second / _SECONDS_PER_DAY
    if days <= MOST_DAYS:
        return
    num_weights = engine.graph.num_prunable_weights
    raise ValueError(
        f"density {target / num_weights:.9g} takes some {num_walks:.0e} walks, about {days:,.0f} "
        "days of walking: a few weights are so small beside others that walks hardly ever take "
        "them. Lower the density."
    )


def _out_of_reach(density: float, graph: WalkGraph, reachable: Mapping[str, int]) -> str:
    """Write the error: parameters that walks never visit, or the one that lacks most weights."""
    share = sum(reachable.values()) / graph.num_prunable_weights
    message = f"density {density} is out of reach: walks reach {share:.1%} of the prunable weights;"
    unreached = [name for name, number in reachable.items() if number == 0]
    if unreached:
        names = ", ".join(map(repr, unreached[:_MOST_NAMES]))
        names += ", ..." if len(unreached) > _MOST_NAMES else ""
        verb = "is" if len(unreached) == 1 else "are"
        return (
            f"{message} {names} {verb} not on any path from input to output that walks take. "
            f"Lower the density, or leave such weights out with exclude=[{unreached[0]!r}]."
        )
    missing = {name: graph.parameters[name].numel() - reachable[name] for name in reachable}
    name = max(missing, key=lambda name: missing[name])
    absent = absent_weights(graph).get(name)
    if absent is not None:
        num_absent = int(absent.count_nonzero())
        others = " and others are zero or not on a path from input to output"
        return (
            f"{message} no walk takes {missing[name]:,} weights of {name!r}: a constant of the "
            f"model zeroes {num_absent:,}{others if missing[name] > num_absent else ''}. Lower the "
            "density."
        )
    return (
        f"{message} no walk takes {missing[name]:,} weights of {name!r}, which are zero beside "
        "others or not on a path from input to output. Lower the density, or initialise the "
        "weights."
    )
