"""From a density to a number of weights, or the error where walks cannot visit so many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

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


class Target(NamedTuple):
    """A number of weights that walks are to visit.

    Attributes:
        num_weights: The number.
        parameters: The parameters whose weights count.
        argument: The argument that asks for it, as errors name it.
    """

    num_weights: int
    parameters: tuple[str, ...]
    argument: str = "density"


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


def target_of(
    density: float,
    parameters: tuple[str, ...],
    engine: Engine,
    forecast: Forecast,
    argument: str = "density",
) -> Target:
    """Return the number of weights that a density keeps, if walks can reach it.

    Args:
        density: Kept / all weights of the parameters, in (0, 1].
        parameters: Prunable parameters.
        engine: The engine that will walk.
        forecast: The forecast of the parameters' weights.
        argument: The density's name in errors.

    Raises:
        ValueError: If the number is 0, or out of reach, or takes too many walks.
    """
    num_weights = engine.graph.num_weights_of(parameters)
    target = Target(num_to_keep(density, num_weights, argument), parameters, argument)
    if target.num_weights > sum(forecast.reachable.values()):
        share = sum(forecast.reachable.values()) / num_weights
        message = (
            f"{argument} {density} is out of reach: walks reach {share:.1%} of the prunable weights"
        )
        raise ValueError(f"{message}; {_lacking(engine.graph, forecast.reachable)}")
    check_time(target, engine, forecast)
    return target


def check_time(target: Target, engine: Engine, forecast: Forecast) -> None:
    """Raise ValueError if walks to a target would take more than `MOST_DAYS`.

    Args:
        target: The target.
        engine: The engine that will walk.
        forecast: The forecast of the weights that count.
    """
    num_walks = forecast.walks_for(target.num_weights)
    hops_per_second = engine.hops_per_second * engine.ranks.number
    days = num_walks * forecast.hops_per_walk / hops_per_second / _SECONDS_PER_DAY
    if days <= MOST_DAYS:
        return
    density = target.num_weights / engine.graph.num_weights_of(target.parameters)
    raise ValueError(
        f"{target.argument} {density:.9g} takes some {num_walks:.0e} walks, about {days:,.0f} days "
        "of walking: a few weights are so small beside others that walks hardly ever take them. "
        "Lower the density."
    )


def _lacking(graph: WalkGraph, reachable: Mapping[str, int]) -> str:
    """Name parameters that walks never visit, or the one that lacks most weights."""
    unreached = [name for name, number in reachable.items() if number == 0]
    if unreached:
        names = ", ".join(map(repr, unreached[:_MOST_NAMES]))
        names += ", ..." if len(unreached) > _MOST_NAMES else ""
        verb = "is" if len(unreached) == 1 else "are"
        return (
            f"{names} {verb} not on any path from input to output that walks take. "
            f"Lower the density, or leave such weights out with exclude=[{unreached[0]!r}]."
        )
    missing = {name: graph.parameters[name].numel() - reachable[name] for name in reachable}
    name = max(missing, key=lambda name: missing[name])
    absent = absent_weights(graph).get(name)
    if absent is not None:
        num_absent = int(absent.count_nonzero())
        others = " and others are zero or not on a path from input to output"
        return (
            f"no walk takes {missing[name]:,} weights of {name!r}: a constant of the "
            f"model zeroes {num_absent:,}{others if missing[name] > num_absent else ''}. Lower the "
            "density."
        )
    return (
        f"no walk takes {missing[name]:,} weights of {name!r}, which are zero beside "
        "others or not on a path from input to output. Lower the density, or initialise the "
        "weights."
    )
