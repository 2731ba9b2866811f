"""Weighted operations: links from the units of the input to those of a new space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from phew.capture.calls import Call
from phew.capture.labels import by_position, compact, reshape, unit_labels
from phew.capture.operations.joins import combine, merge, unknown
from phew.capture.parameter_views import ParameterView
from phew.capture.tracer import Tracer

MERGED = "its weights merge dimensions of the parameter in another order"
"""A reason for an approximation."""


def link(
    tracer: Tracer,
    view: ParameterView,
    labels: torch.Tensor,
    axes: list[int],
    shape: tuple[int, int, int, int],
    strides: tuple[int, int, int, int],
    *,
    num_uses: float | None = None,
    num_copies: int = 1,
) -> int:
    """Link the units along some axes of an activation to a new space, and return that.

    Args:
        tracer: The tracer.
        view: The weights.
        labels: The activation's labels.
        axes: The dimensions of its units.
        shape: The edges (see `WeightedLink.shape`).
        strides: Their strides in the parameter.
        num_uses: See `WeightedLink`; by default each element of the activation meets one of the
            weights that lead to a target.
        num_copies: Number of copies of the source's and the target's units, by group.
    """
    if num_uses is None:
        num_uses = labels.numel() / max(shape[0] * shape[2], 1)
    name = view.name.rpartition(".")[0] or view.name
    source = tracer.builder.find_or_add_space(
        by_position(labels, axes), name, num_copies=num_copies
    )
    offset = int(view.index.storage_offset())
    return tracer.builder.add_weights(
        source,
        name,
        view.name,
        shape,
        strides,
        offset,
        num_uses=num_uses,
        num_copies=num_copies,
    )


def convolution(tracer: Tracer, call: Call) -> None:
    """Link channels to channels, group by group, with a weight for each kernel position."""
    activation, weight, bias, _, _, _, transposed, _, groups = call.args
    _convolve(tracer, call, tracer.feed(activation), weight, bias, groups, transposed=transposed)


def deformable_convolution(tracer: Tracer, call: Call) -> None:
    """Link channels as a convolution does; offsets and a mask move and scale every channel."""
    activation, weight, offset, mask, bias = call.args[:5]
    labels = tracer.feed(activation)
    for operand in (offset, mask):
        moving = tracer.activations.labels_of(operand)
        if moving is not None and moving.numel():
            moving = merge(tracer, moving, range(1, moving.dim()), call.place)
            labels = combine(tracer.builder.join, [labels, moving], labels.shape, call.place)
    groups = activation.shape[1] // weight.shape[1]
    _convolve(tracer, call, labels, weight, bias, groups, transposed=False)


def _convolve(
    tracer: Tracer,
    call: Call,
    labels: torch.Tensor,
    weight: torch.Tensor,
    bias: Any,
    groups: int,
    *,
    transposed: bool,
) -> None:
    """Link channels to channels, group by group, by an edge for each position of the kernel."""
    view = tracer.parameters.view_of(weight)
    if view is None:
        _convolve_without_parameter(tracer, call, labels, weight, groups, transposed)
        return
    if view.shape != view.index.shape:
        unknown(tracer, call, MERGED)
        return
    # The weights are (out, in / groups, *kernel), or (in, out / groups, *kernel) if transposed.
    # Groups cut the first dimension.
    target, source = (1, 0) if transposed else (0, 1)
    sizes = [weight.shape[0] // groups, *weight.shape[1:]]
    strides = view.index.stride()
    kernel = merge_dims(sizes[2:], strides[2:])
    if kernel is None:
        unknown(tracer, call, "its kernel has no single stride in the parameter")
        return
    shape = (groups, sizes[target], sizes[source], kernel[0])
    steps = (sizes[0] * strides[0], strides[target], strides[source], kernel[1])
    # A weight is used once per place: of the input in a transposed convolution, else of the output.
    num_uses = None if transposed else call.result.numel() / max(call.result.shape[1], 1)
    space = link(tracer, view, labels, [1], shape, steps, num_uses=num_uses)
    tracer.own_unit_parameter(bias, space)
    units = tracer.builder.spaces.units(space)
    tracer.label(call, call.result, unit_labels(units, call.result.shape, [1]))


def merge_dims(sizes: Sequence[int], strides: Sequence[int]) -> tuple[int, int] | None:
    """Return several dimensions as one (size, stride), None if no stride steps through.

    The sizes (2, 3) with strides (3, 1) are one dimension (6, 1); with strides (24, 1) they are
    none.
    """
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


def _convolve_without_parameter(
    tracer: Tracer,
    call: Call,
    labels: torch.Tensor,
    weight: torch.Tensor,
    groups: int,
    transposed: bool,
) -> None:
    """Wire each group's channels to its outputs, and the units that computed the weights."""
    shape, rank = call.result.shape, call.result.dim()
    by_group = compact(labels.unflatten(1, (groups, -1)), keep=(0, 1)).flatten(2)
    # (batch, groups, outputs of a group, channels, weights): the last two are summed over.
    operands = [by_group[:, :, None, :, None]]
    computed = tracer.activations.labels_of(weight)
    if computed is not None:
        computed = computed.unflatten(0, (groups, -1))
        if transposed:
            computed = computed.transpose(1, 2)
        computed = compact(computed, keep=(0, 1)).flatten(2)
        operands.append(computed[None, :, :, None, :])
    outputs = torch.Size([shape[0], groups, shape[1] // groups])
    biased = [tensor in tracer.biases for tensor in call.args[:2]][: len(operands)]
    multiply = partial(tracer.builder.multiply, biased=biased)
    joined = combine(multiply, operands, outputs, call.place)
    joined = reshape(joined, torch.Size([*shape[:2], *[1] * (rank - 2)]))
    tracer.label(call, call.result, joined.expand(shape))


def embedding(tracer: Tracer, call: Call) -> None:
    """Link the vocabulary to features if the lookup is pruned, else make the result an entry."""
    weight, indices = call.args[:2]
    view = tracer.parameters.view_of(weight)
    output = call.outputs[0]
    last = output.dim() - 1
    if view is None:
        labels = merge(tracer, tracer.labels_or_constant(weight), [0], call.place)
        tracer.label(call, output, labels[0].expand(output.shape))
        return
    tracer.notes.lookups.add(view.name)
    if view.name in tracer.included:
        name = view.name.rpartition(".")[0] or view.name
        num_words, num_features = weight.shape
        step, feature_step = view.index.stride()
        space = tracer.builder.add_weights(
            tracer.builder.spaces.add_entry(name, num_words),
            name,
            view.name,
            (1, num_features, num_words, 1),
            (0, feature_step, step, 1),
            int(view.index.storage_offset()),
            num_uses=0,
        )
        units = tracer.builder.spaces.units(space)
        tracer.label(call, output, unit_labels(units, output.shape, [last]))
    elif tracer.values.are_uncertain(indices):
        tracer.label(call, output, tracer.activations.raw_labels(output.shape, range(last)))
    else:
        # Indices that are not the model's input, such as positions, choose a constant.
        tracer.parameters.set_computed(output)


def grouped_product(tracer: Tracer, call: Call) -> None:
    """Link rows by the matrix of the expert that each is routed to; all experts get a link."""
    activation, weight = call.args[:2]
    view = tracer.parameters.view_of(weight)
    if view is None or weight.dim() != 3 or activation.dim() != 2:
        unknown(tracer, call, "its experts are not slices of one parameter")
        return
    if view.shape != view.index.shape:
        unknown(tracer, call, MERGED)
        return
    num_experts, num_sources, num_targets = weight.shape
    step, source_step, target_step = view.index.stride()
    space = link(
        tracer,
        view,
        tracer.feed(activation),
        [1],
        (num_experts, num_targets, num_sources, 1),
        (step, target_step, source_step, 1),
        num_copies=num_experts,
    )
    units = tracer.builder.spaces.units(space)
    tracer.label(call, call.result, unit_labels(units, call.result.shape, [1]))
