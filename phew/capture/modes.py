"""Modes of capture: a model runs on shapes alone, or on values."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload

from phew.capture.calls import with_replaced

_aten = torch.ops.aten

CONSTANTS = frozenset(
    getattr(_aten, name)
    for name in ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")
)
"""Operations whose results have values whatever their arguments have."""


_INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)

TESTS = {
    _aten.nonzero: _INTEGERS,
    _aten.index: (torch.bool,),
    _aten.index_put: (torch.bool,),
    _aten.index_put_: (torch.bool,),
    _aten._index_put_impl_: (torch.bool,),
}
"""Operations whose flags choose which elements are computed, with the dtypes of flags."""

MOST_PASSED = 4096
"""At most this many tests of values are taken as passed."""


class Mode(enum.Enum):
    """The kind of tensors that a model runs on.

    The modes are tried in this order: a model that reads values does not run on shapes, one that
    relies on how many of its tests pass does not run with all passed, and one that computes
    derivatives does not run without gradients.
    """

    SHAPES = "on shapes"
    """Activations and parameters are meta tensors, which have no data; constants have values."""

    TESTS_PASSED = "on values, with tests passed"
    """Real tensors; where tests of their values choose what is computed, all are passed."""

    VALUES = "on values"
    """Real tensors, as they are."""

    GRADIENTS = "on values, with gradients"
    """Real tensors, and operations are recorded, for a model that differentiates as it runs."""


def on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """Return a stand-in for a tensor of which only the shape is needed."""
    if not tensor.is_meta:
        return tensor
    return torch.empty((), dtype=tensor.dtype, device="cpu").expand(tensor.shape)


def as_passed(flags: torch.Tensor) -> torch.Tensor:
    """Return flags that tests of the example's values have set, as if all had passed.

    Layers behind a test are part of the network, whatever the example: every expert of a mixture,
    the head for boxes that an untrained detector does not find. If there are more than
    `MOST_PASSED` tests, the flags stay as they are, unless none is set: then the first
    `MOST_PASSED` are.
    """
    if flags.numel() > MOST_PASSED and flags.any():
        return flags
    passed = torch.zeros(flags.numel(), dtype=flags.dtype, device=flags.device)
    passed[:MOST_PASSED] = 1
    return passed.view(flags.shape)


def with_tests_passed(
    func: OpOverload, args: tuple[Any, ...], is_uncertain: Callable[[torch.Tensor], bool]
) -> tuple[Any, ...]:
    """Return an operation's arguments as if all tests of the example's values had passed."""
    kinds = TESTS.get(func.overloadpacket)
    if kinds is None:
        return args

    def replace(tensor: torch.Tensor) -> torch.Tensor:
        return as_passed(tensor) if tensor.dtype in kinds and is_uncertain(tensor) else tensor

    replaced: tuple[Any, ...] = with_replaced(torch.Tensor, replace, args)
    return replaced
