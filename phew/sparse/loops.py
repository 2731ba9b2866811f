"""Products with sparse weights by the loops of the extension, which go over kept weights alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn

from phew import _core
from phew.masks.packed import num_bytes
from phew.sparse.geometry import Geometry
from phew.sparse.indices import NARROW, Indices

_NAMES: dict[torch.dtype, Literal["float64", "float32", "bfloat16"]] = {
    torch.float64: "float64",
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
}
"""The types of numbers that products have loops for."""


def have_products(tensor: Tensor) -> bool:
    """Return whether there are products for tensors of this type and on this device."""
    return tensor.dtype in _NAMES and have_copies(tensor)


def have_copies(tensor: Tensor) -> bool:
    """Return whether weights of this type and on this device can be expanded and gathered."""
    return tensor.is_cpu and tensor.itemsize in (2, 4, 8) and type(tensor) in (Tensor, nn.Parameter)


def product(
    input: Tensor, weight: Tensor, bias: Tensor | None, indices: Indices, geometry: Geometry
) -> Tensor:
    """Apply a layer (see `phew.sparse.products.product`)."""
    out_channels = indices.num_rows
    _check_alike(input, weight, bias, indices=indices)
    _check_channels("input", input, geometry.in_channels)
    _check_num_kept(weight, indices)
    _check_output(input, geometry)
    if bias is not None and bias.shape != (out_channels,):
        raise RuntimeError(f"bias must have {out_channels} numbers, got {tuple(bias.shape)}.")
    size = geometry.out_size(input.shape[2:])
    output = input.new_empty(len(input), out_channels, *size)
    input = input.contiguous()
    bias = None if bias is None else bias.contiguous()
    _core.sparse_product(
        _shape(len(input), out_channels, tuple(input.shape[2:]), geometry),
        _matrix(weight := weight.contiguous(), indices),
        indices.mask.data_ptr(),
        _NAMES[input.dtype],
        input.data_ptr(),
        0 if bias is None else bias.data_ptr(),
        output.data_ptr(),
        num_threads=torch.get_num_threads(),
    )
    return output


def transposed_product(
    grad: Tensor, weight: Tensor, size: Sequence[int], indices: Indices, geometry: Geometry
) -> Tensor:
    """Return the gradient of the input, whose images have a size."""
    _check_alike(grad, weight, indices=indices)
    _check_channels("grad", grad, indices.num_rows, geometry.out_size(size))
    _check_num_kept(weight, indices)
    result = grad.new_empty(len(grad), geometry.in_channels, *size)
    grad = grad.contiguous()
    _core.transposed_product(
        _shape(len(grad), grad.shape[1], tuple(size), geometry),
        _matrix(weight := weight.contiguous(), indices),
        _NAMES[grad.dtype],
        grad.data_ptr(),
        result.data_ptr(),
        num_threads=torch.get_num_threads(),
    )
    return result


def sampled_product(grad: Tensor, input: Tensor, indices: Indices, geometry: Geometry) -> Tensor:
    """Return the gradient of the kept weights."""
    _check_alike(grad, input, indices=indices)
    _check_channels("input", input, geometry.in_channels)
    size = geometry.out_size(input.shape[2:])
    _check_channels("grad", grad, indices.num_rows, size)
    if len(grad) != len(input):
        raise RuntimeError(f"grad must have {len(input)} images, got {len(grad)}.")
    result = grad.new_empty(indices.columns.shape)
    grad, input = grad.contiguous(), input.contiguous()
    _core.sampled_product(
        _shape(len(grad), grad.shape[1], tuple(input.shape[2:]), geometry),
        _matrix(result, indices),
        _NAMES[grad.dtype],
        grad.data_ptr(),
        input.data_ptr(),
        result.data_ptr(),
        num_threads=torch.get_num_threads(),
    )
    return result


def expand(weight: Tensor, indices: Indices, shape: Sequence[int]) -> Tensor:
    """Return the dense weight of a shape, with zeros where nothing is kept."""
    _check_num_kept(weight, indices)
    _check_dense("shape", shape, indices)
    dense = weight.new_empty(shape)
    weight = weight.contiguous()
    _core.expand(
        _matrix(weight, indices),
        weight.element_size(),
        indices.num_rows,
        torch.Size(shape[1:]).numel(),
        dense.data_ptr(),
        num_threads=torch.get_num_threads(),
    )
    return dense


def gather(dense: Tensor, indices: Indices) -> Tensor:
    """Return the kept weights of a dense weight."""
    _check_dense("dense", dense.shape, indices)
    weight = dense.new_empty(indices.columns.shape)
    dense = dense.contiguous()
    _core.gather(
        _matrix(weight, indices),
        weight.element_size(),
        indices.num_rows,
        dense.shape[1:].numel(),
        dense.data_ptr(),
        weight.data_ptr(),
        num_threads=torch.get_num_threads(),
    )
    return weight


def _check_alike(tensor: Tensor, *others: Tensor | None, indices: Indices) -> None:
    """Check that tensors have one type, and are where the indices are."""
    for other in others:
        if other is not None and other.dtype != tensor.dtype:
            raise RuntimeError(f"all tensors must be {tensor.dtype}, got {other.dtype} too.")
    for other in (*others, *indices):
        if other is not None and other.device != tensor.device:
            raise RuntimeError(f"all tensors must be on {tensor.device}, got {other.device} too.")


def _check_output(input: Tensor, geometry: Geometry) -> None:
    if min(geometry.out_size(input.shape[2:]), default=1) < 1:
        raise RuntimeError(
            f"input must be as large as the kernel {list(geometry.kernel_size)}, got "
            f"{list(input.shape)} with a padding of {list(geometry.padding)}."
        )


def _check_channels(
    name: str, tensor: Tensor, num_channels: int, size: Sequence[int] | None = None
) -> None:
    shape = ["*", num_channels, *(tensor.shape[2:] if size is None else size)]
    if [*tensor.shape[1:]] != shape[1:]:
        raise RuntimeError(f"{name} must have the shape {shape}, got {list(tensor.shape)}.")


def _check_num_kept(weight: Tensor, indices: Indices) -> None:
    if weight.shape != indices.columns.shape:
        raise RuntimeError(
            f"weight must have {len(indices.columns):,} kept weights, got the shape "
            f"{tuple(weight.shape)}."
        )


def _check_dense(name: str, shape: Sequence[int], indices: Indices) -> None:
    num_rows = indices.num_rows
    if shape[0] != num_rows or num_bytes(torch.Size(shape)) != len(indices.mask):
        raise RuntimeError(f"{name} must have the {num_rows} rows of the mask, got {list(shape)}.")


def _matrix(weight: Tensor, indices: Indices) -> _core.SparseMatrix:
    _, row_starts, columns = indices
    return _core.SparseMatrix(
        weight.data_ptr(), columns.data_ptr(), row_starts.data_ptr(), columns.dtype != NARROW
    )


@lru_cache(maxsize=1024)
def _shape(
    num_images: int, out_channels: int, in_size: tuple[int, ...], geometry: Geometry
) -> _core.LayerShape:
    in_channels, kernel_size, stride, padding, dilation, groups, _ = geometry
    return _core.LayerShape(
        num_images,
        in_channels,
        out_channels,
        in_size,
        kernel_size,
        stride,
        padding,
        dilation,
        groups,
    )
