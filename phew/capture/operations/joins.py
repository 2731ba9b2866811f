"""Operations that bring units together: joins, reductions, pooling, normalisation."""

from __future__ import annotations

from typing import Any

import torch

from phew.capture.labels import NO_UNIT, by_position, compact, unit_labels, varying_dims
from phew.capture.tracer import Call, Tracer


def pointwise(tracer: Tracer, call: Call) -> None:
    """Keep the units of the only labelled operand; join those of several."""
    operands = _operands(tracer, call)
    for output in call.outputs:
        shape = torch.broadcast_shapes(output.shape, *(part.shape for part in operands))
        labels = _join(tracer, call.name, [part.expand(shape) for part in operands])
        tracer.label(call, output, labels)


def _operands(tracer: Tracer, call: Call) -> list[torch.Tensor]:
    labels = [tracer.labels_of(tensor) for tensor in call.tensors]
    return [part for part in labels if part is not None]


def _join(tracer: Tracer, name: str, operands: list[torch.Tensor]) -> torch.Tensor:
    first, *others = operands
    if all(torch.equal(*torch.broadcast_tensors(compact(first), compact(part))) for part in others):
        return first
    # An input's elements are no units yet: they become some along the axes of those they meet.
    fed = [part for part in operands if bool((compact(part) >= 0).any())]
    inner = [part for part in fed if bool((compact(part) >= NO_UNIT).all())] or fed
    if not inner:
        return first
    dims = sorted({dim for part in inner for dim in varying_dims(part)})
    space = tracer.builder.join([by_position(part, dims) for part in operands], name)
    return unit_labels(tracer.builder.units(space), first.shape, dims)


def reduce(tracer: Tracer, call: Call) -> None:
    """Keep what agrees along the reduced dimensions; wire positions that do not to the result."""
    labels = tracer.labels_or_constant(call.args[0])
    rank = labels.dim()
    given = call.args[1] if len(call.args) > 1 else None
    axes = [given] if isinstance(given, int) else given or range(rank)
    reduced = {axis % max(rank, 1) for axis in axes if rank}
    if not reduced.isdisjoint(varying_dims(labels)):
        kept = [dim for dim in varying_dims(labels) if dim not in reduced]
        space = tracer.space_of(labels, kept, call.name)
        labels = unit_labels(tracer.builder.units(space), labels.shape, kept)
    for dim in reduced:
        labels = labels.narrow(dim, 0, 1)
    for output in call.outputs:
        tracer.label(call, output, labels.reshape(output.shape))


def resample(tracer: Tracer, call: Call) -> None:
    """Pool or resize: units stay on the leading dimensions, the trailing ones change size."""
    labels = tracer.labels_or_constant(call.args[0])
    num_trailing = next(int(char) for char in call.name if char.isdigit())
    first_trailing = labels.dim() - num_trailing
    if max(varying_dims(labels), default=-1) >= first_trailing and not _is_input(labels):
        unknown(tracer, call)
        return
    for dim in range(first_trailing, labels.dim()):
        labels = labels.narrow(dim, 0, 1)
    tracer.label(call, call.outputs[0], labels.expand(call.outputs[0].shape))


def _is_input(labels: torch.Tensor) -> bool:
    return bool((compact(labels) < NO_UNIT).all())


def normalise_channels(tracer: Tracer, call: Call) -> None:
    """Keep the units; the scale and shift belong to those along dimension 1."""
    _normalise(tracer, call, 1, call.args[1:3])


def normalise_features(tracer: Tracer, call: Call) -> None:
    """Keep the units; the scale and shift belong to those along the last dimension."""
    _normalise(tracer, call, call.args[0].dim() - 1, call.args[2:4])


def _normalise(tracer: Tracer, call: Call, dim: int, parameters: tuple[Any, ...]) -> None:
    labels = tracer.labels_or_constant(call.args[0])
    tracer.label(call, call.outputs[0], labels)
    for parameter in parameters:
        if tracer.parameter_view(parameter) is not None:
            tracer.own_unit_parameter(parameter, tracer.space_of(labels, [dim], call.name))


def unknown(tracer: Tracer, call: Call) -> None:
    """Wire all units of the arguments to all of the result, and report it."""
    outputs = [output for output in call.outputs if output.is_floating_point()]
    if not outputs:
        return
    computed = any(map(tracer.is_computed, call.tensors))
    reason = "its weights are computed" if computed else "phew does not know it"
    tracer.approximate(call.name, reason)
    inner = [part for part in map(compact, _operands(tracer, call)) if bool((part >= 0).any())]
    for output in outputs:
        if inner:
            hub = tracer.builder.add_hub(inner, call.name)
            labels = unit_labels(hub, output.shape, [])
        else:
            labels = tracer.raw_labels(output.shape)
        tracer.label(call, output, labels)
