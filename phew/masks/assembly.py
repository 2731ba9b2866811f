"""From kept weights to `Masks`, with the units that they leave active."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from phew.distributed.sharding import is_sharded, placed_like
from phew.graph.links import Units
from phew.graph.reach import active_units, units_led_to
from phew.graph.walk_graph import WalkGraph
from phew.masks.mask_file import Scalar
from phew.masks.masks import Masks
from phew.masks.packed import PackedMasks


def assemble_masks(
    graph: WalkGraph, kept: Mapping[str, torch.Tensor], info: Mapping[str, Scalar]
) -> Masks:
    """Make the masks of kept weights, on their parameters' devices.

    Args:
        graph: The walk graph.
        kept: Per prunable parameter, a boolean tensor of its shape; packed masks stay packed.
        info: How the masks were made.

    Returns:
        The masks, with unit masks and the numbers of active units. If a parameter is sharded, each
        rank gets its part of the mask.
    """
    active = active_units(graph, kept)
    placed = kept
    if not isinstance(kept, PackedMasks):
        placed = {name: placed_like(mask, graph.parameters[name]) for name, mask in kept.items()}
    return Masks(
        placed,
        unit_masks=_unit_masks(graph, active),
        active_units={name: _count_active(graph, name, active) for name in kept},
        num_kept={
            name: int(kept[name].count_nonzero())
            for name in kept
            if is_sharded(graph.parameters[name])
        },
        info=info,
    )


def _count_active(graph: WalkGraph, parameter: str, active: list[Units]) -> tuple[int, int]:
    """Count the units that a parameter's weights lead to: those that are active, and all."""
    units = units_led_to([graph.weighted[index] for index in graph.links_of[parameter]], active)
    return int(units.sum()), len(units)


def _unit_masks(graph: WalkGraph, active: list[Units]) -> dict[str, torch.Tensor]:
    """Return per bias and normalisation parameter which of its elements belong to active units."""
    # The graph does not hold these parameters, so they are assumed to be where the weights are.
    device = graph.parameters[graph.prunable[0]].device
    units = {
        name: np.logical_or.reduce([active[space] for space in spaces])
        for name, spaces in graph.unit_parameters.items()
    }
    # One copy to the device serves all masks, which are parts of it.
    flat = torch.from_numpy(np.concatenate([np.empty(0, np.bool_), *units.values()])).to(device)
    parts = flat.split([len(flags) for flags in units.values()])
    return dict(zip(units, parts, strict=True))
