"""The operators of sparse layers, registered with torch as `torch.ops.phew.product` and so on.

Each expands the weight for the moment of the product and calls torch. They have no derivatives here
(see `phew.sparse.products`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from phew.sparse.indices import Indices, flat_positions


class Geometry(NamedTuple):
    """How a layer applies its weight.

    Attributes:
        in_channels: Channels, or features, of the input.
        kernel_size: The kernel's size in each dimension; none for a linear layer.
        stride: Steps between the positions of the kernel, one for each dimension.
        padding: Zeros on both sides of the input, one number for each dimension.
        dilation: Steps between the elements of the kernel, one for each dimension.
        groups: Groups of channels, of which each is connected to its own.
    """

    in_channels: int
    kernel_size: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1

    @property
    def num_columns(self) -> int:
        """Columns of the dense weight, seen as one row for each output channel."""
        return self.in_channels // self.groups * math.prod(self.kernel_size)

    def dense_shape(self, out_channels: int) -> tuple[int, ...]:
        """Return the shape of the dense weight."""
        return (out_channels, self.in_channels // self.groups, *self.kernel_size)

    def out_size(self, size: Sequence[int]) -> list[int]:
        """Return the size of the output, without its images and channels."""
        return [
            (length + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for length, kernel, stride, padding, dilation in zip(
                size, self.kernel_size, self.stride, self.padding, self.dilation, strict=True
            )
        ]


def _product(input: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> Tensor:
    indices, geometry = _parsed(rest)
    dense = _expand(weight, *indices, geometry.dense_shape(len(indices.row_starts) - 1))
    if not geometry.kernel_size:
        return torch.nn.functional.linear(input, dense, bias)
    return torch.convolution(
        input, dense, bias, *geometry[2:5], False, [0] * len(geometry.kernel_size), geometry.groups
    )


def _transposed_product(grad: Tensor, weight: Tensor, size: Sequence[int], *rest: Any) -> Tensor:
    indices, geometry = _parsed(rest)
    dense = _expand(weight, *indices, geometry.dense_shape(grad.shape[1]))
    if not geometry.kernel_size:
        return grad @ dense
    input = grad.new_empty(grad.shape[0], geometry.in_channels, *size)
    return _convolution_backward(grad, input, dense, geometry, [True, False, False])[0]


def _sampled_product(grad: Tensor, input: Tensor, *rest: Any) -> Tensor:
    indices, geometry = _parsed(rest)
    if not geometry.kernel_size:
        return _gather(grad.T @ input, *indices)
    dense = grad.new_empty(geometry.dense_shape(grad.shape[1]))
    backward = _convolution_backward(grad, input, dense, geometry, [False, True, False])
    return _gather(backward[1], *indices)


def _convolution_backward(
    grad: Tensor, input: Tensor, dense: Tensor, geometry: Geometry, wanted: list[bool]
) -> Sequence[Tensor]:
    return torch.ops.aten.convolution_backward(  # type: ignore[no-any-return]
        grad, input, dense, None, *geometry[2:5], False, [0] * len(geometry.kernel_size),
        geometry.groups, wanted,
    )  # fmt: skip


def _expand(
    weight: Tensor, mask: Tensor, row_starts: Tensor, columns: Tensor, shape: Sequence[int]
) -> Tensor:
    dense = weight.new_zeros(math.prod(shape))
    positions = flat_positions(Indices(mask, row_starts, columns), math.prod(shape[1:]))
    return dense.scatter_(0, positions, weight).view(shape)


def _gather(dense: Tensor, mask: Tensor, row_starts: Tensor, columns: Tensor) -> Tensor:
    positions = flat_positions(Indices(mask, row_starts, columns), math.prod(dense.shape[1:]))
    return dense.reshape(-1)[positions]


def _parsed(arguments: Sequence[Any]) -> tuple[Indices, Geometry]:
    """Return the arguments that all products share as what they were made from."""
    indices, geometry = Indices(*arguments[:3]), arguments[3:]
    in_channels, *sizes, groups = geometry
    kernel_size, stride, padding, dilation = (tuple(each) for each in sizes)
    return indices, Geometry(in_channels, kernel_size, stride, padding, dilation, groups)


# The shapes of results, which torch.compile and torch.export ask for.


def _product_shape(input: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> Tensor:
    indices, geometry = _parsed(rest)
    out_channels = len(indices.row_starts) - 1
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
    "SymInt[] dilation, int groups"
)


def _register(name: str, arguments: str, run: Any, shape: Any) -> None:
    _library.define(f"{name}({arguments}) -> Tensor")
    _library.impl(name, run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"phew::{name}", shape, lib=_library)

    def run_each(info: Any, in_dims: Sequence[Any], *arguments: Any) -> tuple[Tensor, int]:
        """Run the operator once for each element of a dimension that `torch.func.vmap` maps."""
        operator = getattr(torch.ops.phew, name)
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


_register(
    "product", f"Tensor input, Tensor weight, Tensor? bias, {_SHARED}", _product, _product_shape
)
_register(
    "transposed_product",
    f"Tensor grad, Tensor weight, SymInt[] size, {_SHARED}",
    _transposed_product,
    _transposed_shape,
)
_register(
    "sampled_product", f"Tensor grad, Tensor input, {_SHARED}", _sampled_product, _sampled_shape
)
_register("expand", f"Tensor weight, {_INDICES}, SymInt[] shape", _expand, _expanded_shape)
_register("gather", f"Tensor dense, {_INDICES}", _gather, _gathered_shape)
