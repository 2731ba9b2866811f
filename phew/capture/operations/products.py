"""Matrix products of activations, with constants too, and attention.

A product of activations has a unit for each position of its result along the dimensions in which a
factor's units vary, wired from all the units that are summed over there. Attention needs no case
of its own: the scores of a head are one unit, fed by its queries and keys; their product with the
values is a product of three.

For queries and keys of shape (heads, tokens, places) whose labels vary by head and place, head 0
has queries 0 1 and keys 4 5, say. Each score of head 0 is a sum over its places, so all its scores
are one unit, fed by 0 1 4 5. The product of these scores and a value with the label 7 is a unit
of three factors: (0 1), (4 5) and (7).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from phew.capture.calls import Call
from phew.capture.labels import (
    NO_UNIT,
    has_units,
    reshape,
    varying_dims,
)
from phew.capture.mosaics import Mosaic
from phew.capture.operations.joins import combine, merge
from phew.capture.operations.weighted_products import multiply_weights
from phew.capture.parameter_views import ParameterView
from phew.capture.tracer import Tracer

WITH_BIAS = ("addmm", "addmv", "baddbmm")


@dataclass(frozen=True)
class Factor:
    """One side of a matrix product.

    Attributes:
        labels: Its labels, None for parameters and constants.
        view: The weights that it consists of, if any.
        values: The values of a constant, where they are known.
    """

    labels: torch.Tensor | None
    view: ParameterView | Mosaic | None
    values: torch.Tensor | None

    @classmethod
    def of(cls, tracer: Tracer, tensor: torch.Tensor) -> Factor:
        """Describe an argument."""
        labels = tracer.activations.labels_of(tensor)
        if labels is not None:
            return cls(labels, None, None)
        view = tracer.parameters.elements_of(tensor)
        return cls(None, view, tensor if tracer.values.are_known(tensor) else None)

    def apply(self, tracer: Tracer, move: Callable[[torch.Tensor], torch.Tensor]) -> Factor:
        """Return this factor with an operation applied to it that moves data."""
        view = self.view
        if isinstance(view, ParameterView) and view.shape != view.index.shape:
            view = tracer.parameters.mosaic_from(view)
        if isinstance(view, Mosaic):
            view = replace(view, numbers=move(view.numbers))
        elif view is not None:
            index = move(view.index)
            view = replace(view, index=index, shape=index.shape)
        return Factor(
            None if self.labels is None else move(self.labels),
            view,
            None if self.values is None else move(self.values),
        )


def multiply(tracer: Tracer, call: Call) -> None:
    """Multiply vectors, matrices or batches of them, and add a bias."""
    has_bias = call.name in WITH_BIAS
    left, right = (Factor.of(tracer, tensor) for tensor in call.args[has_bias : has_bias + 2])
    shape = call.result.shape
    if call.name in ("mv", "addmv"):
        right, shape = (
            right.apply(tracer, lambda vector: vector.unsqueeze(1)),
            torch.Size([*shape, 1]),
        )
    elif call.name in ("dot", "vdot"):
        left = left.apply(tracer, lambda vector: vector.unsqueeze(0))
        right, shape = right.apply(tracer, lambda vector: vector.unsqueeze(1)), torch.Size([1, 1])
    _multiply(tracer, call, left, right, shape, call.args[0] if has_bias else None)


def linear(tracer: Tracer, call: Call) -> None:
    """Multiply by a transposed matrix: weight (out, in), units along the last dimension."""
    activation, weight, *bias = call.args
    left, right = (Factor.of(tracer, tensor) for tensor in (activation, weight))
    right = right.apply(tracer, lambda matrix: matrix.t())
    _multiply(tracer, call, left, right, call.result.shape, bias[0] if bias else None)


def _multiply(
    tracer: Tracer, call: Call, left: Factor, right: Factor, shape: torch.Size, bias: Any
) -> None:
    """Label a product of matrices; weights may stand on either side."""
    if left.labels is not None and right.labels is not None:
        biased = [_argument(call, side) in tracer.biases for side in (0, 1)]
        labels = matrix_product(tracer, call.place, left.labels, right.labels, biased)
    elif right.view is not None:
        activation = left.labels if left.labels is not None else tracer.feed(_argument(call, 0))
        weighted = multiply_weights(tracer, call, activation, right.view, bias)
        if weighted is None:
            return
        labels = weighted
    elif left.view is not None:
        activation = right.labels if right.labels is not None else _fed_right(tracer, call)
        view = left.apply(tracer, _transpose).view
        assert view is not None
        weighted = multiply_weights(tracer, call, _transpose(activation), view, bias)
        if weighted is None:
            return
        labels = _transpose(weighted)
    elif left.labels is not None:
        labels = _constant_product(
            tracer, call.place, left.labels, _argument(call, 1), right.values
        )
    else:
        assert right.labels is not None
        values = None if left.values is None else _transpose(left.values)
        labels = _transpose(
            _constant_product(
                tracer, call.place, _transpose(right.labels), _argument(call, 0), values
            )
        )
    labels = labels.expand(shape)
    if labels.dim() != call.result.dim():
        labels = reshape(labels, call.result.shape)
    added = tracer.activations.labels_of(bias) if isinstance(bias, torch.Tensor) else None
    if added is not None:
        labels = combine(tracer.builder.join, [labels, added], labels.shape, call.place)
    tracer.label(call, call.result, labels)


def _argument(call: Call, side: int) -> torch.Tensor:
    tensor: torch.Tensor = call.args[side + (call.name in WITH_BIAS)]
    return tensor


def _fed_right(tracer: Tracer, call: Call) -> torch.Tensor:
    labels = tracer.feed(_argument(call, 1))
    return labels.unsqueeze(1) if labels.dim() == 1 else labels


def _transpose(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.transpose(-1, -2)


def matrix_product(
    tracer: Tracer, name: str, left: torch.Tensor, right: torch.Tensor, biased: Sequence[bool]
) -> torch.Tensor:
    """Return the labels of (..., m, k) times (..., k, n), shape (..., m, n).

    `biased` tells of each side whether it has values where nothing feeds its units.
    """
    left, right = left.unsqueeze(-2), right.transpose(-1, -2).unsqueeze(-3)
    shape = torch.broadcast_shapes(left.shape, right.shape)[:-1]
    return combine(partial(tracer.builder.multiply, biased=biased), [left, right], shape, name)


def _constant_product(
    tracer: Tracer,
    name: str,
    activation: torch.Tensor,
    constant: torch.Tensor,
    values: torch.Tensor | None,
) -> torch.Tensor:
    """Return the labels of (..., m, k) times a constant (..., k, n), shape (..., m, n or 1).

    A zero in a constant whose values are known makes no edge.
    """
    last = activation.dim() - 1
    if last in varying_dims(activation):
        tracer.values.check(constant, tracer.modules.innermost)
    if last not in varying_dims(activation) or values is None or bool(values.all()):
        return merge(tracer, activation, [last], name)
    edges = (values != 0).transpose(-1, -2).unsqueeze(-3)
    rows = torch.where(edges, activation.unsqueeze(-2), NO_UNIT)
    return merge(tracer, rows, [last + 1], name).squeeze(-1)


def scaled_dot_product_attention(tracer: Tracer, call: Call) -> None:
    """Lead queries and keys to all of their head's output, values to their own place in it.

    A bias that has units, such as scores of relative positions, is added to the scores.
    """
    query, key, value = (tracer.feed(tensor) for tensor in call.args[:3])
    # In attention with grouped heads each head of keys and values serves several of queries.
    num_shared = query.shape[-3] // max(key.shape[-3], 1)
    if num_shared > 1:
        key, value = (part.repeat_interleave(num_shared, dim=-3) for part in (key, value))
    biased = [tensor in tracer.biases for tensor in call.args[:3]]
    scores = matrix_product(tracer, call.place, query, key.transpose(-1, -2), biased[:2])
    for name in ("attn_mask", "attn_bias"):
        bias = (
            tracer.activations.labels_of(call.argument(name))
            if call.argument(name) is not None
            else None
        )
        if bias is not None and has_units(bias):
            scores = combine(tracer.builder.join, [scores, bias], scores.shape, call.place)
    # The softmax of zeros is not zero.
    labels = matrix_product(tracer, call.place, scores, value, [True, biased[2]])
    tracer.label(call, call.outputs[0], labels)


def solve(tracer: Tracer, call: Call) -> None:
    """Multiply by the inverse of a matrix, each element of which depends on all of it."""
    matrix, right = (tracer.feed(tensor) for tensor in call.args[:2])
    inverse = merge(tracer, matrix, [-1, -2], call.place).expand_as(matrix)
    biased = [True, call.args[1] in tracer.biases]
    labels = matrix_product(tracer, call.place, inverse, right, biased)
    tracer.label(call, call.outputs[0], labels.expand(call.outputs[0].shape))


def invert(tracer: Tracer, call: Call) -> None:
    """Decompose or invert a matrix: each element of the result depends on all of it."""
    labels = merge(tracer, tracer.labels_or_constant(call.args[0]), [-1, -2], call.place)
    tracer.label(call, call.outputs[0], labels.expand(call.outputs[0].shape))


def distances(tracer: Tracer, call: Call) -> None:
    """Join all pairs of rows of two matrices, neither of which needs the other."""
    left, right = (tracer.feed(tensor) for tensor in call.args[:2])
    labels = matrix_product(tracer, call.place, left, right.mT, [True, True])
    tracer.label(call, call.result, labels.expand(call.result.shape))
