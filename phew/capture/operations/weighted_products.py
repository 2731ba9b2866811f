"""Matrix products with weights: a dimension of the weights becomes the units of a new space.

The dimensions of weights are seldom those of their parameter: attention makes a matrix of a
parameter per head. Each is described by the parameter's dimensions that it consists of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from phew.capture.calls import Call
from phew.capture.labels import by_position, equal_products, reshape, unit_labels
from phew.capture.mosaics import Mosaic
from phew.capture.operations.pieces import link, link_pieces, too_many_pieces
from phew.capture.operations.weights import merge_dims
from phew.capture.parameter_views import ParameterView
from phew.capture.tracer import Tracer


@dataclass(frozen=True)
class _Axis:
    """A dimension of weights, which may merge several of the parameter's.

    A parameter of shape (8 features, 2 heads, 3) that is viewed as a matrix (8, 6) has two axes.
    The second merges the heads, of stride 3, with the places in them, of stride 1: sizes (2, 3),
    strides (3, 1). One stride, 1, steps through all six.

    A parameter of shape (2 heads, 8 features, 3) that is permuted and copied to a matrix (8, 6) has
    a second axis of sizes (2, 3) and strides (24, 1): no one stride steps through it, `step` is
    None, and the heads are linked one by one.

    Attributes:
        sizes: Sizes of the parameter's dimensions, in the order in which the weights merge them.
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
        # At most one of the new dimensions has another size than 1: it merges all the old ones.
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


def multiply_weights(
    tracer: Tracer, call: Call, labels: torch.Tensor, view: ParameterView | Mosaic, bias: Any
) -> torch.Tensor | None:
    """Link the last dimension of an activation by a matrix of weights, or a batch of matrices.

    Every matrix of a batch is a group of its own.

    Args:
        tracer: The tracer.
        call: The operation.
        labels: The activation's labels, shape (..., m, k).
        view: The weights, shape (k, n) or (..., k, n).
        bias: The vector that is added, if any.

    Returns:
        The labels of the product, shape (..., m, n); None if it was labelled as an approximation.
    """
    if isinstance(view, Mosaic):
        return _multiply_pieces(tracer, call, labels, view)
    *batch, sources, targets = _axes(view)
    groups = batch[0] if batch else _Axis((), ())
    if targets.step is None and sources.step and all(axis.size == 1 for axis in batch):
        return _multiply_by_slice(tracer, call, labels, view, sources, targets)
    distinct = groups.without_repeats
    steps = distinct.step, targets.step, sources.step
    if len(batch) > 1 or None in steps:
        return _multiply_pieces(tracer, call, labels, tracer.parameters.mosaic_from(view))
    shape = torch.Size([*labels.shape[:-1], targets.size])
    # The labels get a dimension for each that the parameter has: (*groups, ..., *sources).
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
    # The result is (*groups, ..., *targets); its units are in the order of the parameter.
    dims = [*group_dims, *(last + dim for dim in targets.order)]
    sizes = torch.Size([*labels.shape[:last], *targets.sizes])
    units = tracer.builder.spaces.units(space).view([sizes[dim] for dim in dims])
    units = units.permute(sorted(range(len(dims)), key=dims.__getitem__))
    return reshape(unit_labels(units, sizes, dims), shape)


def _multiply_by_slice(
    tracer: Tracer,
    call: Call,
    labels: torch.Tensor,
    view: ParameterView,
    sources: _Axis,
    targets: _Axis,
) -> torch.Tensor | None:
    """Link to targets that no one stride steps through, e.g. those of all heads, slice by slice.

    The weights are cut along the outermost of the parameter's dimensions that the targets merge:
    (8 features, 2 x 3 targets) become a batch of two matrices (8, 3). Every slice is a group, which
    the same sources feed.
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
    result = multiply_weights(tracer, call, slices, replace(view, index=index, shape=shape), None)
    if result is None:
        return None
    sizes = [targets.sizes[dim] for dim in inner]
    by_dim = result.unflatten(-1, sizes) if inner else result.squeeze(-1)
    # The slices come first in the result, and belong beside the other dimensions of the targets.
    first = labels.dim() - 1
    by_dim = by_dim.movedim(0, first)
    order = [first + dims.index(dim) for dim in range(len(dims))]
    by_dim = by_dim.permute(*range(first), *order)
    return reshape(by_dim, torch.Size([*labels.shape[:-1], targets.size]))


def multiply_one_element(tracer: Tracer, call: Call) -> bool:
    """Link an activation by weights that each have one input, and return whether it was done.

    Of `einsum("bi,oi->bo", x, weight)` with one input torch makes a product of the shapes (b, 1, 1)
    and (1, o, 1): what is summed over comes last. Weights with more elements than the activation
    along a dimension lead to its units there; dimensions that both have are groups. The parameter
    has a dimension for the one input, by which its weights are told from scales.
    """
    activation, weight = call.tensors
    view = tracer.parameters.view_of(weight)
    if view is None:
        activation, weight = weight, activation
        view = tracer.parameters.view_of(weight)
    labels = tracer.activations.labels_of(activation)
    if view is None or labels is None or view.shape != view.index.shape:
        return False
    parameter = view.index if view.index._base is None else view.index._base
    sizes = list(zip(activation.shape, weight.shape, strict=False))
    targets = [dim for dim, (size, width) in enumerate(sizes) if size == 1 and width > 1]
    groups = [dim for dim, (size, width) in enumerate(sizes) if size > 1 and width > 1]
    others = [dim for dim, (_, width) in enumerate(sizes) if width == 1]
    has_input = activation.dim() == weight.dim() and 1 in parameter.shape and sizes[-1:] == [(1, 1)]
    if not has_input or not targets or len(groups) > 1:
        return False
    index = view.index.permute(*groups, *targets, *others).flatten(len(groups) + len(targets))
    index = index.squeeze(-1).unsqueeze(len(groups))
    shape = torch.Size([*(weight.shape[dim] for dim in groups), 1, view.index.numel()])
    if groups:
        shape = torch.Size([*shape[:2], shape[2] // shape[0]])
    kept = [*groups, *others]
    labels = labels.permute(*kept, *targets).flatten(len(kept)).narrow(-1, 0, 1)
    weights = replace(view, index=index, shape=shape)
    product = multiply_weights(tracer, call, labels, weights, None)
    if product is not None:
        product = product.unflatten(-1, [weight.shape[dim] for dim in targets])
        order = [*kept, *targets]
        product = product.permute([order.index(dim) for dim in range(len(order))])
        tracer.label(call, call.result, product)
    return True


def _multiply_pieces(
    tracer: Tracer, call: Call, labels: torch.Tensor, weights: Mosaic
) -> torch.Tensor | None:
    """Link the last dimension of an activation by weights that are several pieces of parameters."""
    *batch, num_sources, num_targets = weights.shape
    dims = [*range(len(batch)), labels.dim() - 1]
    num_groups = math.prod(batch)
    rows = by_position(labels, dims).view(num_groups, num_sources, -1)
    units = link_pieces(
        tracer,
        call,
        weights.numbers.reshape(num_groups, num_sources, num_targets, 1).transpose(1, 2),
        weights.absent,
        rows,
        num_uses=labels.numel() / max(num_groups * num_sources, 1),
        merge_groups=True,
    )
    if units is None:
        too_many_pieces(tracer, call, weights)
        return None
    return unit_labels(units.flatten(), torch.Size([*labels.shape[:-1], num_targets]), dims)
