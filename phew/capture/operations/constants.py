"""Operations in which the values of constants say which units count: masks, choices, triangles.

An activation with the labels 5 6 7 times the constant 1 0 1 has the labels 5 -1 7: its second
element is zero, whatever the input. Such values are looked at element by element along dimensions
in which units vary. Along others, such as the places of an image, a unit counts where it does at
some place, so that labels still do not vary there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from phew.capture.calls import Call
from phew.capture.labels import (
    NO_UNIT,
    compact,
    label_of_number,
    same_label,
    unit_dims,
    without_constant_dims,
)
from phew.capture.operations.joins import combine, labelled_operands, pointwise
from phew.capture.operations.weighted_products import multiply_one_element
from phew.capture.tracer import Tracer


def multiply(tracer: Tracer, call: Call) -> None:
    """Join the factors, unless they are weights; where one of them is zero there is no unit.

    A factor that is zero everywhere is left alone: it is the first state of a recurrence, whose
    later ones are not zero.
    """
    if call.name == "mul" and len(call.tensors) == 2 and multiply_one_element(tracer, call):
        return
    factors = [tensor for tensor in call.tensors if tensor.dim()]
    zeros = [part for tensor in factors if (part := _zeros(tracer, tensor)) is not None]
    operands = labelled_operands(tracer, call)
    pointwise(tracer, call)
    for flags in zeros:
        labels = tracer.labels_or_constant(call.outputs[0])
        always, _ = _by_element(flags, [labels, *operands])
        if bool(always.any()):
            labels = torch.where(always, NO_UNIT, compact(labels)).expand(labels.shape)
            tracer.label(call, call.outputs[0], without_constant_dims(labels))


def _zeros(tracer: Tracer, tensor: torch.Tensor) -> torch.Tensor | None:
    """Return where a factor is zero, None if that is nowhere, everywhere or not known."""
    labels = tracer.activations.labels_of(tensor)
    if labels is not None:
        zeros = compact(labels) == NO_UNIT
    elif tracer.values.are_known(tensor):
        zeros = tensor.cpu() == 0
    else:
        return None
    return zeros if bool(zeros.any()) and not bool(zeros.all()) else None


def where(tracer: Tracer, call: Call) -> None:
    """Choose between two operands by flags."""
    flags, first, second = call.args
    _choose(tracer, call, flags, first, second)


def masked_fill(tracer: Tracer, call: Call) -> None:
    """Put a value where flags are."""
    tensor, flags, value = call.args
    _choose(tracer, call, flags, value, tensor)


def triangle(tracer: Tracer, call: Call) -> None:
    """Keep a triangle of the last two dimensions; the rest is zero."""
    tensor = call.args[0]
    flags = torch.ones(tensor.shape[-2:], dtype=torch.bool, device="cpu")
    kept = getattr(flags, call.name.removesuffix("_"))(*call.args[1:], **call.kwargs)
    labels = tracer.labels_or_constant(tensor)
    tracer.label(
        call, call.result, _chosen(kept, labels, same_label(NO_UNIT, labels.shape), labels)
    )


def _choose(tracer: Tracer, call: Call, flags: torch.Tensor, first: Any, second: Any) -> None:
    """Label what is the first where flags are and the second elsewhere."""
    if not tracer.values.are_known(flags):
        # Either may be chosen, by units that the flags have where these follow from some.
        pointwise(tracer, call)
        return
    shape = call.result.shape
    operands = labelled_operands(tracer, call)
    either = combine(tracer.builder.join, operands, shape, call.place)
    labels = _chosen(
        flags.cpu(), _labels(tracer, first, shape), _labels(tracer, second, shape), either
    )
    tracer.label(call, call.result, labels)


def _labels(tracer: Tracer, operand: Any, shape: torch.Size) -> torch.Tensor:
    """Return the labels of a number or a tensor, in this shape."""
    if isinstance(operand, torch.Tensor):
        return tracer.labels_or_constant(operand).expand(shape)
    return same_label(label_of_number(operand), shape)


def _chosen(
    flags: torch.Tensor, first: torch.Tensor, second: torch.Tensor, either: torch.Tensor
) -> torch.Tensor:
    """Return the first labels where flags are always set, the second where they never are."""
    always, never = _by_element(flags, [first, second])
    labels = torch.where(never, compact(second), compact(either))
    labels = torch.where(always, compact(first), labels)
    return without_constant_dims(labels.expand(first.shape))


def _by_element(
    flags: torch.Tensor, operands: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where flags are always set, and where they never are.

    They are looked at by element along the dimensions in which units may vary: flags (1 1 0) that
    hide places are neither always set nor never.
    """
    rank = max(part.dim() for part in operands)
    flags = flags.reshape([1] * (rank - flags.dim()) + list(flags.shape))
    dims = {dim for dim, size in enumerate(flags.shape) if size > 1}
    others = dims.difference(unit_dims(operands, dims))
    always, never = flags, ~flags
    for dim in others:
        always, never = always.all(dim, keepdim=True), never.all(dim, keepdim=True)
    return always, never
