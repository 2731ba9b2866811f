"""The operators of sparse layers, registered with torch as `torch.ops.phew.product` and so on.

Each product goes the way that is faster for it (see `phew.sparse.choice`). Operators have no
derivatives here (see `phew.sparse.products`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from phew.sparse import expanded, loops
from phew.sparse.choice import chosen_way
from phew.sparse.geometry import Geometry
from phew.sparse.indices import Indices

# Gradients are enabled where an operator is called by itself, as exported models do.


@torch.no_grad()
def _product(input: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> Tensor:
    indices, geometry = _parsed(rest)
    if chosen_way("product", input, indices, geometry) == "sparse":
        return loops.product(input, weight, bias, indices, geometry)
    return expanded.product(input, weight, bias, indices, geometry)


@torch.no_grad()
def _transposed_product(grad: Tensor, weight: Tensor, size: Sequence[int], *rest: Any) -> Tensor:
    indices, geometry = _parsed(rest)
    if chosen_way("transposed_product", grad, indices, geometry) == "sparse":
        return loops.transposed_product(grad, weight, size, indices, geometry)
    return expanded.transposed_product(grad, weight, size, indices, geometry)


@torch.no_grad()
def _sampled_product(grad: Tensor, input: Tensor, *rest: Any) -> Tensor:
    indices, geometry = _parsed(rest)
    if chosen_way("sampled_product", grad, indices, geometry) == "sparse":
        return loops.sampled_product(grad, input, indices, geometry)
    return expanded.sampled_product(grad, input, indices, geometry)


def _expand(
    weight: Tensor, mask: Tensor, row_starts: Tensor, columns: Tensor, shape: Sequence[int]
) -> Tensor:
    return expanded.expand(weight, Indices(mask, row_starts, columns), shape)


def _gather(dense: Tensor, mask: Tensor, row_starts: Tensor, columns: Tensor) -> Tensor:
    return expanded.gather(dense, Indices(mask, row_starts, columns))


def _parsed(arguments: Sequence[Any]) -> tuple[Indices, Geometry]:
    """Return the arguments that all products share as what they were made from."""
    indices, geometry = Indices(*arguments[:3]), arguments[3:]
    in_channels, *sizes, groups, way = geometry
    kernel_size, stride, padding, dilation = (tuple(each) for each in sizes)
    return indices, Geometry(in_channels, kernel_size, stride, padding, dilation, groups, way)


# The shapes of results, which torch.compile and torch.export ask for.


def _product_shape(input: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> Tensor:
    indices, geometry = _parsed(rest)
    out_channels = indices.num_rows
    return input.new_empty(input.shape[0], out_channels, *geometry.out_size(input.shape[2:]))


def _transposed_shape(grad: Tensor, weight: Tensor, size: Sequence[int], *rest: Any) -> Tensor:
    return grad.new_empty(grad.shape[0], _parsed(rest)[1].in_channels, *size)


def _sampled_shape(grad: Tensor, input: Tensor, *rest: Any) -> Tensor:
    return grad.new_empty(_parsed(rest)[0].columns.shape)


def _expanded_shape(
    weight: Tensor, mask: Tensor, row_starts: Tensor, columns: Tensor, shape: Sequence[int]
) -> Tensor:
    return weight.new_empty(shape)


def _gathered_shape(dense: Tensor, mask: Tensor, row_starts: Tensor, columns: Tensor) -> Tensor:
    return dense.new_empty(columns.shape)


_library = torch.library.Library("phew", "DEF")
_INDICES = "Tensor mask, Tensor row_starts, Tensor columns"
_SHARED = (
    f"{_INDICES}, int in_channels, SymInt[] kernel_size, SymInt[] stride, SymInt[] padding, "
    "SymInt[] dilation, int groups, str way"
)


def _register(name: str, arguments: str, run: Any, shape: Any) -> torch._ops.OpOverload:
    _library.define(f"{name}({arguments}) -> Tensor")
    _library.impl(name, run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"phew::{name}", shape, lib=_library)

    def run_each(info: Any, in_dims: Sequence[Any], *arguments: Any) -> tuple[Tensor, int]:
        """Run the operator once for each element of a dimension that `torch.func.vmap` maps."""
        results = [
            operator(
                *(
                    argument.select(dim, index) if isinstance(dim, int) else argument
                    for argument, dim in zip(arguments, in_dims, strict=True)
                )
            )
            for index in range(info.batch_size)
        ]
        return torch.stack(results), 0

    torch.library.register_vmap(f"phew::{name}", run_each, lib=_library)
    operator: torch._ops.OpOverload = getattr(torch.ops.phew, name).default
    return operator


product = _register(
    "product", f"Tensor input, Tensor weight, Tensor? bias, {_SHARED}", _product, _product_shape
)
transposed_product = _register(
    "transposed_product",
    f"Tensor grad, Tensor weight, SymInt[] size, {_SHARED}",
    _transposed_product,
    _transposed_shape,
)
sampled_product = _register(
    "sampled_product", f"Tensor grad, Tensor input, {_SHARED}", _sampled_product, _sampled_shape
)
expand = _register("expand", f"Tensor weight, {_INDICES}, SymInt[] shape", _expand, _expanded_shape)
gather = _register("gather", f"Tensor dense, {_INDICES}", _gather, _gathered_shape)
