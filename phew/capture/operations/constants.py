"""Operations in which the values of constants say which units count: masks, choices, triangles.

An activation with the labels 5 6 7 that is multiplied by the constant 1 0 1 has the labels 5 -1 7:
the second element is a zero, whatever the input. Zeros are looked at by position along dimensions
in which units vary, and in one feature of an image that is hidden at some places only, its unit
stays: labels do not vary along places, which thus cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from phew.capture.calls import Call
from phew.capture.labels import (
    NO_UNIT,
    compact,
    unit_dims,
    varying_dims,
    without_constant_dims,
)
from phew.capture.operations.joins import combine, pointwise
from phew.capture.tracer import Tracer


def multiply(tracer: Tracer, call: Call) -> None:
    """Join the factors; where one is zero, so is the product.

    A factor that is zero everywhere is the first state of a recurrence: its later ones are not, so
    the other factor's units stay.
    """
    zeros = [part for tensor in call.tensors if (part := _zeros(tracer, tensor)) is not None]
    zeros = [part for part in zeros if not bool(part.all())]
    pointwise(tracer, call)
    labels = tracer.labels_or_constant(call.outputs[0])
    for part in zeros:
        labels = choose(part, (same_shape(NO_UNIT, labels), labels), tracer, call)
    if zeros:
        tracer.label(call, call.outputs[0], labels)
