"""Elements of a layer's weights that constants zero: they are no edges.

The layer computes `linear(x, weight * mask)`, and the mask is 1 0 / 1 1. So element (0, 1) of the
weight is absent from the product. It is so from whatever the product is made into: a transposed or
a scaled matrix, a slice, a stack of heads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from phew.capture.calls import Call
from phew.capture.operations import movement
from phew.capture.operations.parameters import MOVES
from phew.capture.operations.zeros import keeps_zeros
from phew.capture.tracer import Tracer
from phew.distributed.sharding import is_sharded

Zeroes = Callable[[Tracer, Call], torch.Tensor | None]
"""Flags what an operation zeroes whatever the weights are; the flags broadcast to its result."""


def follow_absent(tracer: Tracer, call: Call) -> None:
    """Note which elements of a parameter are absent from the results of an operation."""
    zeroes = _ZEROES.get(call.name)
    for output in call.outputs:
        # `weight.data *= mask` changes the parameter itself.
        owner = tracer.parameters.owner_of(output) if zeroes and call.is_in_place else None
        tensor = output if owner is None else owner
        elements = tracer.parameters.elements_of(tensor)
        if elements is None:
            continue
        zeroed = zeroes(tracer, call) if zeroes else None
        flags = None if zeroed is None or not zeroed.any() else zeroed.cpu().expand(output.shape)
        if owner is None and not _puts(call):
            flags = _or(flags, _by_weights(tracer, call, output.shape))
        for name in tracer.parameters.names_in(elements):
            absent = _absent_before(tracer, call, name, owner)
            if flags is not None:
                absent = _or(absent, tracer.parameters.elements_flagged(tensor, name, flags))
            tracer.parameters.set_absent(tensor, name, absent)


def _puts(call: Call) -> bool:
    """Return whether an operation puts elements of its arguments in other places."""
    return call.name in movement.VIEWS | movement.COPIES | MOVES


def _or(flags: torch.Tensor | None, others: torch.Tensor | None) -> torch.Tensor | None:
    return others if flags is None else flags if others is None else flags | others


def _absent_before(
    tracer: Tracer, call: Call, name: str, owner: nn.Parameter | None
) -> torch.Tensor | None:
    """Flag the elements of a parameter that are absent from the arguments, whatever is computed.

    An element that is put into the result several times must be absent from each argument that has
    it: of `cat([weight[:2] * mask, weight[2:]])`, from the first.
    """
    if owner is not None:
        return tracer.parameters.absent_of(owner, name)
    if not _puts(call):
        return None
    absent, present = None, None
    for tensor in call.tensors:
        elements = tracer.parameters.elements_of(tensor)
        if elements is None or name not in tracer.parameters.names_in(elements):
            continue
        flags = tracer.parameters.absent_of(tensor, name)
        absent = _or(absent, flags)
        if call.name in MOVES:
            all_of_it = torch.ones(tensor.shape, dtype=torch.bool, device="cpu")
            own = tracer.parameters.elements_flagged(tensor, name, all_of_it)
            present = _or(present, own if flags is None else own & ~flags)
    if absent is not None and present is not None:
        absent = absent & ~present
    return absent if absent is not None and absent.any() else None


def _by_weights(tracer: Tracer, call: Call, shape: torch.Size) -> torch.Tensor | None:
    """Flag where the weights that an operation computes with are zeroed, and so its results."""
    zeroed = None
    for tensor in call.tensors:
        flags = tracer.parameters.zeroed_in(tensor)
        if flags is not None and keeps_zeros(tracer, call, [tensor]):
            zeroed = _or(zeroed, flags.expand(shape))
    return zeroed


def _constant(tracer: Tracer, call: Call, value: Any) -> torch.Tensor | None:
    """Return the values of a tensor that is the same in any run, None if it is not or is unknown.

    A frozen parameter of zeros and ones is a mask.
    """
    if not isinstance(value, torch.Tensor):
        return None
    if isinstance(value, nn.Parameter):
        is_known = not (value.requires_grad or value.is_meta or is_sharded(value))
        values = value.detach()
        return values if is_known and bool(((values == 0) | (values == 1)).all()) else None
    if call.result.dim() > 1 and value.shape == call.result.shape:
        tracer.values.check(value, call.module)
    return value if tracer.values.are_fixed(value) else None


def _by_factors(tracer: Tracer, call: Call) -> torch.Tensor | None:
    """Flag the zeros of a product's constant factors."""
    zeroed = None
    for factor in call.args[call.is_in_place : 2]:
        values = _constant(tracer, call, factor)
        if values is not None:
            zeroed = values == 0 if zeroed is None else zeroed | (values == 0)
    return zeroed


def _by_choice(tracer: Tracer, call: Call) -> torch.Tensor | None:
    """Flag where `where` chooses zeros of a constant."""
    condition = _constant(tracer, call, call.args[0])
    if condition is None:
        return None
    chosen, other = (_constant(tracer, call, value) for value in call.args[1:3])
    zeroed = torch.zeros_like(condition, dtype=torch.bool)
    if chosen is not None:
        zeroed = zeroed | (condition.bool() & (chosen == 0))
    if other is not None:
        zeroed = zeroed | (~condition.bool() & (other == 0))
    return zeroed


def _by_filling(tracer: Tracer, call: Call) -> torch.Tensor | None:
    """Flag where `masked_fill` fills in zero."""
    mask, value = _constant(tracer, call, call.args[1]), call.args[2]
    if isinstance(value, torch.Tensor):
        value = _constant(tracer, call, value)
    return mask.bool() if mask is not None and value is not None and value == 0 else None


def _outside_triangle(tracer: Tracer, call: Call) -> torch.Tensor | None:
    """Flag what `tril` and `triu` zero."""
    kept = torch.ones(call.result.shape[-2:], dtype=torch.bool, device="cpu")
    triangle: torch.Tensor = getattr(kept, call.name.removesuffix("_"))(
        *call.args[1:], **call.kwargs
    )
    return ~triangle


_ZEROES: dict[str, Zeroes] = {
    **dict.fromkeys(("mul", "mul_"), _by_factors),
    "where": _by_choice,
    **dict.fromkeys(("masked_fill", "masked_fill_"), _by_filling),
    **dict.fromkeys(("tril", "tril_", "triu", "triu_"), _outside_triangle),
}
