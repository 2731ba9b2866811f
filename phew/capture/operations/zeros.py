"""What operations make of zeros: they are asked, on tensors of one element.

The weights `weight * gate` are zero where `weight` is, so they can be pruned by pruning `weight`.
Those of `weight + noise` are not. To find out, the operation is run on 0 in the place of `weight`
and on other numbers in the place of the rest.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from phew.capture.calls import Call
from phew.capture.tracer import Tracer

WEIGHT_NORMS = {"_weight_norm", "_weight_norm_interface"}

SCALES = {
    *(*WEIGHT_NORMS, "native_dropout", "renorm", "tril", "tril_", "triu", "triu_"),
    *("fake_quantize_per_tensor_affine", "fake_quantize_per_tensor_affine_cachemask"),
    *("fake_quantize_per_channel_affine", "fake_quantize_per_channel_affine_cachemask"),
    *("_fake_quantize_per_tensor_affine_cachemask_tensor_qparams", "_fake_quantize_learnable"),
    *("_fake_quantize_learnable_per_tensor_affine", "_fake_quantize_learnable_per_channel_affine"),
    *("_fused_moving_avg_obs_fq_helper", "fused_moving_avg_obs_fake_quant"),
}
"""Operations that keep zeros, element by element, beside pointwise ones: these are asked."""

_SUMS = {
    *("sum", "mean", "norm", "linalg_vector_norm", "amax", "amin", "max", "min", "std", "var"),
    *("mm", "bmm", "mv", "dot", "vdot", "_linalg_svd"),
}
"""Operations that return zero, or NaN, where an argument is that as a whole."""


def keeps_zeros(tracer: Tracer, call: Call, zeros: list[torch.Tensor]) -> bool:
    """Return whether an operation returns zeros where some of its arguments are zero."""
    if call.name in SCALES:
        return True
    if not is_pointwise(call):
        return False

    def value_of(number: int, tensor: torch.Tensor) -> float:
        return 0 if any(tensor is zero for zero in zeros) else _any_value(tracer, tensor, number)

    return all(_evaluate(call, partial(value_of, number)) == 0 for number in (0, 1))


def value_at_zero(tracer: Tracer, call: Call) -> float | None:
    """Return what an operation returns where all parameters among its arguments are zero."""

    def value_of(tensor: torch.Tensor) -> float | None:
        origin = tracer.parameters.origin_of(tensor)
        return _any_value(tracer, tensor, 0) if origin is None else origin.at_zero

    if call.name in SCALES:
        return math.nan if call.name in WEIGHT_NORMS else 0.0
    if call.name in _SUMS:
        values = [value_of(tensor) for tensor in call.tensors]
        return next((value for value in values if value == 0 or value != value), None)
    return _evaluate(call, value_of) if is_pointwise(call) else None


def is_pointwise(call: Call) -> bool:
    """Return whether an operation makes each element of others at its place."""
    # Torch does not tag the filling of flagged elements.
    if call.name in ("masked_fill", "masked_fill_"):
        return True
    tags = call.operation.tags
    return torch.Tag.pointwise in tags and torch.Tag.nondeterministic_seeded not in tags


def _any_value(tracer: Tracer, tensor: torch.Tensor, number: int) -> float:
    """Return one of two numbers that the elements of a tensor may be, of different signs."""
    if tracer.values.are_known(tensor) and not tensor.any():
        return 0
    if tensor.dtype == torch.bool:
        return number
    is_real = tensor.is_floating_point() or tensor.is_complex()
    return (0.75, -1.25)[number] if is_real else (1, 3)[number]


def _evaluate(call: Call, value_of: Callable[[torch.Tensor], float | None]) -> float | None:
    """Run an operation on single elements of these values; return the first of its results."""

    def stand_in(tensor: torch.Tensor) -> torch.Tensor:
        value: Any = value_of(tensor)
        shape = [1] * min(tensor.dim(), 1)
        return torch.full(shape, value, dtype=tensor.dtype, device="cpu")

    # An operation that cannot be run on these is not known to keep zeros.
    with contextlib.suppress(RuntimeError, TypeError, ValueError, NotImplementedError):
        args, kwargs = tree_map_only(torch.Tensor, stand_in, (call.args, dict(call.kwargs)))
        result = call.operation(*args, **kwargs)
        first = result if isinstance(result, torch.Tensor) else result[0]
        return float(first.abs() if first.is_complex() else first)
    return None
