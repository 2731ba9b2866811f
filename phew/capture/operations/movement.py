"""Operations that move data: they are applied to the labels."""

from __future__ import annotations

from typing import Any

import torch

from phew.capture.labels import NO_UNIT, compact, no_units, reshape, varying_dims
from phew.capture.tracer import Call, Tracer

VIEWS = {
    *("view", "_unsafe_view", "permute", "transpose", "t", "select", "slice", "split", "chunk"),
    *("split_with_sizes", "unbind", "squeeze", "unsqueeze", "expand", "unfold", "diagonal"),
}
"""Operations whose results share the memory of their first argument."""

COPIES = {"_to_copy", "clone", "detach", "alias", "lift_fresh", "contiguous"}
"""Operations that return their first argument element by element."""


def same(tracer: Tracer, call: Call) -> None:
    """Keep the first argument's units at their places."""
    tracer.label(call, call.outputs[0], tracer.labels_or_constant(call.args[0]))


def view(tracer: Tracer, call: Call) -> None:
    """Reshape the labels."""
    labels = tracer.labels_or_constant(call.args[0])
    tracer.label(call, call.result, reshape(labels, call.result.shape))


def move(tracer: Tracer, call: Call) -> None:
    """Apply the operation to the labels of its first argument."""
    labels = tracer.labels_or_constant(call.args[0])
    moved = as_list(call.operation(labels, *call.args[1:], **call.kwargs))
    for output, part in zip(call.outputs, moved, strict=True):
        tracer.label(call, output, part)


def concatenate(tracer: Tracer, call: Call) -> None:
    """Concatenate the labels."""
    # An empty vector may stand among tensors of higher rank.
    tensors = [tensor for tensor in call.args[0] if tensor.dim() == call.result.dim()]
    dim = (call.args[1] if len(call.args) > 1 else 0) % call.result.dim()
    labels = [tracer.labels_or_constant(tensor) for tensor in tensors]
    keep = {dim, *(varying for part in labels for varying in varying_dims(part))}
    parts = [compact(part, keep) for part in labels]
    tracer.label(call, call.result, torch.cat(parts, dim).expand(call.result.shape))


def stack(tracer: Tracer, call: Call) -> None:
    """Stack the labels."""
    dim = call.args[1] if len(call.args) > 1 else 0
    labels = [tracer.labels_or_constant(tensor) for tensor in call.args[0]]
    tracer.label(call, call.result, torch.stack(labels, dim))


def pad(tracer: Tracer, call: Call) -> None:
    """Pad with no unit; where nothing varies padding stays with its surroundings."""
    tensor = call.args[0]
    labels = compact(tracer.labels_or_constant(tensor))
    padding = list(call.args[1])
    for pair in range(len(padding) // 2):
        if labels.shape[-1 - pair] != tensor.shape[-1 - pair]:
            padding[2 * pair : 2 * pair + 2] = (0, 0)
    padded = torch.nn.functional.pad(labels, padding, value=NO_UNIT)
    tracer.label(call, call.result, padded.expand(call.result.shape))


def copy(tracer: Tracer, call: Call) -> None:
    """Overwrite the first argument's labels by the second's."""
    source = tracer.labels_or_constant(call.args[1])
    tracer.label(call, call.result, source.expand(call.result.shape))


def fill(tracer: Tracer, call: Call) -> None:
    """Make the argument a constant."""
    tracer.label(call, call.result, no_units(call.result.shape))


def constant(tracer: Tracer, call: Call) -> None:
    """Take only the argument's shape, or its values out of the network's sight."""


def as_list(result: Any) -> list[Any]:
    """Return what an operation returned as a list."""
    return list(result) if isinstance(result, list | tuple) else [result]
