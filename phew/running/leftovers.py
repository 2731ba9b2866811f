"""Tensors without data that a run leaves where a model's attributes do not lead."""

from __future__ import annotations

import functools
import gc
import sys
import types
import weakref
from collections.abc import Container, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from phew.running.parts import Contents
from phew.running.referents import ATOMS, referents
from phew.support.warn import PhewWarning, warn_caller

_LIBRARIES = {*sys.stdlib_module_names, "torch"} - {"__main__"}


class NotRestoredWarning(PhewWarning):
    """Warns of state that a run has left in a model and that cannot be put back."""


class Surroundings:
    """Remembers the classes of a model's parts, and the Python modules that these are from.

    They belong to others too, so only what refers to a tensor of the run is put back.

    Args:
        parts: What the model consists of (see `parts_of`), before it runs.
    """

    def __init__(self, parts: Iterable[Any]) -> None:
        exact = set(map(type, parts))
        kinds = {kind for part in exact for kind in part.__mro__ if _is_own(kind)}
        modules = {sys.modules[kind.__module__] for kind in kinds if kind.__module__ in sys.modules}
        self._namespaces = [(space, dict(vars(space))) for space in (*kinds, *modules)]
        held = [
            part
            for _, names in self._namespaces
            for value in names.values()
            for part in _parts_of_value(value)
        ]
        self._contents = [(part, Contents(part)) for part in held if Contents.are_of(part)]

    def put_back(self, made: Iterable[weakref.ref[torch.Tensor]]) -> None:
        """Put back what refers to tensors of a run, and empty caches of functions that do.

        Args:
            made: The tensors that were made.
        """
        if not _alive(made):
            return
        # An error's traceback and the frames that it refers to are a circle.
        gc.collect()
        left = _alive(made)
        if not left:
            return
        ids = {id(tensor) for tensor in left}
        for space, names in self._namespaces:
            for name, value in list(vars(space).items()):
                if value is not names.get(name) and _leads_to(value, ids):
                    if name in names:
                        setattr(space, name, names[name])
                    else:
                        delattr(space, name)
        for part, content in self._contents:
            if _leads_to(part, ids):
                content.restore()
        for cached in _caches():
            if any(_leads_to(value, ids) for value in gc.get_referents(cached)):
                cached.cache_clear()


def _is_own(kind: type) -> bool:
    """Return whether a class is neither Python's nor torch's."""
    return kind.__module__.partition(".")[0] not in _LIBRARIES


def _parts_of_value(value: Any) -> Iterator[Any]:
    """Yield a name's value, and what a function keeps between its calls."""
    function = getattr(value, "__func__", value)
    function = getattr(function, "__wrapped__", function)
    if isinstance(function, types.FunctionType):
        for cell in function.__closure__ or ():
            yield cell
            yield from (part for part in gc.get_referents(cell) if _is_container(part))
        yield from filter(_is_container, function.__defaults__ or ())
        yield from filter(_is_container, (function.__kwdefaults__ or {}).values())
    elif _is_container(value):
        yield value
    elif _is_own(type(value)) and type(vars_of := getattr(value, "__dict__", None)) is dict:
        yield vars_of


def _is_container(value: Any) -> bool:
    return isinstance(value, dict | list | set)


def _alive(made: Iterable[weakref.ref[torch.Tensor]]) -> list[torch.Tensor]:
    return [tensor for reference in made if (tensor := reference()) is not None]


def _caches() -> list[Any]:
    kind = type(functools.lru_cache(_alive))
    return [thing for thing in gc.get_objects() if type(thing) is kind]


def _leads_to(value: Any, ids: Container[int]) -> bool:
    """Return whether a container or object refers to one of the tensors with these ids."""
    seen: dict[int, Any] = {}
    pending = [value]
    while pending:
        part = pending.pop()
        if id(part) in ids:
            return True
        if id(part) not in seen and not isinstance(part, (*ATOMS, nn.Module, torch.Tensor)):
            seen[id(part)] = part
            if isinstance(part, types.CellType):
                pending += gc.get_referents(part)
            else:
                pending += referents(part)
    return False


def warn_of_left(made: Iterable[weakref.ref[torch.Tensor]]) -> None:
    """Warn of tensors of a run that are still there.

    Args:
        made: The tensors that were made.
    """
    left = _alive(made)
    if not left:
        return
    holders = [holder for tensor in left for holder in gc.get_referrers(tensor)]
    kinds = {
        f"a {type(holder).__qualname__}"
        for holder in holders
        if holder is not left and not isinstance(holder, types.FrameType)
    }
    places = ", ".join(sorted(kinds)) or "objects that are not Python's"
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in left[:3])
    warn_caller(
        f"model must keep its state in attributes, got {len(left)} tensors of capture's run, "
        f"without data, that stay in {places} (shapes {shapes}). "
        "Reset that state before the model runs.",
        NotRestoredWarning,
    )
