"""Products with sparse weights by torch: the weight is expanded for the moment of the product."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from phew.sparse import loops
from phew.sparse.geometry import Geometry
from phew.sparse.indices import Indices, flat_positions

PART_SIZE = 1 << 20
"""On CPUs, weights of linear layers are expanded in parts of so many numbers, which stay in the
processor's cache. A whole one of 16 million numbers takes as long to expand as a product of 128
inputs, because its memory is new to the process each time."""


def product(
    input: Tensor, weight: Tensor, bias: Tensor | None, indices: Indices, geometry: Geometry
) -> Tensor:
    """Apply a layer (see `phew.sparse.products.product`)."""
    if geometry.kernel_size:
        dense = expand(weight, indices, geometry.dense_shape(indices.num_rows))
        no_output_padding = [0] * len(geometry.kernel_size)
        output = torch.convolution(
            input, dense, bias, *geometry[2:5], False, no_output_padding, geometry.groups
        )
        # The output of an input in the order of torch.channels_last is in that order too.
        return output.contiguous()
    output = input.new_empty(len(input), indices.num_rows)
    for rows, kept, part in _parts(weight, indices, geometry):
        dense = expand(weight[kept], part, (rows.stop - rows.start, geometry.num_columns)).t()
        if bias is None:
            torch.mm(input, dense, out=output[:, rows])
        else:
            torch.addmm(bias[rows], input, dense, out=output[:, rows])
    return output


def transposed_product(
    grad: Tensor, weight: Tensor, size: Sequence[int], indices: Indices, geometry: Geometry
) -> Tensor:
    """Return the gradient of the input, whose images have a size."""
    if geometry.kernel_size:
        dense = expand(weight, indices, geometry.dense_shape(grad.shape[1]))
        input = grad.new_empty(len(grad), geometry.in_channels, *size)
        result = _convolution_backward(grad, input, dense, geometry, [True, False, False])[0]
        return result.contiguous()
    if weight.itemsize < 4:
        # Sums of parts would be rounded to few bits again and again.
        return grad @ expand(weight, indices, geometry.dense_shape(grad.shape[1]))
    result = grad.new_empty(len(grad), geometry.in_channels)
    for rows, kept, part in _parts(weight, indices, geometry):
        dense = expand(weight[kept], part, (rows.stop - rows.start, geometry.num_columns))
        # The first part overwrites what the memory had.
        result.addmm_(grad[:, rows], dense, beta=min(rows.start, 1))
    return result


def sampled_product(grad: Tensor, input: Tensor, indices: Indices, geometry: Geometry) -> Tensor:
    """Return the gradient of the kept weights."""
    if geometry.kernel_size:
        dense = grad.new_empty(geometry.dense_shape(grad.shape[1]))
        backward = _convolution_backward(grad, input, dense, geometry, [False, True, False])
        return gather(backward[1], indices)
    result = grad.new_empty(indices.columns.shape)
    for rows, kept, part in _parts(grad, indices, geometry):
        result[kept] = gather(grad[:, rows].t() @ input, part)
    return result


def expand(weight: Tensor, indices: Indices, shape: Sequence[int]) -> Tensor:
    """Return the dense weight of a shape, with zeros where nothing is kept."""
    if loops.have_copies(weight):
        return loops.expand(weight, indices, shape)
    dense = weight.new_zeros(math.prod(shape))
    positions = flat_positions(indices, math.prod(shape[1:]))
    return dense.scatter_(0, positions, weight).view(shape)


def gather(dense: Tensor, indices: Indices) -> Tensor:
    """Return the kept weights of a dense weight."""
    if loops.have_copies(dense):
        return loops.gather(dense, indices)
    positions = flat_positions(indices, math.prod(dense.shape[1:]))
    return dense.reshape(-1)[positions]


def _parts(
    tensor: Tensor, indices: Indices, geometry: Geometry
) -> Iterator[tuple[slice, slice, Indices]]:
    """Yield the rows of each part, and the numbers and indices of their kept weights."""
    num_rows = indices.num_rows
    if not tensor.is_cpu or num_rows * geometry.num_columns <= PART_SIZE:
        yield slice(0, num_rows), slice(None), indices
        return
    # The bits of eight rows are whole bytes.
    step = max(PART_SIZE // geometry.num_columns // 8, 1) * 8
    for first in range(0, num_rows, step):
        rows = slice(first, min(first + step, num_rows))
        starts = indices.row_starts[rows.start : rows.stop + 1]
        kept = slice(int(starts[0]), int(starts[-1]))
        bits = slice(
            rows.start * geometry.num_columns // 8, -(-rows.stop * geometry.num_columns // 8)
        )
        part = Indices(indices.mask[bits], starts - kept.start, indices.columns[kept])
        yield rows, kept, part


def _convolution_backward(
    grad: Tensor, input: Tensor, dense: Tensor, geometry: Geometry, wanted: list[bool]
) -> Sequence[Tensor]:
    return torch.ops.aten.convolution_backward(  # type: ignore[no-any-return]
        grad, input, dense, None, *geometry[2:5], False, [0] * len(geometry.kernel_size),
        geometry.groups, wanted,
    )  # fmt: skip
