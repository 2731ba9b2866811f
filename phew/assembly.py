"""From kept weights to Masks: with what they leave of the units."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch

from phew.graph import WalkGraph, WeightedLink
from phew.masks import Masks, Scalar
from phew.packed import PackedMasks
from phew.sharding import is_sharded, placed_like


def assemble_masks(
    graph: WalkGraph, kept: Mapping[str, torch.Tensor], info: Mapping[str, Scalar]
) -> Masks:
    """Make masks of the weights that are kept, on their parameters' devices.

    Args:
        graph: The walk graph.
        kept: Per prunable parameter, a boolean tensor of its shape; packed masks stay packed.
        info: How the masks were made.

    Returns:
        The masks, with those of units and the numbers of active units. Of sharded parameters each
        rank gets the part that it holds.
    """
    active = graph.active_units(kept)
    targets: dict[str, set[int]] = defaultdict(set)
    for link in graph.links:
        if isinstance(link, WeightedLink):
            targets[link.parameter].add(link.target)
    active_units = {
        name: (
            sum(int(active[space].sum()) for space in targets[name]),
            sum(graph.spaces[space].num_units for space in targets[name]),
        )
        for name in kept
    }
    # The graph does not hold these parameters: they are taken to be where the weights are.
    device = graph.parameters[graph.prunable[0]].device
    units = {
        name: np.logical_or.reduce([active[space] for space in spaces])
        for name, spaces in graph.unit_parameters.items()
    }
    # Copied to a device all at once.
    flat = torch.from_numpy(np.concatenate([np.empty(0, np.bool_), *units.values()])).to(device)
    parts = flat.split([len(flags) for flags in units.values()])
    placed = kept
    if not isinstance(kept, PackedMasks):
        placed = {name: placed_like(mask, graph.parameters[name]) for name, mask in kept.items()}
    return Masks(
        placed,
        unit_masks=dict(zip(units, parts, strict=True)),
        active_units=active_units,
        num_kept={
            name: int(kept[name].count_nonzero())
            for name in kept
            if is_sharded(graph.parameters[name])
        },
        info=info,
    )
