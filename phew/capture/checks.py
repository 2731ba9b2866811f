"""Refuse models whose weights capture cannot follow or prune."""

from __future__ import annotations

import sys
from collections.abc import Container
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from phew.distributed.sharding import own_part
from phew.graph.weights import WEIGHT_DTYPES


def check_weights(model: nn.Module, excluded: Container[str]) -> None:
    """Refuse a model whose weights cannot be followed or pruned."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    for name, module in model.named_modules():
        if fsdp is not None and isinstance(module, fsdp.FullyShardedDataParallel):
            raise ValueError(
                "model must not be wrapped in FullyShardedDataParallel, whose parameters are flat, "
                f"got {name!r}. Prune it before, or shard it with fully_shard (FSDP2)."
            )
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if is_lazy(tensor):
            kind = "parameter" if isinstance(tensor, nn.Parameter) else "buffer"
            raise ValueError(
                f"{kind} {name!r} must be initialised, got a lazy one. "
                "Run the model once on example inputs."
            )
    weights = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.dim() > 1 and name not in excluded
    }
    for name, weight in weights.items():
        _check_weight(name, weight)
    _check_memory(weights)


def _check_weight(name: str, weight: nn.Parameter) -> None:
    """Refuse a parameter that is not dense or of a dtype that walks cannot read."""
    remedy = f"Leave it out with exclude=[{name!r}]."
    if weight.layout != torch.strided or weight.is_quantized:
        kind = "quantised" if weight.is_quantized else "sparse"
        raise ValueError(f"parameter {name!r} must be dense, got a {kind} tensor. {remedy}")
    if weight.dtype not in (*WEIGHT_DTYPES, torch.complex64, torch.complex128):
        raise ValueError(
            f"parameter {name!r} must be of dtype float32, float64, float16, bfloat16, complex64 "
            f"or complex128, got {weight.dtype}. {remedy}"
        )


def _check_memory(weights: dict[str, nn.Parameter]) -> None:
    """Refuse two parameters of the same memory: a mask of one would be a mask of the other."""
    owners: dict[tuple[Any, ...], str] = {}
    for name, parameter in weights.items():
        weight = own_part(parameter)
        if weight.is_meta or weight.numel() == 0:
            continue
        memory = weight.device, weight.data_ptr(), weight.shape, weight.stride()
        owner = owners.setdefault(memory, name)
        if owner != name:
            raise ValueError(
                f"parameter {name!r} must have memory of its own, got that of {owner!r}. "
                "Tie them as one: assign the same Parameter to both."
            )
