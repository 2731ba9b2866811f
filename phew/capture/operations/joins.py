"""Operations that bring units together: joins, reductions, normalisation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from phew.capture.calls import Call
from phew.capture.labels import (
    CONSTANT,
    NO_UNIT,
    by_position,
    compact,
    has_units,
    is_input,
    runs,
    unit_labels,
    varying_dims,
    without_constant_dims,
    without_zeros,
)
from phew.capture.operations.zeros import makes_zero
from phew.capture.tracer import Tracer

Join = Callable[[Sequence[torch.Tensor], str], torch.Tensor]
"""`GraphBuilder.join` or `GraphBuilder.multiply`."""

SUBTRACTING = {"native_layer_norm", "native_group_norm"}
"""Normalisations that subtract a mean in which other units have a share."""


def pointwise(tracer: Tracer, call: Call) -> None:
    """Keep the units of the only labelled operand; join those of several.

    Where there are none, the result is zero if the operation makes zero of zeros: a ReLU does, an
    exponential does not.
    """
    operands = labelled_operands(tracer, call)
    labelled = [part for part in call.tensors if tracer.activations.labels_of(part) is not None]
    join = partial(tracer.builder.join, needs=tracer.biases.needs(call))
    for output in call.outputs:
        shape = torch.Size(np.broadcast_shapes(output.shape, *(part.shape for part in operands)))
        labels = combine(join, operands, shape, call.place)
        if bool((compact(labels) == NO_UNIT).any()) and not makes_zero(tracer, call, labelled):
            labels = without_zeros(labels)
        tracer.label(call, output, labels)


def shift(tracer: Tracer, call: Call) -> None:
    """Keep the first argument's units at their places, where zeros do not stay zeros: softmax."""
    tracer.label(call, call.outputs[0], without_zeros(tracer.labels_or_constant(call.args[0])))


def labelled_operands(tracer: Tracer, call: Call) -> list[torch.Tensor]:
    """Return the labels of those among an operation's arguments that have some."""
    labels = [tracer.activations.labels_of(tensor) for tensor in call.tensors]
    return [part for part in labels if part is not None]


def combine(
    join: Join, operands: Sequence[torch.Tensor], shape: torch.Size, name: str
) -> torch.Tensor:
    """Join labels position by position.

    Args:
        join: `GraphBuilder.join` or `GraphBuilder.multiply`.
        operands: Labels that broadcast to `shape`. They may have more dimensions than that, behind
            the others, which are summed over.
        shape: Shape of the result.
        name: Name of the space, if a new one is needed.

    Returns:
        Labels of the result.
    """
    rank = max(len(shape), *(part.dim() for part in operands))
    # It is called for every join, and NumPy's function is much faster than torch's.
    sizes = np.broadcast_shapes(
        (*shape, *[1] * (rank - len(shape))), *(part.shape for part in operands)
    )
    # Labels that stay as they are stay the same tensor, whose spaces are known.
    operands = [part if part.shape == sizes else part.expand(sizes) for part in operands]
    first, *others = operands
    if rank == len(shape) and all(_are_equal(first, part) for part in others):
        return first
    # Elements of the input are no units yet. They become units along the axes of those they meet.
    fed = [part for part in operands if has_units(part)]
    if not fed and rank == len(shape):
        return _any_input(operands)
    inner = [part for part in fed if bool((compact(part) >= CONSTANT).all())] or fed or operands
    dims = sorted({dim for part in inner for dim in varying_dims(part) if dim < len(shape)})
    run_of = {}
    for position, dim in enumerate(dims):
        starts, run = runs(operands, dim)
        if len(starts) < len(run):
            run_of[position] = run
            operands = [_select(part, dim, starts) for part in operands]
    joined = join([by_position(part, dims) for part in operands], name)
    joined = joined.reshape([operands[0].shape[dim] for dim in dims])
    for position, run in run_of.items():
        joined = joined.index_select(position, run)
    return without_constant_dims(unit_labels(joined, torch.Size(sizes[: len(shape)]), dims))


def _any_input(operands: Sequence[torch.Tensor]) -> torch.Tensor:
    """Label elements as the input where any operand is, the most varied one first."""
    largest = max(operands, key=lambda part: compact(part).numel())
    if is_input(largest):
        return largest
    # The labels of the input are lower than that of a constant, which is lower than that of zeros.
    parts = [compact(part) for part in (largest, *operands)]
    labels = torch.where(parts[0] < CONSTANT, parts[0], functools.reduce(torch.minimum, parts))
    return without_constant_dims(labels.expand(largest.shape))


def _are_equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    return torch.equal(*torch.broadcast_tensors(compact(first), compact(second)))


def _select(labels: torch.Tensor, dim: int, index: torch.Tensor) -> torch.Tensor:
    """Select along a dimension, even one of stride 0, without copying others of stride 0."""
    if dim not in varying_dims(labels):
        return labels.narrow(dim, 0, min(1, labels.shape[dim])).expand(
            *labels.shape[:dim], len(index), *labels.shape[dim + 1 :]
        )
    shape = [len(index) if other == dim else size for other, size in enumerate(labels.shape)]
    return compact(labels).index_select(dim, index).expand(shape)


def merge(tracer: Tracer, labels: torch.Tensor, dims: Iterable[int], name: str) -> torch.Tensor:
    """Label a sum over some dimensions, which have size 1 in the result."""
    rank = labels.dim()
    merged = {dim % rank for dim in dims if rank}
    if not merged.isdisjoint(varying_dims(labels)):
        kept = [dim for dim in varying_dims(labels) if dim not in merged]
        rows = by_position(labels, kept)
        labels = unit_labels(tracer.builder.join([rows], name), labels.shape, kept)
        labels = without_constant_dims(labels)
    for dim in merged:
        labels = labels.narrow(dim, 0, min(1, labels.shape[dim]))
    return labels


def reduce(tracer: Tracer, call: Call) -> None:
    """Keep units that are the same along the reduced dimensions; summarise those that vary."""
    labels = tracer.labels_or_constant(call.args[0])
    rank = labels.dim()
    given = call.argument("dim")
    axes = [given] if isinstance(given, int) else given or range(rank)
    reduced = {axis % max(rank, 1) for axis in axes if rank}
    # A reduction of raw input, which has no units yet, is still raw input.
    if has_units(labels) and not reduced.isdisjoint(varying_dims(labels)):
        kept = [dim for dim in varying_dims(labels) if dim not in reduced]
        units = tracer.builder.summarise(by_position(labels, kept), call.place)
        labels = unit_labels(units, labels.shape, kept)
    elif not has_units(labels) and not is_input(labels):
        # Elements of the input may stand among zeros.
        labels = compact(labels).amin(list(reduced), keepdim=True).expand(labels.shape)
    for dim in reduced:
        labels = labels.narrow(dim, 0, min(1, labels.shape[dim]))
    # The second result of a maximum along a dimension says where it is: it chooses elements.
    outputs = call.outputs[:1] if call.name in ("max", "min") else call.outputs
    for output in outputs:
        tracer.label(call, output, labels.reshape(output.shape))


def gated_linear_unit(tracer: Tracer, call: Call) -> None:
    """Join the two halves of the argument; the sigmoid of the second is never zero."""
    dim = call.argument("dim")
    halves = tracer.labels_or_constant(call.args[0]).chunk(2, -1 if dim is None else dim)
    gate_needs = frozenset[int]() if call.args[0] in tracer.biases else frozenset({0})
    join = partial(tracer.builder.join, needs=[frozenset(), gate_needs])
    labels = combine(join, halves, call.result.shape, call.place)
    tracer.label(call, call.result, labels)


def normalise_channels(tracer: Tracer, call: Call) -> None:
    """Keep the units; the scale and shift belong to those along dimension 1."""
    _normalise(tracer, call, 1, call.args[1:3])


def normalise_features(tracer: Tracer, call: Call) -> None:
    """Keep the units; the scale and shift belong to those along the last dimension."""
    _normalise(tracer, call, call.args[0].dim() - 1, call.args[2:4])


def _normalise(tracer: Tracer, call: Call, dim: int, parameters: tuple[Any, ...]) -> None:
    """Keep the units, and give the parameters to the space of those along a dimension.

    A style's features may be the scale and the shift: they are joined with the units.
    """
    shift(tracer, call)
    labels = tracer.labels_or_constant(call.outputs[0])
    operands, needs = [labels], [frozenset[int]()]
    is_biased = call.args[0] in tracer.biases or call.name in SUBTRACTING
    for position, parameter in enumerate(parameters):
        if not isinstance(parameter, torch.Tensor):
            continue
        if tracer.parameters.view_of(parameter) is not None:
            space = tracer.builder.find_or_add_space(by_position(labels, [dim]), call.place)
            tracer.own_unit_parameter(parameter, space)
        computed = tracer.activations.labels_of(parameter)
        if computed is None:
            continue
        is_scale = position == 0
        if is_scale and parameter not in tracer.biases:
            needs[0] = frozenset({1})
        operands.append(computed.reshape(*computed.shape, *[1] * (labels.dim() - 1 - dim)))
        needs.append(frozenset({0}) if is_scale and not is_biased else frozenset())
    if len(operands) > 1:
        join = partial(tracer.builder.join, needs=needs)
        tracer.label(call, call.outputs[0], combine(join, operands, labels.shape, call.place))


def unknown(tracer: Tracer, call: Call, reason: str = "phew does not know it") -> None:
    """Wire all units of the arguments to all of the result, and report it."""
    outputs = [part for part in call.outputs if part.is_floating_point() or part.is_complex()]
    if not outputs:
        return
    tracer.notes.approximate(call, reason)
    operands = labelled_operands(tracer, call)
    fed = [by_position(part, []) for part in operands if has_units(part)]
    for output in outputs:
        if fed:
            units = tracer.builder.join([torch.cat(fed, dim=1)], call.place)
            labels = unit_labels(units, output.shape, [])
        else:
            labels = tracer.activations.raw_labels(output.shape)
        tracer.label(call, output, labels)
