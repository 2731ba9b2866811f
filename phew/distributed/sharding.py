"""Tensors of which each rank holds a part: DTensors, as FSDP2 and tensor parallelism make them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor
    from typing_extensions import TypeIs


def is_sharded(tensor: torch.Tensor) -> TypeIs[DTensor]:
    """Return whether each rank holds a part of a tensor (all of it, where it is replicated)."""
    # Importing it takes long, and where nobody has there are no such tensors.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


@torch.no_grad()
def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return all of a tensor: of a sharded one a copy, gathered by all ranks that hold a part."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


@torch.no_grad()
def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """Return the part of a tensor that this rank holds, in the same memory."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def holders(tensor: torch.Tensor) -> list[int]:
    """Return the global ranks that hold the parts of a tensor; of a plain one none."""
    return tensor.device_mesh.mesh.flatten().tolist() if is_sharded(tensor) else []


def placed_like(mask: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Return a mask on a parameter's device, and of a sharded one the part this rank holds.

    Ranks talk to each other only where the mask is sharded in another way than the parameter.
    """
    if not is_sharded(parameter):
        return whole(mask).to(parameter.device)
    mesh, placements = parameter.device_mesh, parameter.placements
    if is_sharded(mask):
        if (mask.device_mesh, mask.placements) == (mesh, placements):
            return mask
        mask = whole(mask)
    from torch.distributed.tensor import distribute_tensor

    # A copy: the part may be a view, which would keep all of the mask in memory.
    return distribute_tensor(mask, mesh, placements, src_data_rank=None).clone()


def count_nonzero(mask: torch.Tensor) -> int:
    """Count what is true in all of a mask: all ranks together, where it is sharded."""
    if is_sharded(mask):
        return int(whole(mask.sum()))
    return int(mask.count_nonzero())


def equal(mask: torch.Tensor, other: torch.Tensor) -> bool:
    """Compare two masks, all of them and wherever they are."""
    return whole(mask).equal(whole(other).to(mask.device))


def reshard(model: nn.Module) -> None:
    """Let go of parameters that FSDP2 has gathered, as it does after the next forward pass.

    Until then a module's parameters are not those that are trained.
    """
    fsdp = sys.modules.get("torch.distributed.fsdp")
    for module in model.modules():
        if fsdp is not None and isinstance(module, fsdp.FSDPModule):
            module.reshard()
