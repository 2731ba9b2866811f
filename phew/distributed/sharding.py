"""Sharded tensors: DTensors, as FSDP2 and tensor parallelism make them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor
    from typing_extensions import TypeIs


def is_sharded(tensor: torch.Tensor) -> TypeIs[DTensor]:
    """Return whether a tensor is a DTensor, of which each rank holds a part, or a copy."""
    kind = loaded("torch.distributed.tensor", "DTensor")
    return kind is not None and isinstance(tensor, kind)


def loaded(module: str, name: str) -> Any:
    """Return a name of a module, None while nobody has imported it.

    Importing these modules takes long, and while nobody has, there is nothing of their classes.
    The same holds while another thread is importing one: it lacks the name then.
    """
    return getattr(sys.modules.get(module), name, None)


@torch.no_grad()
def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor; if it is sharded, all ranks that hold a part gather a copy of the whole."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """Return the part of a tensor that this rank holds, in the same memory; all of a plain one."""
    if not is_sharded(tensor):
        return tensor
    with torch.no_grad():
        return tensor.to_local()


def holders(tensor: torch.Tensor) -> list[int]:
    """Return the global ranks that hold the parts of a sharded tensor; none for a plain one."""
    return tensor.device_mesh.mesh.flatten().tolist() if is_sharded(tensor) else []


def placed_like(mask: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Return a mask on a parameter's device, sharded as the parameter is.

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

    # The part may be a view, which would keep all of the mask in memory, so it is cloned.
    return distribute_tensor(mask, mesh, placements, src_data_rank=None).clone()


def count_nonzero(mask: torch.Tensor) -> int:
    """Count the true elements of a mask; all ranks count together if it is sharded."""
    if is_sharded(mask):
        return int(whole(mask.sum()))
    if mask.device.type == "cpu":
        # NumPy counts several times as fast.
        return int(np.count_nonzero(mask.numpy()))
    return int(mask.count_nonzero())


def equal(mask: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two masks are equal on all ranks, on whatever devices they are."""
    return whole(mask).equal(whole(other).to(mask.device))


def reshard(model: nn.Module) -> None:
    """Make FSDP2 free the parameters that it has gathered, as it does after a forward pass.

    A module in between has the gathered parameters, which are not the ones that are trained.
    """
    kind = loaded("torch.distributed.fsdp", "FSDPModule")
    for module in model.modules():
        if kind is not None and isinstance(module, kind):
            module.reshard()
