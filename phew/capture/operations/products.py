"""Matrix products, with weights or between activations, and attention.

A product of activations has a unit for each position of its result along the dimensions in which a
factor's units vary, wired from all the units that are summed over there. Attention needs no case
of its own: the scores of a head are one unit, fed by its queries and keys; their product with the
values is a product of three.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from phew.capture.calls import Call, ParameterView
from phew.capture.labels import (
    NO_UNIT,
    equal_products,
    has_units,
    reshape,
    unit_labels,
    varying_dims,
)
from phew.capture.operations.joins import combine, merge, unknown
from phew.capture.operations.weights import link, merge_dims
from phew.capture.tracer import Tracer

WITH_BIAS = ("addmm", "addmv", "baddbmm")


@dataclass(frozen=True)
class Factor:
    """One side of a matrix product.

    Attributes:
        labels: Its labels, None for parameters and constants.
        view: The weights that it consists of, if any.
        values: The values of a constant, where they are known.
    """

    labels: torch.Tensor | None
    view: ParameterView | None
    values: torch.Tensor | None

    @classmethod
    def of(cls, tracer: Tracer, tensor: torch.Tensor) -> Factor:
        """Describe an argument."""
        labels = tracer.labels_of(tensor)
        if labels is not None:
            return cls(labels, None, None)
        view = tracer.parameter_view(tensor)
        return cls(None, view, tensor if tracer.has_values(tensor) else None)

    def apply(self, move: Callable[[torch.Tensor], torch.Tensor]) -> Factor:
        """Return what an operation that moves data makes of it."""
        view = self.view
        if view is not None:
            if view.shape != view.index.shape:
                raise ValueError("weights must not merge dimensions where they are transposed.")
            view = ParameterView.of(view.name, move(view.index))
        return Factor(
            None if self.labels is None else move(self.labels),
            view,
            None if self.values is None else move(self.values),
        )


def multiply(tracer: Tracer, call: Call) -> None:
    """Multiply vectors, matrices or batches of them, and add a bias."""
    has_bias = call.name in WITH_BIAS
    left, right = (Factor.of(tracer, tensor) for tensor in call.args[has_bias : has_bias + 2])
    shape = call.result.shape
    if call.name in ("mv", "addmv"):
        right, shape = right.apply(lambda vector: vector.unsqueeze(1)), torch.Size([*shape, 1])
    elif call.name in ("dot", "vdot"):
        left = left.apply(lambda vector: vector.unsqueeze(0))
        right, shape = right.apply(lambda vector: vector.unsqueeze(1)), torch.Size([1, 1])
    _multiply(tracer, call, left, right, shape, call.args[0] if has_bias else None)


def linear(tracer: Tracer, call: Call) -> None:
    """Multiply by a transposed matrix: weight (out, in), units along the last dimension."""
    activation, weight, *bias = call.args
    left, right = (Factor.of(tracer, tensor) for tensor in (activation, weight))
    right = right.apply(lambda matrix: matrix.t())
    _multiply(tracer, call, left, right, call.result.shape, bias[0] if bias else None)


def _multiply(
    tracer: Tracer, call: Call, left: Factor, right: Factor, shape: torch.Size, bias: Any
) -> None:
    if left.labels is not None and right.labels is not None:
        labels = matrix_product(tracer, call.place, left.labels, right.labels)
    elif right.view is not None:
        activation = left.labels if left.labels is not None else tracer.feed(_argument(call, 0))
        weighted = _weighted(tracer, call, activation, right.view, bias)
        if weighted is None:
            return
        labels = weighted
    elif left.view is not None:
        activation = right.labels if right.labels is not None else _fed_right(tracer, call)
        view = left.apply(_transpose).view
        assert view is not None
        weighted = _weighted(tracer, call, _transpose(activation), view, bias)
        if weighted is None:
            return
        labels = _transpose(weighted)
    elif left.labels is not None:
        labels = _constant_product(
            tracer, call.place, left.labels, _argument(call, 1), right.values
        )
    else:
        assert right.labels is not None
        values = None if left.values is None else _transpose(left.values)
        labels = _transpose(
            _constant_product(
                tracer, call.place, _transpose(right.labels), _argument(call, 0), values
            )
        )
    labels = labels.expand(shape)
    if labels.dim() != call.result.dim():
        labels = reshape(labels, call.result.shape)
    added = tracer.labels_of(bias) if isinstance(bias, torch.Tensor) else None
    if added is not None:
        labels = combine(tracer.builder.join, [labels, added], labels.shape, call.place)
    tracer.label(call, call.result, labels)


def _argument(call: Call, side: int) -> torch.Tensor:
    tensor: torch.Tensor = call.args[side + (call.name in WITH_BIAS)]
    return tensor


def _fed_right(tracer: Tracer, call: Call) -> torch.Tensor:
    labels = tracer.feed(_argument(call, 1))
    return labels.unsqueeze(1) if labels.dim() == 1 else labels


def _transpose(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.transpose(-1, -2)


def _weighted(
    tracer: Tracer, call: Call, labels: torch.Tensor, view: ParameterView, bias: Any
) -> torch.Tensor | None:
    """Link the last dimension of (..., m, k) by weights (k, n) or a batch of them.

    Every matrix of a batch is a group of its own.
    """
    *batch, sources, targets = _axes(view)
    groups = batch[0] if batch else _Axis((), ())
    if targets.step is None and sources.step and all(axis.size == 1 for axis in batch):
        return _weighted_by_slice(tracer, call, labels, view, sources, targets)
    distinct = groups.without_repeats
    steps = distinct.step, targets.step, sources.step
    if len(batch) > 1 or None in steps:
        unknown(tracer, call, "no stride steps through its weights in the parameter")
        return None
    shape = torch.Size([*labels.shape[:-1], targets.size])
    # A dimension for each that the parameter has: (*groups, ..., *sources or *targets).
    labels = labels.unflatten(-1, sources.sizes)
    if batch:
        labels = labels.unflatten(0, groups.sizes)
    last = labels.dim() - len(sources.sizes)
    group_dims = [dim for dim in groups.order if groups.strides[dim]]
    space = link(
        tracer,
        view,
        labels,
        [*group_dims, *(last + dim for dim in sources.order)],
        (distinct.size, targets.size, sources.size, 1),
        (steps[0] or 0, steps[1] or 0, steps[2] or 0, 1),
    )
    tracer.own_unit_parameter(bias, space)
    dims = [*group_dims, *(last + dim for dim in targets.order)]
    sizes = torch.Size([*labels.shape[:last], *targets.sizes])
    units = tracer.builder.units(space).view([sizes[dim] for dim in dims])
    units = units.permute(sorted(range(len(dims)), key=dims.__getitem__))
    return reshape(unit_labels(units, sizes, dims), shape)


def _weighted_by_slice(
    tracer: Tracer,
    call: Call,
    labels: torch.Tensor,
    view: ParameterView,
    sources: _Axis,
    targets: _Axis,
) -> torch.Tensor | None:
    """Link to targets that no one stride steps through, e.g. those of all heads, slice by slice.

    Every slice is a group, which the same sources feed.
    """
    outer, *inner = targets.order
    dims = [outer, *inner]
    index = view.index.as_strided(
        [targets.sizes[outer], *sources.sizes, *(targets.sizes[dim] for dim in inner)],
        [targets.strides[outer], *sources.strides, *(targets.strides[dim] for dim in inner)],
    )
    num_inner = math.prod(targets.sizes[dim] for dim in inner)
    shape = torch.Size([targets.sizes[outer], sources.size, num_inner])
    slices = labels.expand(targets.sizes[outer], *labels.shape)
    result = _weighted(tracer, call, slices, ParameterView(view.name, index, shape), None)
    if result is None:
        return None
    sizes = [targets.sizes[dim] for dim in inner]
    by_dim = result.unflatten(-1, sizes) if inner else result.squeeze(-1)
    first = labels.dim() - 1
    by_dim = by_dim.movedim(0, first)
    order = [first + dims.index(dim) for dim in range(len(dims))]
    by_dim = by_dim.permute(*range(first), *order)
    return reshape(by_dim, torch.Size([*labels.shape[:-1], targets.size]))


@dataclass(frozen=True)
class _Axis:
    """A dimension of weights, which may merge several of the parameter's.

    Attributes:
        sizes: Their sizes.
        strides: Their strides in the parameter, 0 where its elements are repeated.
    """

    sizes: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def size(self) -> int:
        """Size of the dimension."""
        return math.prod(self.sizes)

    @property
    def order(self) -> list[int]:
        """The merged dimensions, in the parameter's order."""
        return sorted(range(len(self.sizes)), key=lambda dim: -self.strides[dim])

    @property
    def step(self) -> int | None:
        """The stride that steps through all of them in that order, None if there is none."""
        merged = merge_dims([self.sizes[dim] for dim in self.order], sorted(self.strides)[::-1])
        return None if merged is None or (merged[0] > 1 and not merged[1]) else merged[1]

    @property
    def without_repeats(self) -> _Axis:
        """The part along which elements differ."""
        pairs = [pair for pair in zip(self.sizes, self.strides, strict=True) if pair[1]]
        return _Axis(tuple(size for size, _ in pairs), tuple(stride for _, stride in pairs))


def _axes(view: ParameterView) -> list[_Axis]:
    """Return the dimensions of weights, each with those of the parameter that it consists of."""
    axes = []
    sizes, strides = view.index.shape, view.index.stride()
    for old_dims, new_dims in equal_products(sizes, view.shape):
        # Of the new dimensions at most one is not of size 1.
        kept = [dim for dim in old_dims if sizes[dim] != 1]
        for dim in new_dims:
            merged = kept if view.shape[dim] != 1 else []
            axes.append(
                _Axis(
                    tuple(sizes[old] for old in merged) or (1,),
                    tuple(strides[old] for old in merged) or (1,),
                )
            )
    return axes


def matrix_product(
    tracer: Tracer, name: str, left: torch.Tensor, right: torch.Tensor
) -> torch.Tensor:
    """Return the labels of (..., m, k) times (..., k, n), shape (..., m, n)."""
    left, right = left.unsqueeze(-2), right.transpose(-1, -2).unsqueeze(-3)
    shape = torch.broadcast_shapes(left.shape, right.shape)[:-1]
    return combine(tracer.builder.multiply, [left, right], shape, name)


def _constant_product(
    tracer: Tracer,
    name: str,
    activation: torch.Tensor,
    constant: torch.Tensor,
    values: torch.Tensor | None,
) -> torch.Tensor:
    """Return the labels of (..., m, k) times a constant (..., k, n), shape (..., m, n or 1).

    Zeros in a constant whose values are known are no edges.
    """
    last = activation.dim() - 1
    if last in varying_dims(activation):
        tracer.check_has_values(constant)
    if last not in varying_dims(activation) or values is None or bool(values.all()):
        return merge(tracer, activation, [last], name)
    edges = (values != 0).transpose(-1, -2).unsqueeze(-3)
    rows = torch.where(edges, activation.unsqueeze(-2), NO_UNIT)
    return merge(tracer, rows, [last + 1], name).squeeze(-1)


def scaled_dot_product_attention(tracer: Tracer, call: Call) -> None:
    """Lead queries and keys to all of their head's output, values to their own place in it.

    A bias that has units, such as scores of relative positions, is added to the scores.
    """
    query, key, value = (tracer.feed(tensor) for tensor in call.args[:3])
    # Grouped heads: each key and value head serves several query heads.
    num_shared = query.shape[-3] // max(key.shape[-3], 1)
    if num_shared > 1:
        key, value = (part.repeat_interleave(num_shared, dim=-3) for part in (key, value))
    scores = matrix_product(tracer, call.place, query, key.transpose(-1, -2))
    for name in ("attn_mask", "attn_bias"):
        bias = tracer.labels_of(call.argument(name)) if call.argument(name) is not None else None
        if bias is not None and has_units(bias):
            scores = combine(tracer.builder.join, [scores, bias], scores.shape, call.place)
    labels = matrix_product(tracer, call.place, scores, value)
    tracer.label(call, call.outputs[0], labels)


def solve(tracer: Tracer, call: Call) -> None:
    """Multiply by the inverse of a matrix, each element of which depends on all of it."""
    matrix, right = (tracer.feed(tensor) for tensor in call.args[:2])
    inverse = merge(tracer, matrix, [-1, -2], call.place).expand_as(matrix)
    labels = matrix_product(tracer, call.place, inverse, right)
    tracer.label(call, call.outputs[0], labels.expand(call.outputs[0].shape))


def invert(tracer: Tracer, call: Call) -> None:
    """Decompose or invert a matrix: each element of the result depends on all of it."""
    labels = merge(tracer, tracer.labels_or_constant(call.args[0]), [-1, -2], call.place)
    tracer.label(call, call.outputs[0], labels.expand(call.outputs[0].shape))


def distances(tracer: Tracer, call: Call) -> None:
    """Join all pairs of rows of two matrices."""
    left, right = (tracer.feed(tensor) for tensor in call.args[:2])
    labels = matrix_product(tracer, call.place, left, right.transpose(-1, -2))
    tracer.label(call, call.result, labels.expand(call.result.shape))
