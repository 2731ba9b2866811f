"""Tensors that wrap others and have no memory of their own, such as quantised weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from phew.distributed.sharding import is_sharded
from phew.running.stand_ins import stand_in_for


def has_memory(tensor: torch.Tensor) -> bool:
    """Return whether a tensor's elements lie in memory of its own, also one without data."""
    try:
        tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return False
    return True


def is_wrapper(tensor: torch.Tensor) -> bool:
    """Return whether a tensor computes its elements from others that it wraps."""
    if is_sharded(tensor) or is_lazy(tensor) or tensor.layout != torch.strided:
        return False
    return not tensor.is_quantized and not has_memory(tensor)


def stand_in_for_wrapped(model: nn.Module) -> list[nn.Parameter]:
    """Replace parameters that wrap others by plain ones without data, and return these.

    Call it while a model is preserved, which undoes it.
    """
    stand_ins = stand_in_for(model, is_wrapper)
    for stand_in in stand_ins:
        stand_in.requires_grad_(False)
    return stand_ins
