"""Objects that a container or an object refers to."""

from __future__ import annotations

import functools
import types
from collections import deque
from collections.abc import ItemsView, Mapping, ValuesView
from typing import Any

ATOMS = (str, bytes, int, float, complex, type(None), type)
"""Kinds of objects that hold no tensors of their own."""

_NO_SLOTS: Mapping[str, Any] = types.MappingProxyType({})

_CONTAINERS = (list, tuple, set, frozenset, deque, ValuesView, ItemsView)


def referents(value: Any) -> list[Any]:
    """Return the items of a container and the values of an object's attributes, in order."""
    found: list[Any] = []
    if isinstance(value, Mapping):
        found += value.values()
    elif isinstance(value, _CONTAINERS):
        found += value
    if not isinstance(value, types.FunctionType | types.ModuleType):
        found += getattr(value, "__dict__", {}).values()
    found += slots_of(value).values()
    return found


def slots_of(value: Any) -> Mapping[str, Any]:
    """Return the attributes that an object's classes keep in slots."""
    slots = _slots(type(value))  # type: ignore[arg-type]
    if not slots:
        return _NO_SLOTS
    found = {}
    for name, slot in slots:
        try:
            found[name] = slot.__get__(value)
        except AttributeError:
            continue
    return found


@functools.lru_cache(maxsize=4096)
def _slots(kind: Any) -> list[tuple[str, types.MemberDescriptorType]]:
    # Members of classes that are written in C are slots too, but not of `__slots__`.
    return [
        (name, slot)
        for base in kind.__mro__
        if "__slots__" in vars(base)
        for name, slot in vars(base).items()
        if isinstance(slot, types.MemberDescriptorType)
    ]
