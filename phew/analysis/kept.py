"""Masks as analysis takes them: whole, checked against a graph, seen through a link."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import torch

from phew.distributed.sharding import is_sharded
from phew.graph.links import Units, WeightedLink, WiringLink
from phew.graph.reach import carry
from phew.graph.walk_graph import WalkGraph
from phew.masks.masks import Masks
from phew.masks.packed import PackedMasks

KeptWeights: TypeAlias = Mapping[str, torch.Tensor]
"""Boolean tensors by parameter name, e.g. `phew.Masks`; weights without a mask are kept."""


def whole_masks(graph: WalkGraph, masks: KeptWeights) -> KeptWeights:
    """Return masks that fit the weights of a graph: as they are, or gathered and packed.

    Raises:
        TypeError: If a mask is not a bool tensor.
        ValueError: If a mask is not of a weight of the graph, or not of its shape.
    """
    if isinstance(masks, Masks):
        masks = masks.contents
    any_sharded = False
    for name, mask in masks.items():
        any_sharded |= is_sharded(mask)
        if name not in graph.parameters:
            raise ValueError(f"masks must be of weights of the model, got one of {name!r}.")
        if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
            kind = getattr(mask, "dtype", type(mask).__name__)
            raise TypeError(f"masks[{name!r}] must be a bool tensor, got {kind}.")
        shape = tuple(graph.parameters[name].shape)
        if tuple(mask.shape) != shape:
            raise ValueError(
                f"masks[{name!r}] must have the shape of its parameter, {shape}, "
                f"got {tuple(mask.shape)}. Analyse the model that the masks were made from."
            )
    return PackedMasks.of(masks) if any_sharded else masks


def served_units(graph: WalkGraph, masks: KeptWeights) -> dict[int, Units]:
    """Return per link that needs other operands of a product the target units that have them.

    An operand is zero in a unit that neither an entry nor a bias feeds over kept weights.
    """
    if not any(isinstance(link, WiringLink) and link.needs for link in graph.links):
        return {}

    def cross(_: int, link: WeightedLink, sources: Units) -> Units:
        kept = kept_edges(link, masks) & link.by_source(sources)
        return kept.flatten(2).any(dim=2).view(-1).numpy()

    biased = [np.full(space.num_units, space.biased) for space in graph.spaces]
    return carry(graph, biased, cross)[1]


def kept_edges(link: WeightedLink, masks: KeptWeights) -> torch.Tensor:
    """Return which edges of a link are kept, shape `link.shape`, on the CPU."""
    if link.parameter not in masks:
        return link.is_edge.expand(link.shape)
    kept = link.view(masks[link.parameter].cpu())
    return kept if link.absent is None else kept & link.is_edge
