"""Find weights that the code of other modules reads, for models that are not run.

A forward such as `F.linear(x, self.proj.weight)` reads the weight of `proj` without calling it.
"""

from __future__ import annotations

import dis
import inspect
import types
from collections.abc import Iterator

from torch import nn

HARMLESS = ("dtype", "device", "requires_grad", "grad", "layout")
"""Attributes of a weight that do not depend on its shape or values."""


def read_in_code(model: nn.Module) -> set[int]:
    """Return the ids of the layers whose weight is read by the forward of the module above."""
    children: dict[type, set[str]] = {}
    read = set()
    for module in model.modules():
        kind = type(module)
        if kind not in children:
            children[kind] = {name for code in _codes(kind) for name in _names_of_read(code)}
        read |= {id(module._modules[name]) for name in children[kind] & module._modules.keys()}
    return read


def _codes(kind: type) -> Iterator[types.CodeType]:
    """Yield the code of a class's forward, and of methods that it calls."""
    seen = {"forward"}
    waiting = ["forward"]
    while waiting:
        function = getattr(kind, waiting.pop(), None)
        if not isinstance(function, types.FunctionType):
            continue
        parts = [inspect.unwrap(function).__code__]
        while parts:
            code = parts.pop()
            yield code
            parts += [part for part in code.co_consts if isinstance(part, types.CodeType)]
            called = set(code.co_names) - seen
            seen |= called
            waiting += sorted(called)


def _names_of_read(code: types.CodeType) -> Iterator[str]:
    """Yield `proj` where code has `.proj.weight`, unless only a harmless attribute follows."""
    instructions = [*dis.get_instructions(code)]
    names = [
        each.argval if each.opname in ("LOAD_ATTR", "LOAD_METHOD") else None
        for each in instructions
    ]
    for first, second, third in zip(names, names[1:], [*names[2:], None], strict=False):
        if first is not None and second == "weight" and third not in HARMLESS:
            yield first
