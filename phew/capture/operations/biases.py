"""Which operations make biased activations: those that make something of zeros."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from phew.capture.calls import Call
from phew.capture.operations import joins, movement, products, resampling, weights
from phew.capture.operations.zeros import makes_zero
from phew.capture.tracer import Tracer

_ALWAYS = {
    *("_softmax", "_log_softmax", "_safe_softmax", "logsumexp", "logcumsumexp"),
    *("log_sigmoid_forward", "bernoulli_", "normal_", "uniform_", "exponential_"),
    *("linalg_inv_ex", "linalg_cholesky_ex", "cholesky", "linalg_matrix_exp"),
    *joins.SUBTRACTING,
}

_POINTWISE = {"masked_fill", "masked_fill_", "complex", "polar", "copysign", "fill_"}
"""Operations that torch does not tag as pointwise."""

_ARGUMENTS: dict[Callable[..., None], tuple[slice, int | None]] = {
    weights.convolution: (slice(2), 2),
    weights.deformable_convolution: (slice(2), 4),
    weights.grouped_product: (slice(2), None),
    products.linear: (slice(2), 2),
    products.multiply: (slice(2), None),
    products.scaled_dot_product_attention: (slice(2, 3), None),
    joins.normalise_channels: (slice(1), 2),
    joins.normalise_features: (slice(1), None),
    movement.same: (slice(1), None),
    resampling.sample_grid: (slice(1), None),
}
"""By rule, the arguments of which any makes the result zero, and the position of the bias."""


@contextmanager
def follow_biases(
    tracer: Tracer, call: Call, rule: Callable[..., None], *, applies_weights: bool
) -> Iterator[None]:
    """Note which results and links of an operation are biased, while its rule labels these.

    Args:
        tracer: The tracer.
        call: The operation.
        rule: Its rule.
        applies_weights: Whether the rule adds links from activations.
    """
    is_biased = _makes_bias(tracer, call, rule)
    is_nothing = tracer.biases.are_multiplied_by_zero(call)
    activations = (part for part in call.tensors if tracer.activations.labels_of(part) is not None)
    reads_bias = applies_weights and tracer.biases.are_in(activations)
    num_links, num_unknown = len(tracer.builder.spaces.links), len(tracer.notes.approximations)
    yield
    if reads_bias:
        tracer.builder.spaces.set_biased_sources(num_links)
    # A complete wiring may make anything of zeros.
    is_biased |= len(tracer.notes.approximations) > num_unknown
    for output in call.outputs:
        tracer.biases.set(output, biased=is_biased, nothing=is_nothing)


def _makes_bias(tracer: Tracer, call: Call, rule: Callable[..., None]) -> bool:
    """Return whether an operation makes biased activations of its arguments."""
    if call.name in _ALWAYS:
        return True
    if rule not in _ARGUMENTS:
        if torch.Tag.pointwise not in call.operation.tags and call.name not in _POINTWISE:
            return tracer.biases.are_in(call.tensors)
        zeros = [part for part in call.tensors if not _has_values(tracer, part)]
        return not makes_zero(tracer, call, zeros)
    factors, position = _ARGUMENTS[rule]
    if call.name in products.WITH_BIAS:
        factors, position = slice(1, 3), 0
    if position is not None and position < len(call.args):
        bias = call.args[position]
        if isinstance(bias, torch.Tensor) and bias in tracer.biases:
            return True
    return _are_biased(tracer, call.args[factors])


def _has_values(tracer: Tracer, tensor: torch.Tensor) -> bool:
    """Return whether a tensor has values where nothing feeds its units, or is a statistic.

    Other units have a share in statistics.
    """
    labels = tracer.activations.labels_of(tensor)
    is_statistic = labels is not None and tracer.builder.is_statistic(labels)
    return is_statistic or tensor in tracer.biases


def _are_biased(tracer: Tracer, factors: tuple[Any, ...]) -> bool:
    """Return whether a product is biased: not if weights are a factor, which zeros lead through."""
    if any(tracer.parameters.elements_of(factor) is not None for factor in factors):
        return False
    labelled = [part for part in factors if tracer.activations.labels_of(part) is not None]
    return bool(labelled) and all(part in tracer.biases for part in labelled)
