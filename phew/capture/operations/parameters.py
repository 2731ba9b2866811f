"""Operations on parameters alone: find the elements that results consist of or come from."""

from __future__ import annotations

import torch

from phew.capture.calls import Call
from phew.capture.labels import equal_products
from phew.capture.operations import movement
from phew.capture.parameter_views import ParameterView
from phew.capture.tracer import Tracer

DIRECTIONS = {
    *("_weight_norm", "_weight_norm_interface", "native_layer_norm", "native_group_norm"),
    *("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
    *("_batch_norm_no_update", "_batch_norm_with_update"),
    *("masked_fill", "masked_fill_", "tril", "tril_", "triu", "triu_"),
}
"""Operations that scale and shift a parameter, element by element, beside the pointwise ones."""


def note_uses(tracer: Tracer, call: Call) -> None:
    """Note which parameters an operation took."""
    for tensor in call.tensors:
        view = tracer.parameters.view_of(tensor)
        if view is not None:
            tracer.notes.add_use(call, view)


def follow_parameters(tracer: Tracer, call: Call) -> None:
    """Follow an operation that has no units among its arguments, but may have parameters."""
    views = [view for tensor in call.tensors if (view := tracer.parameters.view_of(tensor))]
    if len(views) == 1 and call.name in movement.COPIES:
        tracer.parameters.set_view(call.result, views[0])
    elif len(views) == 1 and call.name in movement.VIEWS:
        _view(tracer, call, views[0])
    elif len(views) == 1 and (index := _chosen(call)) is not None:
        part = views[0].index.select(0, index)
        tracer.parameters.set_view(call.result, ParameterView.of(views[0].name, part))
    elif views or any(map(tracer.parameters.is_computed, call.tensors)):
        note_uses(tracer, call)
        _compute(tracer, call, views)


def _view(tracer: Tracer, call: Call, view: ParameterView) -> None:
    """Apply an operation that moves elements to the index of a parameter's elements."""
    outputs = call.outputs
    try:
        parts = [
            ParameterView.of(view.name, part)
            for part in movement.as_list(call.operation(view.index, *call.args[1:], **call.kwargs))
        ]
        moved = [part.shape for part in parts] == [output.shape for output in outputs]
        moved = moved and view.index.shape == view.shape
    except (RuntimeError, IndexError):
        moved = False
    merges = call.name in ("view", "_unsafe_view", "view_copy")
    if not moved and merges and _merges(view.index.shape, outputs[0].shape):
        parts, moved = [ParameterView(view.name, view.index, outputs[0].shape)], True
    for position, output in enumerate(outputs):
        if moved:
            tracer.parameters.set_view(output, parts[position])
        else:
            tracer.parameters.set_computed(output)


def _merges(old: torch.Size, new: torch.Size) -> bool:
    """Return whether every dimension of the new shape consists of whole ones of the old."""
    if old.numel() != new.numel():
        return False
    return all(
        sum(new[dim] > 1 for dim in new_dims) <= 1 for _, new_dims in equal_products(old, new)
    )


def _chosen(call: Call) -> int | None:
    """Return the index if an operation selects one slice of the first dimension, else None."""
    if call.name != "index" or len(call.args[1]) != 1:
        return None
    index = call.args[1][0]
    return int(index) if index.dim() == 0 and not index.is_meta else None


def _compute(tracer: Tracer, call: Call, views: list[ParameterView]) -> None:
    """Note that results are computed from parameters.

    A result whose elements are those of one parameter, scaled or shifted, stands for that
    parameter: weights that are normalised or standardised are pruned by their direction.
    """
    scales = torch.Tag.pointwise in call.operation.tags or call.name in DIRECTIONS
    output = call.outputs[0] if call.outputs else None
    same = [view for view in views if output is not None and view.shape == output.shape]
    if scales and same and output is not None:
        direction = max(same, key=lambda view: view.index.untyped_storage().nbytes())
        tracer.parameters.set_view(output, direction)
        tracer.notes.derived.setdefault(direction.name, call.name)
        return
    for result in call.outputs:
        if call.is_in_place:
            tracer.parameters.set_changed(result)
        else:
            tracer.parameters.set_computed(result)
