"""Arguments that several calls share: their checks and the messages of these."""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Sequence
from numbers import Real
from typing import TypeAlias, cast

import torch
from torch import nn

Selector: TypeAlias = str | nn.Module | type[nn.Module]
"""Selects parameters: by a pattern of their names or of those of modules that they are in, with `*`
and `?` as wildcards; by a module that they are in; or by the type of the module that owns them."""
Selectors: TypeAlias = Selector | Sequence[Selector]
"""One selector, or several."""

MAX_NUM_THREADS = 1024


def as_module(model: object) -> nn.Module:
    """Return a model, without torch.compile, DataParallel or DistributedDataParallel around it.

    Raises:
        TypeError: If it is no module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}.")
    while (inner := _inside(model)) is not None:
        model = inner
    return model


def _inside(model: nn.Module) -> nn.Module | None:
    """Return the model that a wrapper holds, None if a model is no wrapper."""
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return cast(nn.Module, model.module)
    # Importing torch._dynamo takes seconds, and a compiled model has imported it.
    if type(model).__name__ == "OptimizedModule" and "_orig_mod" in model._modules:
        return model._modules["_orig_mod"]
    return None


def as_densities(densities: Sequence[float]) -> list[float]:
    """Return densities as floats; raise TypeError or ValueError unless each is one in (0, 1]."""
    try:
        values = list(densities)
    except TypeError:
        raise TypeError(f"densities must be a sequence of densities, got {densities!r}.") from None
    return [as_density(value) for value in values]


def as_density(density: object, argument: str = "density") -> float:
    """Return a density as a float; raise TypeError or ValueError unless it is in (0, 1]."""
    if not isinstance(density, Real) or isinstance(density, bool):
        raise TypeError(f"{argument} must be a number in (0, 1], got {density!r}.")
    try:
        value = float(density)
    except OverflowError:
        raise ValueError(f"{argument} must be in (0, 1], got a number beyond float64.") from None
    if not 0 < value <= 1:
        raise ValueError(f"{argument} must be in (0, 1], got {density}.")
    return value


def name_matcher(pattern: str) -> Callable[[str], bool]:
    """Return a test of whether a parameter's name matches, or that of a module that it is in.

    The pattern `head`, like `head.*` and `he?d`, matches `head.weight`, and `blocks.*.mlp` matches
    `blocks.0.mlp.fc1.weight`.
    """
    matches = re.compile(fnmatch.translate(pattern)).match

    def is_match(name: str) -> bool:
        parts = name.split(".")
        return any(matches(".".join(parts[:end])) for end in range(1, len(parts) + 1))

    return is_match


def num_to_keep(density: float, num_weights: int, argument: str = "density") -> int:
    """Return how many of so many weights a density keeps; raise ValueError if that is none."""
    if num_weights == 0:
        raise ValueError("model must have prunable weights, got none.")
    number = round(density * num_weights)
    if number == 0:
        raise ValueError(
            f"{argument} must keep at least one of {num_weights:,} weights, got {density}."
        )
    return number


def as_num_threads(num_threads: object) -> int:
    """Return a number of threads, by default that of torch."""
    if num_threads is None:
        return torch.get_num_threads()
    number = as_integer("num_threads", num_threads)
    if not 1 <= number <= MAX_NUM_THREADS:
        raise ValueError(f"num_threads must be in [1, {MAX_NUM_THREADS}], got {number}.")
    return number


def as_integer(name: str, value: object) -> int:
    """Return an argument that must be an integer, of Python or another library, as an int."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise TypeError(f"{name} must be an integer, got {value!r}.")
