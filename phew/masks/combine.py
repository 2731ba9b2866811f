"""Compare masks, and combine those of the same parameters weight by weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch

from phew.distributed.sharding import equal, is_sharded, placed_like
from phew.masks.packed import PackedMasks
from phew.masks.unpacked import UnpackedMasks

Combine: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""`torch.bitwise_and` or `torch.bitwise_or`, of bool tensors or packed bytes."""


def are_equal(masks: Mapping[str, torch.Tensor], others: Mapping[str, torch.Tensor]) -> bool:
    """Return whether both keep the same weights; all ranks make the call if they are sharded."""
    return masks.keys() == others.keys() and all(
        equal(mask, others[name]) for name, mask in masks.items()
    )


def combined(
    masks: PackedMasks | UnpackedMasks, others: PackedMasks | UnpackedMasks, combine: Combine
) -> Mapping[str, torch.Tensor]:
    """Combine masks, placed as the first are; packed ones stay packed.

    Where one of both is sharded, so is the result, and all ranks make the call.

    Raises:
        ValueError: If they are not of the same parameters.
    """
    for name in [*masks, *others]:
        shape, other = masks.shapes.get(name), others.shapes.get(name)
        if shape is None or other is None or shape != other:
            shown = [None if each is None else tuple(each) for each in (shape, other)]
            raise ValueError(
                "masks must be of the same parameters, got the shapes {} and {} of {!r}.".format(
                    *shown, name
                )
            )
    if isinstance(masks, PackedMasks) and isinstance(others, PackedMasks):
        theirs = others.packed
        packed = {name: combine(own, theirs[name]) for name, own in masks.packed.items()}
        return PackedMasks(masks.shapes, packed)
    return {name: _combined(mask, others[name], combine) for name, mask in masks.items()}


def _combined(mask: torch.Tensor, other: torch.Tensor, combine: Combine) -> torch.Tensor:
    if is_sharded(other) and not is_sharded(mask):
        mask, other = other, mask
    return combine(mask, placed_like(other, mask))
