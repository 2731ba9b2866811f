"""Modes of capture: a model runs on shapes alone, or on values."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload, OpOverloadPacket
from torch.utils._pytree import tree_map_only

_aten = torch.ops.aten

_ONE_DTYPE = (_aten.convolution, _aten.addmm, _aten.mm, _aten.linear)
"""Operations that do not check dtypes on meta tensors, and refuse different ones on others."""


CONSTANTS = tuple(
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


def _batch_norm(tensor: torch.Tensor, *_: Any) -> tuple[torch.Tensor, ...]:
    # The operator returns its statistics too, which are empty in evaluation mode.
    return torch.empty_like(tensor), tensor.new_empty(0), tensor.new_empty(0)


def _itself(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


SHAPES: dict[OpOverloadPacket, Callable[..., Any]] = {
    _aten.relu: torch.empty_like,
    _aten.relu_: _itself,
    _aten.native_batch_norm: _batch_norm,
}
"""Results of common operations whose shapes torch computes step by step in Python."""


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


def run_on_shapes(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation on meta tensors."""
    originals = {}

    def replace(tensor: torch.Tensor) -> torch.Tensor:
        stand_in = without_data(tensor)
        originals[stand_in] = tensor
        return stand_in

    args, kwargs = tree_map_only(torch.Tensor, replace, (args, kwargs))
    if func.overloadpacket.__name__ == "_grouped_mm":
        # Its meta function takes bfloat16 alone.
        rows, experts = args[:2]
        return rows.new_empty((*rows.shape[:-1], experts.shape[-1]))
    if func.overloadpacket in _ONE_DTYPE and len({tensor.dtype for tensor in originals}) > 1:
        raise TypeError(f"{func.name()} must have arguments of one dtype.")
    if kwargs.get("device") is not None:
        kwargs["device"] = torch.device("meta")
    run: Callable[..., Any] = SHAPES.get(func.overloadpacket, func)
    # An operation in place returns its argument, which the caller knows as the original.
    return tree_map_only(
        torch.Tensor, lambda result: originals.get(result, result), run(*args, **kwargs)
    )


def on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """Return a stand-in for a tensor of which only the shape is needed."""
    if not tensor.is_meta:
        return tensor
    return torch.empty((), dtype=tensor.dtype, device="cpu").expand(tensor.shape)


def without_data(tensor: torch.Tensor) -> torch.Tensor:
    """Return a meta tensor of the same shape and strides."""
    if tensor.is_meta:
        return tensor
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


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

    replaced: tuple[Any, ...] = tree_map_only(torch.Tensor, replace, args)
    return replaced
