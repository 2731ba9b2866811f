"""Tensors in what a model takes and returns."""

from __future__ import annotations

import copy
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_map

from phew.running.referents import ATOMS, referents


def tensors_in(tree: Any) -> list[torch.Tensor]:
    """Return the tensors in nested containers, in order."""
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, torch.Tensor)]


def all_tensors(values: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in containers, mappings, dataclasses and other objects, cycles or not."""
    # Objects are kept here by their ids: once one is freed, another may get its id.
    seen: dict[int, Any] = {}
    waiting = deque([values])
    while waiting:
        value = waiting.popleft()
        if id(value) in seen or isinstance(value, ATOMS):
            continue
        seen[id(value)] = value
        if isinstance(value, torch.Tensor):
            yield value
        else:
            waiting += referents(value)


def with_tensors_replaced(replace: Callable[[torch.Tensor], torch.Tensor], tree: Any) -> Any:
    """Return what a model takes with other tensors in it.

    Containers are made anew, and so are the objects that tensors are in: a batch of graphs, a
    dataclass. Objects without tensors and modules are those of the caller.

    Args:
        replace: Returns what stands for a tensor.
        tree: Nested containers and objects.

    Raises:
        TypeError: If an object with tensors cannot be copied.
    """
    memo: dict[int, Any] = {}

    def replaced(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor):
            return replace(leaf)
        if isinstance(leaf, (*ATOMS, nn.Module)) or id(leaf) in memo:
            return memo.get(id(leaf), leaf)
        _choose_copies(leaf, replace, memo)
        try:
            return copy.deepcopy(leaf, memo)
        except Exception as error:
            raise TypeError(
                "example_inputs must hold tensors in objects that can be copied, got "
                f"{type(leaf).__name__}: {error}. Give it a __deepcopy__ method."
            ) from error

    return tree_map(replaced, tree)


def _choose_copies(
    root: Any, replace: Callable[[torch.Tensor], torch.Tensor], memo: dict[int, Any]
) -> None:
    """Tell deepcopy's memo which objects are not to be copied, and what stands for tensors."""
    found: dict[int, Any] = {}
    holders: dict[int, list[int]] = defaultdict(list)
    pending = [root]
    while pending:
        value = pending.pop()
        if id(value) in found or isinstance(value, ATOMS):
            continue
        found[id(value)] = value
        if not isinstance(value, torch.Tensor | nn.Module):
            for part in referents(value):
                holders[id(part)].append(id(value))
                pending.append(part)
    copied = [key for key, value in found.items() if isinstance(value, torch.Tensor)]
    with_tensors = set(copied)
    while copied:
        for holder in holders[copied.pop()]:
            if holder not in with_tensors:
                with_tensors.add(holder)
                copied.append(holder)
    # An id is of one object only as long as that object lives.
    memo.setdefault(id(memo), []).append(found)
    for key, value in found.items():
        if isinstance(value, torch.Tensor):
            memo.setdefault(key, replace(value))
        elif key not in with_tensors:
            memo.setdefault(key, value)
    for key in with_tensors:
        if isinstance(found[key], MappingProxyType):
            memo[key] = MappingProxyType(copy.deepcopy(dict(found[key]), memo))


def may_hold_units(tensor: torch.Tensor) -> bool:
    """Return whether a model's input can hold units: integers choose, or are flags of padding."""
    return tensor.is_floating_point() or tensor.is_complex()
