"""Operations on parameters alone: find the elements that results consist of or come from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch

from phew.capture.calls import Call
from phew.capture.labels import equal_products
from phew.capture.mosaics import NO_ELEMENT, Mosaic
from phew.capture.operations import movement
from phew.capture.operations.zeros import (
    SCALES,
    WEIGHT_NORMS,
    is_pointwise,
    keeps_zeros,
    value_at_zero,
)
from phew.capture.parameter_views import Origin, ParameterView
from phew.capture.tracer import Tracer
from phew.running.tensors import tensors_in

NORMALISATIONS = {
    *("native_layer_norm", "native_group_norm", "native_batch_norm", "_native_batch_norm_legit"),
    *("_native_batch_norm_legit_no_training", "_batch_norm_no_update", "_batch_norm_with_update"),
}
"""Operations that scale and shift a parameter, element by element, beside the pointwise ones."""

MOVES = {
    *("cat", "stack", "repeat", "flip", "roll", "rot90", "index", "index_select", "gather"),
    *("take_along_dim", "constant_pad_nd"),
}
"""Operations that put weights together from others, or from slices of them."""


def note_uses(tracer: Tracer, call: Call) -> None:
    """Note which parameters an operation took."""
    for tensor in call.tensors:
        elements = tracer.parameters.elements_of(tensor)
        for name in tracer.parameters.names_in(elements) if elements else ():
            tracer.notes.add_use(call, name)


INVERSES = {
    *("_linalg_slogdet", "_linalg_det", "linalg_inv_ex", "linalg_lu_factor_ex"),
    *("_linalg_solve_ex", "linalg_cholesky_ex", "cholesky"),
}
"""Operations whose results are not finite, or an error, where zeros make a matrix singular."""


def note_composed(tracer: Tracer, call: Call, weights: list[torch.Tensor]) -> None:
    """Note which parameters the weights of an operation are computed from, as no zero survives."""
    for tensor in weights:
        origin = tracer.parameters.origin_of(tensor)
        if origin is None or origin.composed_by is None:
            continue
        for name in sorted(origin.composed_of):
            if len(tracer.parameters.shape_of(name)) > 1:
                tracer.notes.composed.setdefault(name, origin.composed_by)


def follow_scaled(tracer: Tracer, call: Call) -> None:
    """Follow parameters that activations scale, in case that the result is used as weights."""
    moves = call.name in movement.VIEWS | movement.COPIES
    scaled = list(_matrices(tracer, call))
    if not scaled or call.is_in_place or not (moves or keeps_zeros(tracer, call, scaled)):
        return
    for output in call.outputs:
        tracer.parameters.set_computed(output, _composed(tracer, call, scaled))


def _matrices(tracer: Tracer, call: Call) -> Iterator[torch.Tensor]:
    """Yield the arguments that come from parameters, and are of two or more dimensions."""
    for tensor in call.tensors:
        if tracer.parameters.origin_of(tensor) and sum(size > 1 for size in tensor.shape) > 1:
            yield tensor


def follow_parameters(tracer: Tracer, call: Call, *, takes_shape: bool) -> None:
    """Follow an operation that has no units among its arguments, but may have parameters.

    Args:
        tracer: The tracer.
        call: The operation.
        takes_shape: Whether it reads no more of its arguments than their shape.
    """
    parameters = tracer.parameters
    sources = [tensor for tensor in call.tensors if not parameters.is_constant(tensor)]
    if not sources:
        return
    if takes_shape:
        for output in call.outputs:
            parameters.set_computed(output, Origin(frozenset()))
        return
    if call.name in INVERSES:
        for name in sorted(_composed(tracer, call, sources).names):
            tracer.notes.inverted.setdefault(name, call.site)
    views = [view for tensor in sources if (view := parameters.view_of(tensor))]
    if call.name in movement.COPIES:
        origin = parameters.computed_of(sources[0])
        _set_elements(tracer, call.result, sources[0], origin)
    elif call.name in movement.VIEWS:
        _view(tracer, call, sources[0])
    elif len(views) == 1 and (index := _chosen(call)) is not None:
        part = views[0].index.select(0, index)
        view = replace(views[0], index=part, shape=part.shape)
        parameters.set_view(call.result, view, parameters.computed_of(sources[0]))
    elif _is_lookup(call):
        note_uses(tracer, call)
        names = _composed(tracer, call, sources).names
        parameters.set_computed(call.result, Origin(names))
    elif call.name in MOVES and (numbers := _moved(tracer, call)) is not None:
        note_uses(tracer, call)
        parameters.set_mosaic(call.result, Mosaic(numbers[0]), _together(tracer, sources))
    else:
        note_uses(tracer, call)
        _compute(tracer, call, sources)


def _is_lookup(call: Call) -> bool:
    """Return whether a table is read at constant places, such as those of relative positions.

    What it returns has more dimensions than the table, and is a constant, as positions are. An
    index of one dimension selects slices of weights.
    """
    if call.name != "index":
        return False
    indices = [index for index in call.args[1] if index is not None]
    return len(indices) > 1 or indices[0].dim() > 1


def _together(tracer: Tracer, sources: list[torch.Tensor]) -> Origin:
    """Return the origin of weights that are put together from others."""
    origins = [origin for each in sources if (origin := tracer.parameters.origin_of(each))]
    composed = [origin for origin in origins if origin.composed_of]
    return Origin(
        names=frozenset[str]().union(*(origin.names for origin in origins)),
        at_zero=origins[0].at_zero if len({origin.at_zero for origin in origins}) == 1 else None,
        composed_of=frozenset[str]().union(*(origin.composed_of for origin in composed)),
        composed_by=composed[0].composed_by if composed else None,
    )


def _view(tracer: Tracer, call: Call, source: torch.Tensor) -> None:
    """Apply an operation that moves elements to the index of a parameter's elements."""
    outputs, parameters = call.outputs, tracer.parameters
    view, origin = parameters.view_of(source), parameters.origin_of(source)
    assert origin is not None
    if view is not None and (parts := _parts_of_view(call, view)) is not None:
        for output, part in zip(outputs, parts, strict=True):
            parameters.set_view(output, part, parameters.computed_of(source))
        return
    numbers = _moved(tracer, call)
    for position, output in enumerate(outputs):
        if numbers is not None:
            parameters.set_mosaic(output, Mosaic(numbers[position]), origin)
        else:
            parameters.set_computed(output, origin)


def _parts_of_view(call: Call, view: ParameterView) -> list[ParameterView] | None:
    """Return the views that an operation makes of one, None where no strides describe them."""
    outputs = call.outputs
    try:
        parts = [
            replace(view, index=part, shape=part.shape)
            for part in movement.as_list(call.operation(view.index, *call.args[1:], **call.kwargs))
        ]
        moved = [part.shape for part in parts] == [output.shape for output in outputs]
        moved = moved and view.index.shape == view.shape
    except (RuntimeError, IndexError):
        moved = False
    merges = call.name in ("view", "_unsafe_view", "view_copy")
    if not moved and merges and _merges(view.index.shape, outputs[0].shape):
        return [replace(view, shape=outputs[0].shape)]
    return parts if moved else None


def _moved(tracer: Tracer, call: Call) -> list[torch.Tensor] | None:
    """Apply an operation that moves elements to their numbers, None where these are not known."""
    source, *args = call.args
    parts = [
        part for each in movement.as_list(source) if (part := _numbers(tracer, each)) is not None
    ]
    indices = [part for part in tensors_in(args) if not tracer.values.are_known(part)]
    if len(parts) < len(movement.as_list(source)) or indices:
        return None
    if call.name == "constant_pad_nd":
        if len(args) > 1 and args[1]:
            return None
        args = [args[0], NO_ELEMENT]
    if call.name in ("view", "_unsafe_view", "view_copy"):
        return [parts[0].reshape(call.result.shape)]
    numbers = call.operation(parts if isinstance(source, list) else parts[0], *args, **call.kwargs)
    return [part.contiguous() for part in movement.as_list(numbers)]


def _numbers(tracer: Tracer, tensor: torch.Tensor) -> torch.Tensor | None:
    """Return the numbers of the elements that a tensor consists of, None if it is computed."""
    numbers = tracer.parameters.numbers_of(tensor)
    if numbers is not None:
        return numbers
    if tracer.values.are_known(tensor) and not tensor.any():
        return torch.full(tensor.shape, NO_ELEMENT, dtype=torch.int64, device="cpu")
    return None


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


def _compute(tracer: Tracer, call: Call, sources: list[torch.Tensor]) -> None:
    """Note that results are computed from parameters.

    A result whose elements are those of a parameter, scaled, stands for that parameter: weights
    that are normalised are pruned by their direction, and are zero where it is. A sum stands for
    none: walks follow the elements of a parameter there too, but none of them is pruned.
    """
    parameters, outputs = tracer.parameters, call.outputs
    origin = _composed(tracer, call, sources)
    same = [
        tensor
        for tensor in sources
        if outputs and tracer.parameters.elements_of(tensor) and tensor.shape == outputs[0].shape
    ]
    if not same or not (is_pointwise(call) or call.name in SCALES | NORMALISATIONS):
        for output in outputs:
            if call.is_in_place:
                parameters.set_changed(output, origin)
            else:
                parameters.set_computed(output, origin)
        return
    # A norm scales its first argument; which factor of a product comes first says nothing.
    direction = min(same, key=partial(_precedence, tracer)) if is_pointwise(call) else same[0]
    own = parameters.origin_of(direction)
    assert own is not None
    if keeps_zeros(tracer, call, [part for part in same if _are_zero_as(tracer, part, direction)]):
        norms = _norms(tracer, call, direction, origin)
        view = parameters.view_of(direction)
        if view is not None or not norms:
            origin = replace(origin, composed_of=own.composed_of, composed_by=own.composed_by)
        if view is not None and norms and not origin.composed_of:
            _note_norm(tracer, call, view, norms)
    elif call.name in NORMALISATIONS:
        origin = replace(origin, composed_of=_parts(tracer, direction))
    elif _is_padded(tracer, direction) and not call.is_in_place:
        # A tensor that is added to the padding is an edge too, which no link of the elements has.
        parameters.set_computed(outputs[0], origin)
        return
    if call.is_in_place and origin.composed_of:
        parameters.set_changed(outputs[0], origin)
        return
    _set_elements(tracer, outputs[0], direction, origin)
    base = outputs[0]._base
    if call.is_in_place and base is not None and tracer.parameters.elements_of(base) is None:
        # A parameter was written into a part of another tensor.
        parameters.set_changed(base, _composed(tracer, call, sources))
    for name in _parts(tracer, direction):
        tracer.notes.derived.setdefault(name, call.name)


def _composed(tracer: Tracer, call: Call, sources: list[torch.Tensor]) -> Origin:
    """Return the origin of a result that stands for no parameter."""
    origins = [origin for each in sources if (origin := tracer.parameters.origin_of(each))]
    earlier = [origin.composed_by for origin in origins]
    return Origin(
        names=frozenset[str]().union(*(origin.names for origin in origins)),
        at_zero=value_at_zero(tracer, call),
        composed_of=frozenset[str]().union(*(_parts(tracer, each) for each in sources)),
        composed_by=earlier[0] if all(earlier) else call.site,
    )


def _parts(tracer: Tracer, tensor: torch.Tensor) -> frozenset[str]:
    """Return the parameters that the elements of a tensor come from, scales not counted."""
    origin, elements = tracer.parameters.origin_of(tensor), tracer.parameters.elements_of(tensor)
    if origin is not None and (origin.composed_of or elements is None):
        return origin.composed_of
    return frozenset() if elements is None else tracer.parameters.names_in(elements)


def _set_elements(
    tracer: Tracer, output: torch.Tensor, source: torch.Tensor, origin: Origin | None
) -> None:
    """Note that a tensor has the elements of another, scaled."""
    elements = tracer.parameters.elements_of(source)
    if isinstance(elements, ParameterView):
        tracer.parameters.set_view(output, elements, origin)
    elif origin is not None and elements is not None:
        tracer.parameters.set_mosaic(output, elements, origin)
    elif origin is not None:
        tracer.parameters.set_computed(output, origin)


def _are_zero_as(tracer: Tracer, tensor: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether a tensor is zero wherever the elements that another stands for are."""
    if tensor is other:
        return True
    origins = (tracer.parameters.origin_of(each) for each in (tensor, other))
    if any(origin is None or origin.composed_of for origin in origins):
        return False
    left, right = (tracer.parameters.elements_of(each) for each in (tensor, other))
    if isinstance(left, Mosaic) and isinstance(right, Mosaic):
        return torch.equal(left.numbers, right.numbers)
    if isinstance(left, ParameterView) and isinstance(right, ParameterView):
        return left.steps == right.steps
    return False


def _is_padded(tracer: Tracer, tensor: torch.Tensor) -> bool:
    """Return whether some elements of a tensor are of no parameter, but zero."""
    mosaic = tracer.parameters.mosaic_of(tensor)
    return mosaic is not None and bool((mosaic.numbers < 0).any())


def _precedence(tracer: Tracer, tensor: torch.Tensor) -> tuple[bool, tuple[bool, int, int]]:
    """Order the tensors of which a product may stand for one: the first is the least."""
    origin, elements = tracer.parameters.origin_of(tensor), tracer.parameters.elements_of(tensor)
    is_composed = origin is None or bool(origin.composed_of)
    if isinstance(elements, ParameterView):
        return is_composed, tracer.parameters.precedence(elements)
    return is_composed, (True, 0, 0)


def _norms(
    tracer: Tracer, call: Call, direction: torch.Tensor, origin: Origin
) -> list[torch.Tensor]:
    """Return the arguments by which weights are divided that are zero where all of these are."""
    if origin.at_zero is None or not math.isnan(origin.at_zero):
        return []
    if call.name in WEIGHT_NORMS:
        return [direction]
    origins = tracer.parameters.origin_of
    names = _parts(tracer, direction)
    return [
        tensor
        for tensor in call.tensors
        if tensor is not direction and (other := origins(tensor)) and names & other.names
    ]


def _note_norm(tracer: Tracer, call: Call, view: ParameterView, norms: list[torch.Tensor]) -> None:
    """Note over which dimensions of a parameter the norms sum that divide it.

    A weight of shape (4, 2, 3) that is divided by a norm of shape (4, 1, 1) is summed over the
    dimensions 1 and 2.
    """
    rank, shape = len(view.shape), tracer.parameters.shape_of(view.name)
    if call.name in WEIGHT_NORMS:
        varying = {call.argument("dim")} - {-1}
    else:
        varying = {
            dim + rank - norm.dim()
            for norm in norms
            for dim in range(norm.dim())
            if norm.shape[dim] > 1 and norm.stride(dim)
        }
    kept = view.dims_in(shape, varying)
    dims = tuple(dim for dim in range(len(shape)) if dim not in kept)
    tracer.notes.add_norm(call, view.name, dims)
