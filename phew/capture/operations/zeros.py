"""Ask operations what they make of zeros: they are run on single elements.

The weights `weight * gate` are zero where `weight` is, so they can be pruned by pruning `weight`.
Those of `weight + noise` are not. To find out, the operation is run on 0 in the place of `weight`
and on other numbers in the place of the rest.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from phew.capture.calls import Call, with_replaced
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


@dataclass(frozen=True)
class _Element:
    """An element that stands for an argument of an operation.

    Attributes:
        value: Its value.
        dtype: Its dtype.
        rank: 0 for a single number, 1 for a vector of one: these are promoted to other dtypes.
    """

    value: Any
    dtype: torch.dtype
    rank: int

    def tensor(self) -> torch.Tensor:
        """Return the element as a tensor."""
        return torch.full([1] * self.rank, self.value, dtype=self.dtype, device="cpu")


def keeps_zeros(tracer: Tracer, call: Call, zeros: list[torch.Tensor]) -> bool:
    """Return whether an operation returns zeros where some of its arguments are zero."""
    return call.name in SCALES or (is_pointwise(call) and makes_zero(tracer, call, zeros, sign=-1))


def makes_zero(tracer: Tracer, call: Call, zeros: list[torch.Tensor], *, sign: int = 1) -> bool:
    """Return whether an operation on single elements returns zero where some of them are zero.

    It is run twice, on other numbers in the place of the rest. One that refuses them may make
    anything.

    Args:
        tracer: The tracer.
        call: The operation.
        zeros: The arguments that are zero.
        sign: The sign of the other arguments in the second run. They are positive by default, as
            thresholds of activations are: `minimum(x, threshold)` makes zero of zeros.
    """

    def value_of(scale: float, tensor: torch.Tensor) -> float:
        is_zero = any(tensor is zero for zero in zeros)
        return 0 if is_zero else _any_value(tracer, call, tensor, scale)

    return all(_evaluate(tracer, call, partial(value_of, scale)) == 0 for scale in (1, 2 * sign))


def value_at_zero(tracer: Tracer, call: Call) -> float | None:
    """Return what an operation returns where all parameters among its arguments are zero."""

    def value_of(tensor: torch.Tensor) -> float | None:
        origin = tracer.parameters.origin_of(tensor)
        return _any_value(tracer, call, tensor, 1) if origin is None else origin.at_zero

    if call.name in SCALES:
        return math.nan if call.name in WEIGHT_NORMS else 0.0
    if call.name in _SUMS:
        values = [value_of(tensor) for tensor in call.tensors]
        return next((value for value in values if value == 0 or value != value), None)
    return _evaluate(tracer, call, value_of) if is_pointwise(call) else None


def is_pointwise(call: Call) -> bool:
    """Return whether an operation makes each element of others at its place."""
    # Torch does not tag the filling of flagged elements.
    if call.name in ("masked_fill", "masked_fill_"):
        return True
    tags = call.operation.tags
    return torch.Tag.pointwise in tags and torch.Tag.nondeterministic_seeded not in tags


def _any_value(tracer: Tracer, call: Call, tensor: torch.Tensor, scale: float) -> float:
    """Return a number that stands for the elements of an argument, times a scale.

    Different arguments are different numbers, so that their difference is not zero. Flags are set
    at any scale but 1.
    """
    if tracer.values.are_known(tensor) and not tensor.any():
        return 0
    if tensor.dtype == torch.bool:
        return scale != 1
    # A tensor that is only written to is not among these, and its number does not matter.
    position = next((index for index, other in enumerate(call.tensors) if other is tensor), 0)
    is_real = tensor.is_floating_point() or tensor.is_complex()
    return scale * (0.75 + position / 8) if is_real else abs(scale) * (1 + position)


def _evaluate(
    tracer: Tracer, call: Call, value_of: Callable[[torch.Tensor], float | None]
) -> float | None:
    """Run an operation on single elements of these values; return the first of its results.

    It is run once for the same values: a recurrence repeats its operations at each step.
    """

    def described(tensor: torch.Tensor) -> _Element:
        return _Element(value_of(tensor), tensor.dtype, min(tensor.dim(), 1))

    args, kwargs = with_replaced(torch.Tensor, described, (call.args, dict(call.kwargs)))
    key = repr((call.operation, args, kwargs))
    if key not in tracer.results_on_elements:
        tracer.results_on_elements[key] = _result(call, args, kwargs)
    return tracer.results_on_elements[key]


def _result(call: Call, args: Any, kwargs: Any) -> float | None:
    """Run an operation on elements, None if it refuses them."""
    with contextlib.suppress(RuntimeError, TypeError, ValueError, NotImplementedError):
        args, kwargs = with_replaced(_Element, _Element.tensor, (args, kwargs))
        result = call.operation(*args, **kwargs)
        first = result if isinstance(result, torch.Tensor) else result[0]
        return float(first.abs() if first.is_complex() else first)
    return None
