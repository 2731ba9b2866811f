"""Operations that choose elements by index, or put them there.

If the indices are constants, the labels are chosen the same way. If they follow from the model's
input, the chosen element may be any along the indexed dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from phew.capture.calls import Call
from phew.capture.labels import (
    by_position,
    compact,
    label_of_number,
    unit_dims,
    unit_labels,
    varying_dims,
    without_constant_dims,
)
from phew.capture.operations.joins import combine, merge, unknown
from phew.capture.tracer import Tracer
from phew.running.tensors import tensors_in

_CHOOSERS = ("index", "indices", "mask")
"""Arguments that choose elements, by the names in the operations' schemas."""

_UNKNOWN = torch.empty(1, dtype=torch.int64, device="meta")
"""Stands for the indices that flags choose, where these follow from the model's input."""


def read_tensors(call: Call) -> list[torch.Tensor]:
    """Return the tensors whose units an operation reads: all but those that choose elements.

    Flags for each element of a tensor that is written to are read: `spikes[potential > 1] = 1`.
    """
    choosers = {
        id(tensor)
        for name in _CHOOSERS
        for tensor in tensors_in(call.argument(name))
        if not _flags_each(call, tensor)
    }
    return [tensor for tensor in call.tensors if id(tensor) not in choosers]


def _flags_each(call: Call, chosen: torch.Tensor) -> bool:
    """Return whether flags say for each element of a tensor whether a value is put there."""
    puts = call.argument("values") is not None or call.argument("source") is not None
    return puts and chosen.dtype is torch.bool and chosen.shape == call.args[0].shape


def _units_of_flags(tracer: Tracer, call: Call, flags: Sequence[Any]) -> list[torch.Tensor]:
    """Return the labels of flags that each say whether a value is put at one element."""
    read = [part for part in flags if part is not None and _flags_each(call, part)]
    labels = [tracer.activations.labels_of(part) for part in read]
    return [part for part in labels if part is not None]


def index(tracer: Tracer, call: Call) -> None:
    """Choose by one tensor of indices per dimension, broadcast against each other."""
    labels = tracer.labels_or_constant(call.args[0])
    indices = _without_flags(tracer, call.args[1])
    result = call.outputs[0]
    dims = [dim for dim, chosen in enumerate(indices) if chosen is not None]
    if not set(dims).isdisjoint(varying_dims(labels)):
        if all(_is_known(tracer, chosen) for chosen in indices if chosen is not None):
            chosen = torch.ops.aten.index(labels, [_on_cpu(part) for part in indices])
            tracer.label(call, result, without_constant_dims(chosen))
            return
        labels = merge(tracer, labels, dims, call.place)
    # Labels do not vary along the indexed dimensions: any element will do.
    labels = compact(labels)
    for dim in dims:
        labels = labels.narrow(dim, 0, min(1, labels.shape[dim]))
    rank = max((part.dim() for part in indices if part is not None), default=0)
    first = torch.zeros([1] * rank, dtype=torch.int64, device="cpu")
    chosen = torch.ops.aten.index(labels, [None if part is None else first for part in indices])
    tracer.label(call, result, chosen.expand(result.shape))


def _without_flags(tracer: Tracer, indices: list[Any]) -> list[Any]:
    """Replace each tensor of flags by the indices that it stands for, one tensor per dimension."""
    plain: list[Any] = []
    for part in indices:
        if part is None or part.dtype not in (torch.bool, torch.uint8):
            plain.append(part)
        elif not _is_known(tracer, part):
            plain += [_UNKNOWN] * part.dim()
        else:
            plain += part.nonzero(as_tuple=True)
    return plain


def _is_known(tracer: Tracer, chosen: torch.Tensor) -> bool:
    """Return whether indices are the same for every input."""
    if chosen is not _UNKNOWN:
        tracer.values.check(chosen, tracer.modules.innermost)
    return not chosen.is_meta and not tracer.values.are_uncertain(chosen)


def _on_cpu(chosen: torch.Tensor | None) -> torch.Tensor | None:
    return None if chosen is None else chosen.cpu()


def index_select(tracer: Tracer, call: Call) -> None:
    """Choose slices of one dimension."""
    source, dim, chosen = call.args[:3]
    labels = tracer.labels_or_constant(source)
    dim %= max(labels.dim(), 1)
    if dim in varying_dims(labels) and _is_known(tracer, chosen):
        moved = compact(labels, keep=[dim]).index_select(dim, chosen.cpu())
    else:
        moved = merge(tracer, labels, [dim], call.place)
    tracer.label(call, call.result, moved.expand(call.result.shape))


def gather(tracer: Tracer, call: Call) -> None:
    """Choose an element of one dimension for each position."""
    source, dim, chosen = call.args[:3]
    labels = tracer.labels_or_constant(source)
    dim %= max(labels.dim(), 1)
    if dim in varying_dims(labels) and _is_known(tracer, chosen):
        moved = without_constant_dims(labels.gather(dim, chosen.cpu()))
    else:
        moved = _one_of(tracer, labels, dim, call.place)
        for other in range(moved.dim()):
            if other != dim and other in varying_dims(moved):
                moved = moved.narrow(other, 0, chosen.shape[other])
        moved = compact(moved)
    tracer.label(call, call.result, moved.expand(call.result.shape))


def sort(tracer: Tracer, call: Call) -> None:
    """Choose elements of one dimension by their values: topk, sort, median, ..."""
    dim = call.argument("dim")
    labels = tracer.labels_or_constant(call.args[0])
    rank = max(labels.dim(), 1)
    dim = rank - 1 if dim is None else dim % rank
    output = call.outputs[0]
    moved = _one_of(tracer, labels, dim, call.place)
    if moved.dim() != output.dim():
        moved = moved.squeeze(dim)
    tracer.label(call, output, moved.expand(output.shape))


def _one_of(tracer: Tracer, labels: torch.Tensor, dim: int, name: str) -> torch.Tensor:
    """Label a choice of one element along a dimension, which has size 1 in the result."""
    varies = dim in varying_dims(labels)
    if varies and tracer.builder.spaces.common_copies([compact(labels).numpy()]) == 1:
        kept = [other for other in varying_dims(labels) if other != dim]
        rows = by_position(labels.movedim(dim, -1), [k - (k > dim) for k in kept])
        if rows.shape[1] == labels.shape[dim] and bool((rows >= 0).all()):
            units = tracer.builder.choose(rows, name)
            labels = unit_labels(units, labels.shape, kept)
            return labels.narrow(dim, 0, 1)
    return merge(tracer, labels, [dim], name)


def put(tracer: Tracer, call: Call) -> None:
    """Put values at indices, in place of what was there or added to it."""
    target, indices, values = call.args[:3]
    labels = tracer.labels_or_constant(target)
    put_labels = tracer.labels_or_constant(values)
    if not values.numel():
        tracer.label(call, call.result, labels)
        return
    plain = _without_flags(tracer, indices)
    is_known = all(_is_known(tracer, part) for part in plain if part is not None)
    accumulate = bool(call.argument("accumulate"))
    if is_known and not accumulate:
        changed = torch.ops.aten.index_put(labels, [_on_cpu(part) for part in plain], put_labels)
    else:
        # The values have the dimensions of the indices first, then those that are not indexed.
        num_kept = labels.dim() - sum(part is not None for part in plain)
        lead = put_labels.dim() - min(num_kept, put_labels.dim())
        dims = [dim for dim, part in enumerate(plain) if part is not None]
        if dims and dims != list(range(len(dims))):
            unknown(tracer, call, "its indices are not the first dimensions")
            return
        any_value = merge(tracer, put_labels, range(lead), call.place)
        any_value = any_value.reshape(any_value.shape[lead:])
        operands = [labels, any_value, *_units_of_flags(tracer, call, indices)]
        changed = combine(tracer.builder.join, operands, labels.shape, call.place)
    tracer.label(call, call.result, without_constant_dims(changed))


def put_slices(tracer: Tracer, call: Call) -> None:
    """Put or add slices along one dimension."""
    target, dim, chosen, source = call.args[:4]
    labels = tracer.labels_or_constant(target)
    name = call.name.removesuffix("_")
    if not isinstance(source, torch.Tensor):
        # A number, which is put along the dimension or reduced with what is there.
        exact = call.argument("reduce") is None and _is_known(tracer, chosen)
        if exact and labels.dim() and unit_dims([labels], [dim % labels.dim()]):
            changed = getattr(labels, name)(dim, chosen.cpu(), label_of_number(source))
            labels = without_constant_dims(changed)
        tracer.label(call, call.result, labels)
        return
    if name in ("index_copy", "scatter") and _is_known(tracer, chosen):
        changed = getattr(labels, name)(dim, chosen.cpu(), tracer.labels_or_constant(source))
        tracer.label(call, call.result, without_constant_dims(changed))
        return
    if not source.numel() or tracer.activations.labels_of(source) is None:
        tracer.label(call, call.result, labels)
        return
    any_source = merge(tracer, tracer.labels_or_constant(source), [dim], call.place)
    for other in range(any_source.dim()):
        if any_source.shape[other] != labels.shape[other]:
            any_source = merge(tracer, any_source, [other], call.place)
    changed = combine(tracer.builder.join, [labels, any_source], labels.shape, call.place)
    tracer.label(call, call.result, changed)


def select_flagged(tracer: Tracer, call: Call) -> None:
    """Choose the flagged elements, as a vector."""
    labels = tracer.labels_or_constant(call.args[0])
    moved = merge(tracer, labels, range(labels.dim()), call.place).reshape([1])
    tracer.label(call, call.result, moved.expand(call.result.shape))


def put_flagged(tracer: Tracer, call: Call) -> None:
    """Put the elements of a source where flags are, in their order.

    If features replace those of other tokens, whole rows are flagged: the last dimension stays.
    """
    target, flags, source = call.args[:3]
    labels = tracer.labels_or_constant(target)
    source_labels = tracer.labels_or_constant(source)
    if labels.shape[-1:] == source_labels.shape[-1:]:
        any_row = merge(tracer, source_labels, range(source_labels.dim() - 1), call.place)
        any_row = any_row.reshape([-1])
    else:
        any_row = merge(tracer, source_labels, range(source_labels.dim()), call.place).reshape([1])
    operands = [labels, any_row, *_units_of_flags(tracer, call, [flags])]
    changed = combine(tracer.builder.join, operands, labels.shape, call.place)
    tracer.label(call, call.result, changed)
