"""Which layers can be sparse, and why others cannot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from phew.distributed.sharding import is_sharded
from phew.masks.parameter_hold import ParameterHold
from phew.sparse.layers import Conv1d, Conv2d, Conv3d, Linear
from phew.sparse.sparse_layer import SparseLayer

_SPARSE: Mapping[type[nn.Module], type[SparseLayer]] = {
    nn.Linear: Linear,
    nn.Conv1d: Conv1d,
    nn.Conv2d: Conv2d,
    nn.Conv3d: Conv3d,
}

SPARSE_CLASSES = (*_SPARSE.values(),)

_KNOWN: Mapping[tuple[str, str], type[SparseLayer]] = {
    ("timm.layers.linear", "Linear"): Linear,
    ("timm.layers.conv2d_same", "Conv2dSame"): Conv2d,
    ("transformers.pytorch_utils", "Conv1D"): Linear,
}
"""Classes with a forward of their own that is known, by their module and name."""

_READERS: Mapping[type[nn.Module], tuple[str, ...]] = {
    nn.MultiheadAttention: ("out_proj",),
    nn.TransformerEncoderLayer: ("linear1", "linear2"),
}
"""Modules of torch that read the weights of layers below them without calling these."""

_FORWARDS = ("forward", "_conv_forward", "__call__")

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def sparse_class_of(layer: nn.Module) -> type[SparseLayer] | None:
    """Return the sparse class that does what a layer does, or None."""
    kind = type(layer)
    known = _KNOWN.get((kind.__module__, kind.__name__))
    if known is not None:
        return known
    for dense, sparse in _SPARSE.items():
        if isinstance(layer, dense):
            own = [getattr(kind, name, None) for name in _FORWARDS]
            return sparse if own == [getattr(dense, name, None) for name in _FORWARDS] else None
    return None


def weighted_layers(model: nn.Module) -> list[nn.Module]:
    """Return the layers of a model whose weight is used once for each element of a channel."""
    return [
        module
        for module in model.modules()
        if (isinstance(module, (*_SPARSE,)) or sparse_class_of(module) is not None)
        and isinstance(module._parameters.get("weight"), nn.Parameter)
    ]


def holders_of(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Map all names of a model's parameters to the module that has it, and its name there."""
    return {
        f"{name}.{local}" if name else local: (module, local)
        for name, module in model.named_modules(remove_duplicate=False)
        for local in module._parameters
    }


def reasons_for_dense(
    model: nn.Module, holders: Mapping[str, tuple[nn.Module, str]]
) -> Iterator[tuple[str, str]]:
    """Yield the names of parameters whose masks cannot make a layer sparse, and why not."""
    places: defaultdict[int, set[tuple[int, str]]] = defaultdict(set)
    for module in model.modules():
        for local, parameter in module._parameters.items():
            places[id(parameter)].add((id(module), local))
    read = _read_by_others(model)
    for name, (module, local) in holders.items():
        parameter = module._parameters[local]
        if len(places[id(parameter)]) > 1:
            yield name, "it is shared with another layer"
        elif local != "weight":
            yield name, "it is not the weight of a layer"
        elif id(module) in read:
            yield name, read[id(module)]
        elif reason := _reason(module) or (parameter is not None and _reason_of(parameter)):
            yield name, reason


def _read_by_others(model: nn.Module) -> dict[int, str]:
    return {
        id(getattr(module, name)): f"{kind.__name__} reads it itself"
        for module in model.modules()
        for kind, names in _READERS.items()
        if isinstance(module, kind)
        for name in names
    }


def _reason(layer: nn.Module) -> str | None:
    """Say what about a layer keeps it dense, if anything does."""
    kind = type(layer).__name__
    if is_parametrized(layer):
        return "its layer is parametrised"
    if sparse_class_of(layer) is None:
        if isinstance(layer, (*_SPARSE,)):
            return f"{kind} has a forward of its own"
        return f"{kind} has no sparse form"
    if any(name in layer.__dict__ for name in _FORWARDS):
        return "the forward of its layer is replaced"
    taken = [name for name in (*SparseLayer._own_attributes, "mask", "way") if hasattr(layer, name)]
    return f"its layer has a {taken[0]!r} of its own" if taken else None


def _reason_of(weight: nn.Parameter) -> str | None:
    """Say what about a weight keeps it dense, if anything does."""
    if is_sharded(weight):
        return "it is sharded"
    if type(weight) is not nn.Parameter or weight.dtype not in _DTYPES:
        kind = "" if type(weight) is nn.Parameter else f"{type(weight).__name__} of "
        return f"it is {kind}{weight.dtype}"
    hooks: list[Any] = [
        *(weight._backward_hooks or {}).values(),
        *(weight._post_accumulate_grad_hooks or {}).values(),
    ]
    if not all(isinstance(getattr(hook, "__self__", hook), ParameterHold) for hook in hooks):
        return "its gradient has a hook"
    return None
