"""What capture asks of its arguments."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from phew.graph import WEIGHT_DTYPES


def as_call(example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and the keyword arguments that example inputs stand for."""
    if isinstance(example_inputs, torch.Tensor):
        return (example_inputs,), {}
    if isinstance(example_inputs, tuple):
        return example_inputs, {}
    if isinstance(example_inputs, dict):
        return (), example_inputs
    raise TypeError(
        "example_inputs must be a tensor, a tuple of positional arguments or a dict of keyword "
        f"arguments, got {type(example_inputs).__name__}."
    )


def matching(model: nn.Module, patterns: Sequence[str]) -> set[str]:
    """Return the names of the parameters that match a pattern, tied ones by their first name."""
    if (
        isinstance(patterns, str)
        or not isinstance(patterns, Sequence)
        or not all(isinstance(pattern, str) for pattern in patterns)
    ):
        raise TypeError(f"exclude must be a sequence of patterns, got {patterns!r}.")
    parameters = dict(model.named_parameters(remove_duplicate=False))
    first_name: dict[nn.Parameter, str] = {}
    for name, parameter in parameters.items():
        first_name.setdefault(parameter, name)
    excluded: set[str] = set()
    for pattern in patterns:
        matches = [name for name in parameters if fnmatch.fnmatchcase(name, pattern)]
        if not matches:
            known = ", ".join([*map(repr, list(parameters)[:3]), "..."]) if parameters else "none"
            raise ValueError(
                f"exclude must match names of parameters, got {pattern!r}, which matches none. "
                f"The model's are: {known} (see named_parameters())."
            )
        excluded.update(first_name[parameters[name]] for name in matches)
    return excluded


def check_weights(model: nn.Module, excluded: set[str]) -> None:
    """Refuse a model whose weights cannot be followed or pruned."""
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
    remedy = f"Leave it out with exclude=[{name!r}]."
    if weight.layout != torch.strided or weight.is_quantized:
        kind = "quantised" if weight.is_quantized else "sparse"
        raise ValueError(f"parameter {name!r} must be dense, got a {kind} tensor. {remedy}")
    if weight.dtype not in WEIGHT_DTYPES:
        raise ValueError(
            f"parameter {name!r} must be of dtype float32, float64, float16 or bfloat16, "
            f"got {weight.dtype}. {remedy}"
        )


def _check_memory(weights: dict[str, nn.Parameter]) -> None:
    """Refuse two parameters of the same memory: a mask of one would be a mask of the other."""
    owners: dict[tuple[Any, ...], str] = {}
    for name, weight in weights.items():
        if weight.is_meta or weight.numel() == 0:
            continue
        memory = weight.device, weight.data_ptr(), weight.shape, weight.stride()
        owner = owners.setdefault(memory, name)
        if owner != name:
            raise ValueError(
                f"parameter {name!r} must have memory of its own, got that of {owner!r}. "
                "Tie them as one: assign the same Parameter to both."
            )
