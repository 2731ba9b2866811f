"""Refuse models whose weights capture cannot follow or prune."""

from __future__ import annotations

from collections.abc import Container
from itertools import chain
from typing import TypeAlias

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from phew.distributed.sharding import loaded, own_part
from phew.graph.weights import WEIGHT_DTYPES
from phew.running.wrapped import has_memory, is_wrapper

_Bytes: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], int]


def check_weights(model: nn.Module, excluded: Container[str]) -> None:
    """Refuse a model whose weights cannot be followed or pruned."""
    _check_modules(model)
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if is_lazy(tensor):
            kind = "parameter" if isinstance(tensor, nn.Parameter) else "buffer"
            raise ValueError(
                f"{kind} {name!r} must be initialised, got a lazy one. "
                "Run the model once on example inputs."
            )
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and name not in excluded:
            _check_weight(name, parameter)
    _check_memory(model, excluded)


def _check_modules(model: nn.Module) -> None:
    """Refuse modules that hold flat parameters, or none."""
    flat = loaded("torch.distributed.fsdp", "FullyShardedDataParallel")
    for name, module in model.named_modules():
        if flat is not None and isinstance(module, flat):
            raise ValueError(
                "model must not be wrapped in FullyShardedDataParallel, whose parameters are flat, "
                f"got {name!r}. Prune it before, or shard it with fully_shard (FSDP2)."
            )
        # Where accelerate keeps weights elsewhere, a hook brings them while their module runs.
        if hasattr(module, "_hf_hook"):
            for own, parameter in module.named_parameters(name, recurse=False):
                if parameter.is_meta:
                    raise ValueError(
                        f"model must hold its weights, got {own!r} on the meta device, because "
                        "accelerate offloads it. Prune the model before it is dispatched, or load "
                        "it without device_map (or with one that puts all modules on one device)."
                    )


def _check_weight(name: str, weight: nn.Parameter) -> None:
    """Refuse a parameter that is not dense or of a dtype that walks cannot read."""
    remedy = f"Leave it out with exclude=[{name!r}]."
    kind = ""
    if weight.layout != torch.strided:
        kind = "a sparse tensor"
    elif weight.is_quantized:
        kind = "a quantised tensor"
    elif is_wrapper(weight):
        kind = f"a tensor of type {type(weight).__name__}, which wraps others"
    if kind:
        raise ValueError(f"parameter {name!r} must be dense, got {kind}. {remedy}")
    if weight.dtype not in (*WEIGHT_DTYPES, torch.complex64, torch.complex128):
        raise ValueError(
            f"parameter {name!r} must be of dtype float32, float64, float16, bfloat16, complex64 "
            f"or complex128, got {weight.dtype}. {remedy}"
        )


def _check_memory(model: nn.Module, excluded: Container[str]) -> None:
    """Refuse two parameters with elements in the same memory: a mask of one would be of both.

    Worked example: the rows of a matrix of 4 x 4 floats at address 0 lie at bytes 0, 16, 32, 48. A
    parameter of its columns 0 and 1 and one of its columns 2 and 3 take bytes 0 to 55 and 8 to 63:
    their ranges overlap, but they have no byte in common.
    """
    ranges = []
    for name, parameter in model.named_parameters():
        part = own_part(parameter)
        is_dense = part.layout == torch.strided and has_memory(part)
        if part.is_meta or part.numel() == 0 or not is_dense:
            continue
        end = part.data_ptr() + _end(_bytes_of(part, part.data_ptr()))
        prunable = parameter.dim() > 1 and name not in excluded
        ranges.append((str(part.device), part.data_ptr(), end, name, part, prunable))
    ranges.sort(key=lambda entry: entry[:3])
    for index, (device, _, end, name, part, prunable) in enumerate(ranges):
        for other_device, start, _, other, other_part, other_prunable in ranges[index + 1 :]:
            if (other_device, start) >= (device, end):
                break
            if (prunable or other_prunable) and _have_common_bytes(part, other_part):
                first, second = _in_order(model, name, other)
                raise ValueError(
                    f"parameter {second!r} must have memory of its own, got that of {first!r}. "
                    "Tie them as one: assign the same Parameter to both, or compute one from the "
                    "other in forward. Or exclude both."
                )


def _in_order(model: nn.Module, *names: str) -> list[str]:
    return [name for name, _ in model.named_parameters() if name in names]


def _have_common_bytes(part: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two tensors have elements in the same memory."""
    if part.data_ptr() == other.data_ptr():
        return True
    first, second = (
        _bytes_of(tensor, min(part.data_ptr(), other.data_ptr())) for tensor in (part, other)
    )
    taken = torch.zeros(max(_end(first), _end(second)), dtype=torch.bool, device="cpu")
    taken.as_strided(*first).fill_(True)
    return bool(taken.as_strided(*second).any())


def _bytes_of(tensor: torch.Tensor, start: int) -> _Bytes:
    """Return the sizes, strides and offset of a tensor's bytes in memory from `start` on."""
    size = tensor.element_size()
    steps = [step for step in zip(tensor.shape, tensor.stride(), strict=True) if step[1]]
    sizes = (*(count for count, _ in steps), size)
    return sizes, (*(size * stride for _, stride in steps), 1), tensor.data_ptr() - start


def _end(view: _Bytes) -> int:
    sizes, strides, offset = view
    return offset + 1 + sum((n - 1) * stride for n, stride in zip(sizes, strides, strict=True))
