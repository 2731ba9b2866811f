"""Tensors in what a model takes and returns."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils._pytree import tree_flatten


def tensors_in(tree: Any) -> list[torch.Tensor]:
    """Return the tensors in nested containers, in order."""
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, torch.Tensor)]


def output_tensors(outputs: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in containers, mappings, dataclasses and other objects, cycles or not."""
    # Objects are kept here by their ids: once one is freed, another may get its id.
    seen: dict[int, Any] = {}
    waiting = deque([outputs])
    while waiting:
        value = waiting.popleft()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple | set):
            waiting += value
        elif dataclasses.is_dataclass(value):
            waiting += [getattr(value, field.name) for field in dataclasses.fields(value)]
        elif hasattr(value, "__dict__"):
            waiting += vars(value).values()


def may_hold_units(tensor: torch.Tensor) -> bool:
    """Return whether a model's input can hold units: integers choose, or are flags of padding."""
    return tensor.is_floating_point() or tensor.is_complex()
