"""Products with weights of which only kept entries exist, and their derivatives.

Three products are closed under differentiation, so that each can be differentiated any number of
times. For a linear layer, with the dense weight W that has zeros where nothing is kept:

    product             y = x W^T + b          from x and the kept weights w
    transposed product  gx = g W               from the gradient g of y and w
    sampled product     gw = (g^T x) at the    from g and x
                        places of w

Convolutions are the same with another W.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from phew.sparse import operators
from phew.sparse.geometry import Geometry
from phew.sparse.indices import Indices


def product(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    indices: Indices,
    geometry: Geometry,
) -> Tensor:
    """Apply a linear layer or a convolution whose weight is sparse.

    Args:
        input: (images, in_channels, *size), with as many sizes as the kernel has.
        weight: The kept weights (num_kept,), in the order of the memory of the dense weight.
        bias: (out_channels,), or None.
        indices: The places of the kept weights.
        geometry: How the weight is applied.

    Returns:
        (images, out_channels, *out_size).
    """
    if not _is_differentiated():
        return cast(Tensor, operators.product(input, weight, bias, *indices, *geometry))
    return _applied(_Product, input, weight, bias, *indices, *geometry)


def expand(weight: Tensor, indices: Indices, shape: Sequence[int]) -> Tensor:
    """Return the dense weight of a shape, with zeros where nothing is kept."""
    return _applied(_Expand, weight, *indices, list(shape))


def gather(dense: Tensor, indices: Indices) -> Tensor:
    """Return the kept weights (num_kept,) of a dense weight."""
    return _applied(_Gather, dense, *indices)


class _Differentiable(Function):
    """A function of two factors, which it saves, and of indices and plain values."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: Sequence[Any], output: Tensor) -> None:
        """Save the first two inputs, and what follows a third one."""
        first, second, _, *shared = inputs
        ctx.save_for_backward(first, second, *shared[:3])
        ctx.plain = shared[3:]


def _is_differentiated() -> bool:
    """Return whether the derivatives of what runs now may be asked for.

    If not, operators are called by themselves: making a `Function` for them takes longer than a
    small product.
    """
    return torch.is_grad_enabled() or forward_ad._current_level >= 0


def _has_derivatives() -> bool:
    """Return whether a derivative that runs now may be differentiated.

    torch.compile cannot follow derivatives of derivatives, and has none.
    """
    return _is_differentiated() and not torch.compiler.is_compiling()


def _any_product(*inputs: Any) -> Tensor:
    if not _has_derivatives():
        return cast(Tensor, operators.product(*inputs))
    return _applied(_Product, *inputs)


def _transposed_product(*inputs: Any) -> Tensor:
    if not _has_derivatives():
        return cast(Tensor, operators.transposed_product(*inputs))
    return _applied(_TransposedProduct, *inputs)


def _sampled_product(grad: Tensor, input: Tensor, *shared: Any) -> Tensor:
    if not _has_derivatives():
        return cast(Tensor, operators.sampled_product(grad, input, *shared))
    return _applied(_SampledProduct, grad, input, None, *shared)


def _applied(function: type[Function], *inputs: Any) -> Tensor:
    return cast(Tensor, function.apply(*inputs))


class _Product(_Differentiable):
    @staticmethod
    def forward(*inputs: Any) -> Tensor:
        return operators.product(*inputs)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, *indices = ctx.saved_tensors
        needs_input, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        shared = (*indices, *ctx.plain)
        of_input = of_weight = of_bias = None
        if needs_input:
            of_input = _transposed_product(grad, weight, list(input.shape[2:]), *shared)
        if needs_weight:
            of_weight = _sampled_product(grad, input, *shared)
        if needs_bias:
            of_bias = grad.sum([0, *range(2, grad.ndim)])
        return of_input, of_weight, of_bias, *[None] * len(shared)


class _TransposedProduct(_Differentiable):
    @staticmethod
    def forward(*inputs: Any) -> Tensor:
        return operators.transposed_product(*inputs)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        first, weight, *indices = ctx.saved_tensors
        needs_first, needs_weight, *_ = ctx.needs_input_grad
        shared = (*indices, *ctx.plain)
        of_first = _any_product(grad, weight, None, *shared) if needs_first else None
        of_weight = _sampled_product(first, grad, *shared) if needs_weight else None
        return of_first, of_weight, None, *[None] * len(shared)


class _SampledProduct(_Differentiable):
    @staticmethod
    def forward(grad: Tensor, input: Tensor, _: None, *shared: Any) -> Tensor:
        return operators.sampled_product(grad, input, *shared)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        first, input, *indices = ctx.saved_tensors
        needs_first, needs_input, *_ = ctx.needs_input_grad
        shared = (*indices, *ctx.plain)
        of_first = of_input = None
        if needs_first:
            of_first = _any_product(input, grad, None, *shared)
        if needs_input:
            of_input = _transposed_product(first, grad, list(input.shape[2:]), *shared)
        return of_first, of_input, None, *[None] * len(shared)


class _Expand(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs: Any) -> Tensor:
        return operators.expand(*inputs)  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Any, inputs: Sequence[Any], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:4])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _applied(_Gather, grad, *ctx.saved_tensors), None, None, None, None


class _Gather(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs: Any) -> Tensor:
        return operators.gather(*inputs)  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Any, inputs: Sequence[Any], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:4])
        ctx.shape = list(inputs[0].shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _applied(_Expand, grad, *ctx.saved_tensors, ctx.shape), None, None, None
