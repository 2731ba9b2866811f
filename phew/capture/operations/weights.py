"""Weighted operations: links from the units of the input to those of a new space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from phew.capture.calls import Call
from phew.capture.labels import by_position, compact, reshape, unit_labels
from phew.capture.operations.joins import combine, merge, unknown
from phew.capture.operations.pieces import link, link_pieces, too_many_pieces
from phew.capture.parameter_views import Origin
from phew.capture.tracer import Tracer


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
    if tracer.parameters.elements_of(weight) is None:
        _convolve_without_parameter(tracer, call, labels, weight, bias, groups, transposed)
        return
    # The weights are (out, in / groups, *kernel), or (in, out / groups, *kernel) if transposed.
    # Groups cut the first dimension.
    target, source = (1, 0) if transposed else (0, 1)
    sizes = [weight.shape[0] // groups, *weight.shape[1:]]
    strides = view.index.stride() if view is not None else ()
    merged = view is None or view.shape != view.index.shape
    kernel = None if merged else merge_dims(sizes[2:], strides[2:])
    # A weight is used once per place: of the input in a transposed convolution, else of the output.
    used = labels if transposed else call.result
    num_uses = used.numel() / max(used.shape[1], 1)
    if view is None or kernel is None:
        _convolve_pieces(tracer, call, labels, weight, bias, groups, target, num_uses)
        return
    shape = (groups, sizes[target], sizes[source], kernel[0])
    steps = (sizes[0] * strides[0], strides[target], strides[source], kernel[1])
    space = link(tracer, view, labels, [1], shape, steps, num_uses=num_uses)
    tracer.own_unit_parameter(bias, space)
    units = tracer.builder.spaces.units(space)
    _label_channels(tracer, call, unit_labels(units, call.result.shape, [1]), bias)


def _label_channels(tracer: Tracer, call: Call, labels: torch.Tensor, bias: Any) -> None:
    """Label the result of a convolution, to which a bias that activations computed is added."""
    added = tracer.activations.labels_of(bias) if isinstance(bias, torch.Tensor) else None
    if added is not None:
        added = added.reshape(-1, *[1] * (labels.dim() - 2))
        labels = combine(tracer.builder.join, [labels, added], labels.shape, call.place)
    tracer.label(call, call.result, labels)


def _convolve_pieces(
    tracer: Tracer,
    call: Call,
    labels: torch.Tensor,
    weight: torch.Tensor,
    bias: Any,
    groups: int,
    target: int,
    num_uses: float,
) -> None:
    """Link channels to channels by weights that are several pieces of parameters."""
    weights = tracer.parameters.mosaic_of(weight)
    if weights is None:
        view = tracer.parameters.view_of(weight)
        assert view is not None
        weights = tracer.parameters.mosaic_from(view)
    by_group = weights.numbers.unflatten(0, (groups, -1)).transpose(1, target + 1).flatten(3)
    rows = by_position(labels, [1]).unflatten(0, (groups, -1))
    units = link_pieces(
        tracer,
        call,
        by_group,
        weights.absent,
        rows,
        num_uses=num_uses,
        merge_groups=False,
    )
    if units is None:
        too_many_pieces(tracer, call, weights)
        return
    labels = unit_labels(units.flatten(), call.result.shape, [1])
    _label_channels(tracer, call, labels, bias)


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
    bias: Any,
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
    _label_channels(tracer, call, joined.expand(shape), bias)


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
            absent=view.absent,
        )
        units = tracer.builder.spaces.units(space)
        tracer.label(call, output, unit_labels(units, output.shape, [last]))
    elif tracer.values.are_uncertain(indices):
        tracer.label(call, output, tracer.activations.raw_labels(output.shape, range(last)))
    else:
        # Indices that are not the model's input, such as positions, choose a constant.
        tracer.parameters.set_computed(output, Origin(frozenset([view.name])))


def grouped_product(tracer: Tracer, call: Call) -> None:
    """Link rows by the matrix of the expert that each is routed to; all experts get a link."""
    activation, weight = call.args[:2]
    view = tracer.parameters.view_of(weight)
    if view is None or weight.dim() != 3 or activation.dim() != 2:
        unknown(tracer, call, "its experts are not slices of one parameter")
        return
    if view.shape != view.index.shape:
        unknown(tracer, call, "its weights merge dimensions of the parameter in another order")
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
