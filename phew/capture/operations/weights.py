"""Weighted operations: the units of the input end, and a new space begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from phew.capture.labels import unit_labels
from phew.capture.operations.joins import unknown
from phew.capture.tracer import Call, Tracer


@dataclass(frozen=True)
class Edges:
    """The edges of a weighted operation as a strided view of its weights (see `WeightedLink`)."""

    shape: tuple[int, int, int, int]
    strides: tuple[int, int, int, int]


def convolution(tracer: Tracer, call: Call) -> None:
    """Link channels to channels, group by group, with a weight for each kernel position."""
    activation, weight, bias, _, _, _, transposed, _, groups = call.args
    view = tracer.parameter_view(weight)
    # (out, in / groups, *kernel), or (in, out / groups, *kernel); groups cut the first.
    target, source = (1, 0) if transposed else (0, 1)
    sizes = [weight.shape[0] // groups, *weight.shape[1:]]
    strides = weight.stride() if view is None else view.index.stride()
    edges = None
    if kernel := _merge(sizes[2:], strides[2:]):
        num_positions, step = kernel
        edges = Edges(
            (groups, sizes[target], sizes[source], num_positions),
            (sizes[0] * strides[0], strides[target], strides[source], step),
        )
    _weighted(tracer, call, activation, weight, edges, axis=1, bias=bias)


def _merge(sizes: Sequence[int], strides: Sequence[int]) -> tuple[int, int] | None:
    """Return several dimensions as one (size, stride), None if no stride steps through."""
    size, step = 1, 1
    for dim_size, dim_stride in zip(reversed(sizes), reversed(strides), strict=True):
        if dim_size == 1:
            continue
        if size == 1:
            step = dim_stride
        elif dim_stride != size * step:
            return None
        size *= dim_size
    return size, step


def linear(tracer: Tracer, call: Call) -> None:
    """Link features to features: weight (out, in), units along the last dimension."""
    activation, weight, *bias = call.args
    edges = _matrix(tracer, weight, source=1)
    last = activation.dim() - 1
    _weighted(tracer, call, activation, weight, edges, axis=last, bias=bias[0] if bias else None)


def matrix_product(tracer: Tracer, call: Call) -> None:
    """Link the units of one matrix or vector by the other, if that is made of weights."""
    bias, left, right = call.args if call.name.startswith("add") else (None, *call.args)
    if tracer.labels_of(left) is None and tracer.parameter_view(right) is None:
        _weighted(tracer, call, right, left, _matrix(tracer, left, source=1), axis=0, bias=bias)
    else:
        edges = _matrix(tracer, right, source=0)
        _weighted(tracer, call, left, right, edges, axis=1, bias=bias)


def _matrix(tracer: Tracer, weight: torch.Tensor, source: int) -> Edges | None:
    """Return the edges of a matrix whose dimension `source` is the input; None for a vector."""
    if weight.dim() != 2:
        return None
    view = tracer.parameter_view(weight)
    strides = weight.stride() if view is None else view.index.stride()
    target = 1 - source
    return Edges(
        (1, weight.shape[target], weight.shape[source], 1), (0, strides[target], strides[source], 1)
    )


def embedding(tracer: Tracer, call: Call) -> None:
    """A lookup is not pruned: what it returns is an entry."""
    last = call.result.dim() - 1
    tracer.label(call, call.result, tracer.raw_labels(call.result.shape, range(last)))


def _weighted(
    tracer: Tracer,
    call: Call,
    activation: torch.Tensor,
    weight: torch.Tensor,
    edges: Edges | None,
    *,
    axis: int,
    bias: Any,
) -> None:
    """Link the units along `axis` of an activation to a new space along that of the result.

    Where the weights are constant the link is a wiring link.
    """
    if edges is None or tracer.labels_of(weight) is not None or tracer.is_computed(weight):
        unknown(tracer, call)
        return
    labels = tracer.labels_of(activation)
    if labels is None:
        labels = tracer.raw_labels(activation.shape)
    view = tracer.parameter_view(weight)
    if view is None:
        source = tracer.space_of(labels, [axis], call.name)
        groups, targets, *_ = edges.shape
        space = tracer.builder.add_constant(source, call.name, groups, groups * targets)
    else:
        name = view.name.rpartition(".")[0] or view.name
        source = tracer.space_of(labels, [axis], name)
        offset = int(view.index.storage_offset())
        space = tracer.builder.add_weights(
            source, name, view.name, edges.shape, edges.strides, offset
        )
    tracer.own_unit_parameter(bias, space)
    units = tracer.builder.units(space)
    tracer.label(call, call.result, unit_labels(units, call.result.shape, [axis]))
