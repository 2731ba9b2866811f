"""Parts that a model consists of: modules, tensors, containers and objects in its attributes."""

from __future__ import annotations

import functools
import operator
import types
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.utils.data import DataLoader, Dataset

from phew.running.referents import ATOMS, slots_of

_CONTAINERS = (dict, list, set, deque)
_WITH_CONTENTS = (*_CONTAINERS, types.CellType)
_SHARED = (types.ModuleType, types.CodeType, DataLoader, Dataset)
"""Kinds of objects that are not a model's own, or too large to look through."""


_PLAIN = frozenset(ATOMS)
"""To look a type up takes a fraction of the time of `isinstance`, and nearly all atoms have one."""


def parts_of(model: nn.Module) -> list[Any]:
    """List the modules, containers, tensors and other objects that a model consists of."""
    pending: list[Any] = [*model.modules(), *model.parameters(), *model.buffers()]
    seen: dict[int, Any] = {}
    while pending:
        part = pending.pop()
        if id(part) not in seen:
            seen[id(part)] = part
            pending += [
                below
                for below in _below(part)
                if type(below) not in _PLAIN and not isinstance(below, ATOMS)
            ]
    return list(seen.values())


def _below(part: Any) -> Iterable[Any]:
    """Return what a part of a model refers to."""
    # Modules consist of dictionaries, most of which are empty.
    if type(part) is dict:
        return part.values()
    if isinstance(part, _SHARED):
        return ()
    found: list[Any] = []
    if isinstance(part, dict):
        found += dict.values(part)
    elif isinstance(part, list | tuple | set | frozenset | deque):
        found += part
    elif isinstance(part, types.CellType):
        found += _content_of_cell(part)
    elif isinstance(part, functools.partial):
        found += (part.func, part.args, part.keywords)
    elif isinstance(part, types.MethodType):
        found += (part.__self__, part.__func__)
    elif isinstance(part, types.FunctionType):
        found += (*(part.__closure__ or ()), part.__defaults__, part.__kwdefaults__)
    if type(attributes := getattr(part, "__dict__", None)) is dict:
        found.append(attributes)
    return [*found, *slots_of(part).values()]


def _content_of_cell(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


class Contents:
    """Remembers what a container, cell or object with slots refers to.

    Args:
        part: The container, cell or object.
    """

    # A model has dozens for each of its modules.
    __slots__ = ("_items", "_part", "_slots")

    def __init__(self, part: Any) -> None:
        self._part = part
        self._slots = slots_of(part)
        self._items = self._current()

    @staticmethod
    def are_of(part: Any) -> bool:
        """Return whether a part refers to others by itself and not by an attribute's container."""
        return isinstance(part, _WITH_CONTENTS) or bool(slots_of(part))

    def restore(self) -> None:
        """Put back what was there, unless it still is."""
        slots = slots_of(self._part)
        for name in slots:
            if name not in self._slots:
                object.__delattr__(self._part, name)
        for name, value in self._slots.items():
            if slots.get(name, self) is not value:
                object.__setattr__(self._part, name, value)
        if not _are_same(self._current(), self._items):
            self._put_back()

    def _current(self) -> tuple[Any, ...]:
        """Return what a container holds, a mapping's keys and then its values."""
        part = self._part
        if isinstance(part, dict):
            return (*dict.keys(part), *dict.values(part))
        if isinstance(part, types.CellType):
            return _content_of_cell(part)
        return tuple(part) if isinstance(part, _CONTAINERS) else ()

    def _put_back(self) -> None:
        part, items = self._part, self._items
        if isinstance(part, types.CellType):
            if items:
                part.cell_contents = items[0]
            else:
                del part.cell_contents
            return
        # A subclass may do more when it is changed.
        kinds = (OrderedDict, *_CONTAINERS)
        kind: Any = next(kind for kind in kinds if isinstance(part, kind))
        kind.clear(part)
        if issubclass(kind, dict):
            middle = len(items) // 2
            for key, value in zip(items[:middle], items[middle:], strict=True):
                kind.__setitem__(part, key, value)
        elif kind is set:
            set.update(part, items)
        else:
            kind.extend(part, items)


def _are_same(current: tuple[Any, ...], saved: tuple[Any, ...]) -> bool:
    return len(current) == len(saved) and all(map(operator.is_, current, saved))
