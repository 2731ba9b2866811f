"""Run operations on shapes alone: on meta tensors, which have no data.

Torch computes the shapes of many results step by step in Python. Networks repeat their layers, and
recurrences their steps. So what an operation makes of shapes is remembered, for the process.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch._ops import OpOverload, OpOverloadPacket

from phew.capture.calls import with_replaced

_aten = torch.ops.aten

_ONE_DTYPE = (_aten.convolution, _aten.addmm, _aten.mm, _aten.linear)
"""Operations that do not check dtypes on meta tensors, and refuse different ones on others."""


def _batch_norm(tensor: torch.Tensor, *_: Any) -> tuple[torch.Tensor, ...]:
    # The operator returns its statistics too, which are empty in evaluation mode.
    return torch.empty_like(tensor), tensor.new_empty(0), tensor.new_empty(0)


def _itself(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


_SHAPES: dict[OpOverloadPacket, Callable[..., Any]] = {
    _aten.relu: torch.empty_like,
    _aten.relu_: _itself,
    _aten.native_batch_norm: _batch_norm,
}
"""Results of common operations whose shapes torch computes step by step."""

MOST_REMEMBERED = 4096
"""So many calls are remembered, about 1 KB each. Then all are forgotten."""

_NUMBERS = (bool, int, float, type(None))
_ATOMS = (*_NUMBERS, str, torch.dtype, torch.device, torch.layout, torch.memory_format)


@dataclass(frozen=True)
class _Shape:
    """A tensor without data, as an operation sees it."""

    sizes: torch.Size
    strides: tuple[int, ...]
    dtype: torch.dtype

    def tensor(self) -> torch.Tensor:
        return torch.empty_strided(self.sizes, self.strides, dtype=self.dtype, device="meta")


_remembered: dict[Any, tuple[_Shape, ...] | _Shape | None] = {}
"""By call the results: one, several, or None for the first argument, which was changed in place."""


class _NotRemembered(TypeError):
    """Raised for arguments of other kinds."""


def run_on_shapes(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation on meta tensors."""
    if not _follows_from_shapes(func):
        return _run(func, args, kwargs)
    try:
        call = func, _described(args), _described(kwargs.items()), torch.get_default_dtype()
    except _NotRemembered:
        return _run(func, args, kwargs)
    if call in _remembered:
        made = _remembered[call]
        if made is None:
            return args[0]
        return made.tensor() if isinstance(made, _Shape) else tuple(one.tensor() for one in made)
    result = _run(func, args, kwargs)
    if len(_remembered) >= MOST_REMEMBERED:
        _remembered.clear()
    if args and result is args[0]:
        _remembered[call] = None
    elif _is_plain(result):
        _remembered[call] = _shape(result)
    elif isinstance(result, tuple) and all(map(_is_plain, result)):
        _remembered[call] = tuple(map(_shape, result))
    return result


def without_data(tensor: torch.Tensor) -> torch.Tensor:
    """Return a meta tensor of the same shape and strides."""
    return tensor if tensor.is_meta else _shape(tensor).tensor()


@functools.cache
def _follows_from_shapes(func: OpOverload) -> bool:
    """Return whether an operation returns new tensors, or its first argument with other values.

    It does not if it returns views, whose memory is that of another tensor, or changes a shape in
    place; and who defines operations of their own may let their shapes follow from anything.
    """
    arguments, returns = func._schema.arguments, func._schema.returns
    changed = [position for position, each in enumerate(arguments) if each.alias_info is not None]
    is_new = not changed and all(each.alias_info is None for each in returns)
    in_place = changed == [0] and func._schema.is_mutable and len(returns) == 1
    in_place = in_place and torch.Tag.inplace_view not in func.tags
    return func.namespace == "aten" and (is_new or in_place)


def _described(values: Iterable[Any]) -> tuple[Any, ...]:
    """Describe arguments by what results follow from: shapes, and numbers of different types."""
    described: list[Any] = []
    for value in values:
        if _is_plain(value):
            described.append(_shape(value))
        elif isinstance(value, list | tuple):
            described.append(_described(value))
        elif isinstance(value, _ATOMS):
            described.append((type(value), value) if isinstance(value, _NUMBERS) else value)
        else:
            raise _NotRemembered
    return tuple(described)


def _is_plain(value: Any) -> bool:
    """Return whether a value is a tensor whose shape says all but its data."""
    is_strided = isinstance(value, torch.Tensor) and value.layout == torch.strided
    return is_strided and not (value.is_conj() or value.is_neg())


def _shape(tensor: torch.Tensor) -> _Shape:
    return _Shape(tensor.shape, tensor.stride(), tensor.dtype)


def _run(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    originals = {}

    def replace(tensor: torch.Tensor) -> torch.Tensor:
        stand_in = without_data(tensor)
        originals[stand_in] = tensor
        return stand_in

    args, kwargs = with_replaced(torch.Tensor, replace, (args, kwargs))
    if func.overloadpacket.__name__ == "_grouped_mm":
        # Its meta function takes bfloat16 alone.
        rows, experts = args[:2]
        return rows.new_empty((*rows.shape[:-1], experts.shape[-1]))
    if func.overloadpacket in _ONE_DTYPE and len({tensor.dtype for tensor in originals}) > 1:
        raise TypeError(f"{func.name()} must have arguments of one dtype.")
    if kwargs.get("device") is not None:
        kwargs["device"] = torch.device("meta")
    run: Callable[..., Any] = _SHAPES.get(func.overloadpacket, func)
    # An operation in place returns its argument, which the caller knows as the original.
    results = run(*args, **kwargs)
    return with_replaced(torch.Tensor, lambda result: originals.get(result, result), results)
