"""The shares of a network: parameters that keep a part of their weights together.

With `density=0.1` and `layer_densities={"head": 0.5, "blocks.0.*": 1}` a network has three:

    head.weight                          half of its weights
    blocks.0.fc.weight, ...              all, whether walked or not
    all others                           a tenth of their weights, counted together
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from phew.arguments import as_density, name_matcher
from phew.graph.walk_graph import WalkGraph
from phew.support.warn import listed


class Share(NamedTuple):
    """Parameters, and the density of their weights together.

    Attributes:
        density: Kept / all of their weights, in (0, 1].
        parameters: Their names.
        argument: The argument that gives the density, as errors name it.
        is_whole: Whether all weights are kept, those too that no walk visits.
    """

    density: float
    parameters: tuple[str, ...]
    argument: str = "density"
    is_whole: bool = False


def as_layer_densities(densities: object) -> dict[str, float]:
    """Return densities by pattern as floats.

    Raises:
        TypeError: If they are no mapping of strings to numbers.
        ValueError: If a density is not in (0, 1].
    """
    if densities is None:
        return {}
    if not isinstance(densities, Mapping) or not all(isinstance(name, str) for name in densities):
        raise TypeError(
            "layer_densities must map names of parameters or modules, or patterns of them, to "
            f"densities, got {densities!r}."
        )
    return {
        pattern: as_density(density, f"layer_densities[{pattern!r}]")
        for pattern, density in densities.items()
    }


def shares_of(
    graph: WalkGraph, density: float, layer_densities: Mapping[str, float]
) -> list[Share]:
    """Divide the prunable parameters into shares: one of each pattern, and one of the others.

    Args:
        graph: The walk graph.
        density: The density of the parameters that no pattern matches.
        layer_densities: Other densities by a pattern of the names of parameters or modules. The
            first that matches one of a parameter's names counts.

    Raises:
        ValueError: If a pattern selects no prunable parameter, or no parameter is left to
            `density`.
    """
    others = list(graph.prunable)
    shares = []
    for pattern, layer_density in layer_densities.items():
        is_match = name_matcher(pattern)
        matched = [name for name in graph.prunable if any(map(is_match, graph.names_of(name)))]
        selected = tuple(name for name in matched if name in others)
        if not selected:
            raise ValueError(_selects_nothing(graph, pattern, matched))
        others = [name for name in others if name not in selected]
        # Parameters without elements have nothing to walk to.
        is_whole = layer_density == 1 or graph.num_weights_of(selected) == 0
        argument = f"layer_densities[{pattern!r}]"
        shares.append(Share(layer_density, selected, argument, is_whole))
    if layer_densities and graph.num_weights_of(others) == 0:
        raise ValueError(
            "layer_densities must leave parameters to density, got patterns that select all of "
            f"them: {', '.join(map(repr, layer_densities))}. Leave one out."
        )
    return [*shares, Share(density, tuple(others))]


def _selects_nothing(graph: WalkGraph, pattern: str, matched: list[str]) -> str:
    if matched:
        return (
            f"layer_densities[{pattern!r}] must come before patterns that select the same "
            f"parameters, got one after them: {matched[0]!r} is selected already."
        )
    return (
        f"layer_densities must match prunable parameters, got {pattern!r}, which matches none. "
        f"They are: {listed(map(repr, graph.prunable))} (see phew.inspect)."
    )
