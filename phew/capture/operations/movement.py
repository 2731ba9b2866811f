"""Operations that move data: labels are moved in the same way."""

from __future__ import annotations

from typing import Any

import torch

from phew.capture.calls import Call
from phew.capture.labels import (
    compact,
    label_of_number,
    reshape,
    same_label,
    unit_dims,
    varying_dims,
    without_constant_dims,
)
from phew.capture.operations.joins import combine, merge
from phew.capture.tracer import Tracer

VIEWS = {
    *("view", "_unsafe_view", "permute", "transpose", "t", "select", "slice", "split", "chunk"),
    *("split_with_sizes", "unbind", "squeeze", "unsqueeze", "expand", "unfold", "diagonal"),
    *("unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk", "narrow_copy"),
    *(f"{name}_copy" for name in ("view", "permute", "transpose", "t", "select", "slice")),
    *(f"{name}_copy" for name in ("split", "split_with_sizes", "unbind", "squeeze")),
    *("unsqueeze_copy", "expand_copy"),
}
"""Operations whose results are parts of their first argument, in another shape."""

COPIES = {
    *("_to_copy", "clone", "detach", "alias", "lift_fresh", "lift_fresh_copy", "contiguous"),
    *("lift", "detach_", "_conj", "_neg_view", "resolve_conj"),
}
"""Operations that return their first argument element by element."""


def same(tracer: Tracer, call: Call) -> None:
    """Keep the first argument's units at their places."""
    tracer.label(call, call.outputs[0], tracer.labels_or_constant(call.args[0]))


def view(tracer: Tracer, call: Call) -> None:
    """Reshape the labels."""
    labels = tracer.labels_or_constant(call.args[0])
    tracer.label(call, call.result, reshape(labels, call.result.shape))


def restride(tracer: Tracer, call: Call) -> None:
    """Relabel a tensor whose shape was changed in place and whose values were not."""
    labels = tracer.labels_or_constant(call.args[0])
    restrided = getattr(labels, call.name.removesuffix("_"))(*call.args[1:], **call.kwargs)
    tracer.activations.set_labels(call.result, restrided)


def as_strided(tracer: Tracer, call: Call) -> None:
    """Step through the memory of the argument."""
    tensor, size, stride = call.args[:3]
    strided = torch.empty_strided(tensor.shape, tensor.stride(), dtype=torch.int32, device="cpu")
    strided.copy_(tracer.labels_or_constant(tensor))
    offset = call.argument("storage_offset")
    start = 0 if offset is None else offset - tensor.storage_offset()
    labels = strided.as_strided(size, stride, start)
    tracer.label(call, call.result, without_constant_dims(labels))


def move(tracer: Tracer, call: Call) -> None:
    """Apply the operation to the labels of its first argument."""
    labels = tracer.labels_or_constant(call.args[0])
    moved = as_list(call.operation(labels, *call.args[1:], **call.kwargs))
    for output, part in zip(call.outputs, moved, strict=True):
        tracer.label(call, output, without_constant_dims(part))


def concatenate(tracer: Tracer, call: Call) -> None:
    """Concatenate the labels."""
    # Torch accepts an empty vector among tensors of higher rank, and leaves it out.
    tensors = [tensor for tensor in call.args[0] if tensor.dim() == call.result.dim()]
    _join_along(tracer, call, [tracer.labels_or_constant(tensor) for tensor in tensors])


def stack(tracer: Tracer, call: Call) -> None:
    """Stack the labels."""
    dim = call.argument("dim") % call.result.dim()
    labels = [tracer.labels_or_constant(tensor).unsqueeze(dim) for tensor in call.args[0]]
    _join_along(tracer, call, labels)


def _join_along(tracer: Tracer, call: Call, labels: list[torch.Tensor]) -> None:
    """Concatenate labels along the call's dimension without copying others of stride 0."""
    dim = call.argument("dim") % call.result.dim()
    keep = {dim, *(varying for part in labels for varying in varying_dims(part))}
    joined = torch.cat([compact(part, keep) for part in labels], dim)
    tracer.label(call, call.result, without_constant_dims(joined.expand(call.result.shape)))


def pad(tracer: Tracer, call: Call) -> None:
    """Pad with a constant; along places, padding has the labels of the rest."""
    tensor = call.args[0]
    labels = tracer.labels_or_constant(tensor)
    padding = list(call.args[1])
    padded = {labels.dim() - 1 - k // 2 for k, size in enumerate(padding) if size}
    features = unit_dims([labels], padded)
    for dim in padded.difference(features):
        first = 2 * (labels.dim() - 1 - dim)
        padding[first : first + 2] = (0, 0)
    value = label_of_number(call.argument("value"))
    labels = torch.nn.functional.pad(compact(labels, keep=features), padding, value=value)
    tracer.label(call, call.result, labels.expand(call.result.shape))


def copy(tracer: Tracer, call: Call) -> None:
    """Overwrite the first argument's labels by the second's."""
    source = tracer.labels_or_constant(call.args[1])
    tracer.label(call, call.result, source.expand(call.result.shape))


def as_complex(tracer: Tracer, call: Call) -> None:
    """Join pairs of a real and an imaginary part."""
    labels = tracer.labels_or_constant(call.args[0])
    parts = labels.unbind(-1)
    tracer.label(call, call.result, combine(tracer.builder.join, parts, parts[0].shape, call.place))


def as_real(tracer: Tracer, call: Call) -> None:
    """Take real and imaginary part as two elements of one unit."""
    labels = tracer.labels_or_constant(call.args[0])
    tracer.label(call, call.result, labels.unsqueeze(-1).expand(call.result.shape))


def put_part(tracer: Tracer, call: Call) -> None:
    """Return the first argument with a part of it replaced by the second."""
    whole, part = (tracer.labels_or_constant(tensor) for tensor in call.args[:2])
    labels = call.operation(whole, part, *call.args[2:], **call.kwargs)
    tracer.label(call, call.result, without_constant_dims(labels))


def pack(tracer: Tracer, call: Call) -> None:
    """Put the steps of sequences, without their padding, one behind the other."""
    labels = tracer.labels_or_constant(call.args[0])
    steps = merge(tracer, labels, [0, 1], call.place).squeeze(0)
    tracer.label(call, call.outputs[0], steps.expand(call.outputs[0].shape))


def fill(tracer: Tracer, call: Call) -> None:
    """Make the argument a constant: zero or another."""
    value = {"zero_": 0, "fill_": call.args[-1]}.get(call.name, 1)
    tracer.label(call, call.result, same_label(label_of_number(value), call.result.shape))


def draw(tracer: Tracer, call: Call) -> None:
    """Draw zeros and ones, by the probabilities that a tensor holds or by one for all."""
    given = call.argument("p")
    probabilities = call.args[0] if given is None else given
    if isinstance(probabilities, torch.Tensor):
        labels = tracer.labels_or_constant(probabilities)
        tracer.label(call, call.result, labels.expand(call.result.shape))
    elif call.is_in_place:
        fill(tracer, call)


def constant(tracer: Tracer, call: Call) -> None:
    """Label nothing: the result has only the argument's shape, or is drawn at random."""


def as_list(result: Any) -> list[Any]:
    """Return what an operation returned as a list."""
    return list(result) if isinstance(result, list | tuple) else [result]
