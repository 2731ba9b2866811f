"""The warning of layer collapse: masks that keep no weight of a parameter."""

from __future__ import annotations

from collections.abc import Sequence

from phew.graph.reach import unreached_weights
from phew.graph.walk_graph import WalkGraph
from phew.masks.masks import Masks
from phew.support.warn import PhewWarning, listed, warn_caller


class CollapseWarning(PhewWarning):
    """Warns of parameters of which masks keep no weight."""


def warn_of_collapse(graph: WalkGraph, masks: Sequence[Masks]) -> None:
    """Warn once, at the line of the caller, of parameters of which masks keep no weight.

    Args:
        graph: The graph that the masks were made for.
        masks: Masks of one call, one for each density.
    """
    summaries = [mask.summary() for mask in masks]
    collapsed = {
        row.parameter: summary.total.density
        for summary in sorted(summaries, key=lambda summary: summary.total.density)
        for row in summary.rows
        if row.num_weights and not row.num_kept
    }
    if not collapsed:
        return
    unreached = unreached_weights(graph)
    reasons: dict[str, list[str]] = {}
    for name, density in collapsed.items():
        is_reached = unreached.get(name, 0) < graph.parameters[name].numel()
        reason = f"at density {density:.3g}" if is_reached else "on no path that walks take"
        reasons.setdefault(reason, []).append(repr(name))
    parts = [f"{listed(names)} ({reason})" for reason, names in reasons.items()]
    names = listed(map(repr, collapsed))
    warn_caller(
        f"the masks keep no weight of {'; '.join(parts)}. Raise the density, or keep parameters "
        f"whole with exclude=[{names}].",
        CollapseWarning,
    )
