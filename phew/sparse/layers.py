"""Sparse linear layers and convolutions."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from phew.sparse.geometry import Geometry
from phew.sparse.sparse_layer import SparseLayer


class Linear(SparseLayer):
    """A linear layer with a sparse weight; see `phew.to_sparse`."""

    @classmethod
    def _attributes_for(cls, layer: Any) -> dict[str, Any]:
        transposed = is_transposed(layer)
        in_features = layer.nx if transposed else layer.in_features
        return {"_geometry": Geometry(in_features), "_is_transposed": transposed}

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer to inputs (*, in_features)."""
        in_features = self._geometry.in_channels
        if input.dim() == 0 or input.shape[-1] != in_features:
            raise ValueError(
                f"input must have {in_features} features, got the shape {tuple(input.shape)}."
            )
        output = self._product(self._as_images(input))
        return output if input.dim() == 2 else output.view(*input.shape[:-1], output.shape[1])

    def _as_images(self, input: Tensor) -> Tensor:
        return input[None] if input.dim() == 1 else input.flatten(0, -2)


class _Conv(SparseLayer):
    """A convolution; see `phew.to_sparse`."""

    _num_dims: ClassVar[int]

    _pads: list[int] | None
    _pad_mode: str
    _pads_as_tensorflow: bool

    _own_attributes = (*SparseLayer._own_attributes, "_pads", "_pad_mode", "_pads_as_tensorflow")

    @classmethod
    def _attributes_for(cls, layer: Any) -> dict[str, Any]:
        padding, pads = _paddings(layer)
        geometry = Geometry(
            *(layer.in_channels, layer.kernel_size, layer.stride, padding, layer.dilation),
            layer.groups,
        )
        mode = layer.padding_mode
        return {
            "_geometry": geometry,
            "_is_transposed": False,
            "_pads": pads,
            "_pad_mode": "constant" if mode == "zeros" else mode,
            "_pads_as_tensorflow": type(layer).__name__ == "Conv2dSame",
        }

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer to inputs (images, in_channels, *size) or (in_channels, *size)."""
        num_dims, in_channels = self._num_dims, self._geometry.in_channels
        if input.dim() == num_dims + 1:
            return self.forward(input[None])[0]
        if input.dim() != num_dims + 2 or input.shape[1] != in_channels:
            raise ValueError(
                f"input must have {in_channels} channels before {num_dims} "
                f"dimension{'s' if num_dims > 1 else ''}, got the shape {tuple(input.shape)}."
            )
        if self._pads is not None:
            input = F.pad(input, self._pads, self._pad_mode)
        elif self._pads_as_tensorflow:
            input = F.pad(input, _tensorflow_pads(input, self._geometry))
        return self._product(input)

    def _as_images(self, input: Tensor) -> Tensor:
        return input[None] if input.dim() == self._num_dims + 1 else input


class Conv1d(_Conv):
    """A 1D convolution with a sparse weight; see `phew.to_sparse`."""

    _num_dims = 1


class Conv2d(_Conv):
    """A 2D convolution with a sparse weight; see `phew.to_sparse`."""

    _num_dims = 2


class Conv3d(_Conv):
    """A 3D convolution with a sparse weight; see `phew.to_sparse`."""

    _num_dims = 3


def is_transposed(layer: nn.Module) -> bool:
    """Return whether a layer's weight has its inputs first, as the Conv1D of transformers has."""
    return type(layer).__name__ == "Conv1D"


def _paddings(layer: Any) -> tuple[tuple[int, ...], list[int] | None]:
    """Return the padding by zeros on both sides, and what `F.pad` pads before, if it must."""
    nothing = (0,) * len(layer.kernel_size)
    if isinstance(layer.padding, str):
        totals = [
            dilation * (size - 1) if layer.padding == "same" else 0
            for size, dilation in zip(layer.kernel_size, layer.dilation, strict=True)
        ]
        sides = [(total // 2, total - total // 2) for total in totals]
    else:
        sides = [(padding, padding) for padding in layer.padding]
    if layer.padding_mode == "zeros" and all(first == last for first, last in sides):
        return tuple(first for first, _ in sides), None
    # F.pad takes the last dimension first.
    return nothing, [padding for pair in reversed(sides) for padding in pair]


def _tensorflow_pads(input: Tensor, geometry: Geometry) -> list[int]:
    """Return what `F.pad` pads by, so that outputs are as large as the input over the stride."""
    pads: list[int] = []
    for length, size, stride, dilation in zip(
        input.shape[2:], geometry.kernel_size, geometry.stride, geometry.dilation, strict=True
    ):
        total = max((-(-length // stride) - 1) * stride + (size - 1) * dilation + 1 - length, 0)
        pads = [total // 2, total - total // 2, *pads]
    return pads
