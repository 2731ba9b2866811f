"""From kept weights to `Masks`, with the units that they leave active."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from phew._core import __version__
from phew.distributed.sharding import is_sharded, placed_like, whole
from phew.graph.digests import digest_of_graph, digest_of_values, digests_of_values
from phew.graph.fan_in import fan_ins_of
from phew.graph.links import Units
from phew.graph.reach import absent_weights, active_units, units_led_to
from phew.graph.walk_graph import WalkGraph
from phew.graph.weights import data_of
from phew.masks.facts import Scalar
from phew.masks.masks import Masks
from phew.masks.packed import PackedMasks, pack


def assemble_masks(
    graph: WalkGraph,
    kept: Mapping[str, torch.Tensor],
    info: Mapping[str, Scalar],
    *,
    reads_weights: bool = True,
) -> Masks:
    """Make the masks of kept weights, on their parameters' devices.

    Args:
        graph: The walk graph.
        kept: Per prunable parameter, a boolean tensor of its shape; packed masks stay packed. A row
            of a normalised parameter that keeps no weight gets its largest.
        info: How the masks were made, but for the version of phew and the digests of what they were
            made from.
        reads_weights: Whether the method chose the kept weights by their values. Masks that do not
            depend on weights have no digests of them, as they belong to any.

    Returns:
        The masks, with unit masks and the numbers of active units. If a parameter is sharded, each
        rank gets its part of the mask.
    """
    rows = _rows_of_norms(graph, kept)
    kept = _with_changed(kept, rows)
    active = active_units(graph, kept)
    placed = kept
    if not isinstance(kept, PackedMasks):
        placed = {name: placed_like(mask, graph.parameters[name]) for name, mask in kept.items()}
    read = kept if reads_weights else rows
    digests = digests_of_values({name: graph.parameters[name] for name in read})
    info = {**info, "phew_version": __version__, "graph": digest_of_graph(graph)}
    if reads_weights and (weights := digest_of_values(graph)) is not None:
        info["weights"] = weights
    return Masks(
        placed,
        unit_masks=_unit_masks(graph, active),
        active_units={name: _count_active(graph, name, active) for name in kept},
        num_kept={
            name: int(kept[name].count_nonzero())
            for name in kept
            if is_sharded(graph.parameters[name])
        },
        fan_ins=fan_ins_of(graph),
        digests=digests,
        info=info,
    )


def keep_rows_of_norms(
    graph: WalkGraph, kept: Mapping[str, torch.Tensor]
) -> Mapping[str, torch.Tensor]:
    """Keep a weight of each row that a norm divides, as one without any would be 0 / 0.

    The row of weights 0.5 -2 2 of which none is kept keeps -2: the first of the largest magnitude.

    Args:
        graph: The walk graph, whose notes say which parameters are divided by a norm.
        kept: Boolean tensors by parameter name, which are not changed. If weights are sharded, all
            ranks make the call with the same ones.

    Returns:
        The same masks, except those in which a row kept none.
    """
    return _with_changed(kept, _rows_of_norms(graph, kept))


def _rows_of_norms(graph: WalkGraph, kept: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the masks in which a row that a norm divides kept no weight, with one in each row."""
    changed = {}
    for name, dims in graph.notes.normalised.items():
        if name in kept:
            mask = whole(kept[name])
            lost = (~_by_row(mask, dims).any(dim=1)).nonzero().flatten()
            if mask.numel() and len(lost):
                changed[name] = _with_largest(graph, name, mask, lost)
    return changed


def _with_changed(
    kept: Mapping[str, torch.Tensor], changed: Mapping[str, torch.Tensor]
) -> Mapping[str, torch.Tensor]:
    """Return masks of which some are replaced, packed if the others are."""
    if not changed:
        return kept
    if isinstance(kept, PackedMasks):
        packed = {name: pack(mask) for name, mask in changed.items()}
        return PackedMasks(kept.shapes, {**kept.packed, **packed})
    return {**kept, **changed}


def _with_largest(
    graph: WalkGraph, name: str, mask: torch.Tensor, lost: torch.Tensor
) -> torch.Tensor:
    """Return a mask that keeps the largest weight of some rows too."""
    dims = graph.notes.normalised[name]
    if graph.parameters[name].is_meta:
        # Methods that read no weights prune models without any: the first is as good as another.
        weights = torch.zeros_like(mask, dtype=torch.float32)
    else:
        weights = data_of(graph, name, mask.device)
    sizes = weights.abs()
    absent = absent_weights(graph).get(name)
    if absent is not None:
        sizes = sizes.masked_fill(absent.to(mask.device), -1)
    largest = _by_row(sizes, dims)[lost].max(dim=1)
    rows = _by_row(mask, dims).clone()
    # A row of which a constant zeroes all weights is 0 / 0 anyway.
    rows[lost, largest.indices] = largest.values >= 0
    order = _rows_first(mask, dims)
    places = [order.index(dim) for dim in range(mask.dim())]
    return rows.view(mask.permute(order).shape).permute(places).contiguous()


def _by_row(tensor: torch.Tensor, dims: Sequence[int]) -> torch.Tensor:
    """Return a tensor as a matrix of the rows along some dimensions."""
    columns = math.prod(tensor.shape[dim] for dim in dims)
    return tensor.permute(_rows_first(tensor, dims)).reshape(-1, columns)


def _rows_first(tensor: torch.Tensor, dims: Sequence[int]) -> list[int]:
    """Return the order of dimensions in which those along rows come last."""
    return [*(dim for dim in range(tensor.dim()) if dim not in dims), *dims]


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
