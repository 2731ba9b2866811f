"""The pruned entries of a parameter, and the loops that zero them in tensors of its shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.autograd.graph import increment_version

from phew import _core
from phew.distributed.sharding import is_sharded, own_part, placed_like, whole

_ITEM_SIZES = {torch.float64: 8, torch.float32: 4, torch.bfloat16: 2, torch.float16: 2}
"""The bytes of a number, for the types that the loop in C++ goes over."""


class PrunedEntries(Protocol):
    """Says which entries of a parameter are pruned, and zeroes them.

    Attributes:
        shape: The shape of the parameter.
    """

    shape: torch.Size

    @property
    def own_shape(self) -> torch.Size:
        """The shape of this rank's part of the parameter."""

    def mask(self) -> torch.Tensor:
        """Return a bool tensor of the parameter's shape, true = kept."""

    def at(self, tensor: torch.Tensor) -> PrunedEntries:
        """Return the same entries on a tensor's device."""

    def fits(self, parameter: nn.Parameter) -> bool:
        """Return whether a parameter, or this rank's part of it, has these entries."""

    def zero(self, tensor: torch.Tensor) -> None:
        """Zero them in a tensor of `own_shape`, on their device; to be called without grad."""

    def zeroed(self, grad: torch.Tensor, is_unshared: bool) -> torch.Tensor:
        """Return a gradient with zeros there: itself, changed, only if nobody else has it."""


def pruned_entries(mask: torch.Tensor, parameter: torch.Tensor) -> PrunedEntries:
    """Make the pruned entries of a mask, true = kept, in the form that suits a parameter."""
    if _has_loop(parameter) and _is_dense(parameter):
        return PrunedBits(mask, parameter)
    return PrunedFlags(mask, parameter)


class PrunedFlags:
    """Pruned entries as a bool tensor: for any device, sharding, type and strides."""

    def __init__(self, mask: torch.Tensor, parameter: torch.Tensor) -> None:
        self.shape = parameter.shape
        self._pruned = torch.empty_like(parameter, dtype=torch.bool, requires_grad=False)
        own_part(self._pruned).copy_(own_part(placed_like(mask, parameter)).logical_not())

    @property
    def own_shape(self) -> torch.Size:
        """The shape of this rank's part."""
        return own_part(self._pruned).shape

    def mask(self) -> torch.Tensor:
        """Return the mask, sharded as the parameter is."""
        kept = torch.empty_like(self._pruned)
        own_part(kept).copy_(own_part(self._pruned).logical_not())
        return kept

    def at(self, tensor: torch.Tensor) -> PrunedEntries:
        """Return the same entries on a tensor's device, as bits if that is the CPU."""
        if self._pruned.device != tensor.device:
            if not is_sharded(self._pruned):
                return pruned_entries(self.mask(), tensor)
            self._pruned = self._pruned.to(tensor.device)
        return self

    def fits(self, parameter: nn.Parameter) -> bool:
        """Return whether a parameter has the same shape and sharding."""
        if self.shape != parameter.shape:
            return False
        return not is_sharded(self._pruned) or (
            is_sharded(parameter)
            and self._pruned.device_mesh == parameter.device_mesh
            and self._pruned.placements == parameter.placements
        )

    def zero(self, tensor: torch.Tensor) -> None:
        """Fill them in."""
        # Filling, unlike multiplying, also makes zeros of infinite weights.
        tensor.masked_fill_(own_part(self._pruned), 0)

    def zeroed(self, grad: torch.Tensor, is_unshared: bool) -> torch.Tensor:
        """Return a copy of a gradient, filled in."""
        return grad.masked_fill(own_part(self._pruned), 0)


class PrunedBits:
    """Pruned entries of a plain tensor on the CPU: a bit for each entry, and a loop in C++.

    The bits are those of `phew.masks.packed`, 1 = kept, but in the order of the memory. A gradient
    may have its own order, e.g. that of `torch.channels_last`, so there are bits for each order
    that was met, which is one as a rule. A weight of shape (2, 3) and strides (1, 2):

        mask     1 0 1    0 1 1
        memory   1 0   0 1   1 1
        bits     1 + 8 + 16 + 32 = 57
    """

    def __init__(self, mask: torch.Tensor, parameter: torch.Tensor) -> None:
        self.shape = parameter.shape
        self._strides = parameter.stride()
        # NumPy's arrays, unlike tensors, stay where they are when a file is loaded to a device.
        self._bits = {self._strides: _bits_in_order(whole(mask), self._strides)}

    @property
    def own_shape(self) -> torch.Size:
        """The same as `shape`: no part of it is on another rank."""
        return self.shape

    def mask(self) -> torch.Tensor:
        """Return the mask, unpacked."""
        order = _memory_order(self._strides)
        # NumPy's unpackbits would break a graph that torch.compile makes of a backward pass.
        packed = torch.from_numpy(self._bits[self._strides])
        bits = packed[:, None] >> torch.arange(8, dtype=torch.uint8, device="cpu") & 1
        flat = bits.view(-1)[: self.shape.numel()].view(torch.bool)
        in_order = flat.view([self.shape[dim] for dim in order])
        return in_order.permute([order.index(dim) for dim in range(len(order))])

    def at(self, tensor: torch.Tensor) -> PrunedEntries:
        """Return the same entries on a tensor's device, as flags if that is not the CPU."""
        return self if tensor.is_cpu else PrunedFlags(self.mask(), tensor)

    def fits(self, parameter: nn.Parameter) -> bool:
        """Return whether a parameter has the same shape."""
        return self.shape == parameter.shape

    def zero(self, tensor: torch.Tensor) -> None:
        """Run the loop in place."""
        changed = self._copy(tensor, tensor)
        if changed is None:
            tensor.masked_fill_(~self.mask(), 0)
        elif changed:
            increment_version(tensor)

    def zeroed(self, grad: torch.Tensor, is_unshared: bool) -> torch.Tensor:
        """Run the loop on a gradient, in place if it is unshared."""
        zeroed: torch.Tensor | None = None
        # A gradient that is differentiated or compiled needs an operation that torch knows.
        is_recorded = grad.requires_grad or forward_ad._current_level >= 0
        if not is_recorded and not torch.compiler.is_compiling():
            zeroed = grad if is_unshared else torch.empty_like(grad)
        if zeroed is None or self._copy(grad, zeroed) is None:
            return grad.masked_fill(~self.mask(), 0)
        return zeroed

    def _copy(self, tensor: torch.Tensor, zeroed: torch.Tensor) -> bool | None:
        """Copy a tensor with zeros at these entries, by the loop, maybe into itself.

        Returns:
            Whether one of them was not zero, or None, with nothing done, for tensors without loop.
        """
        strides = tensor.stride()
        if not _has_loop(tensor) or zeroed.stride() != strides:
            return None
        if strides not in self._bits:
            if not _is_dense(tensor):
                return None
            self._bits[strides] = _bits_in_order(self.mask(), strides)
        try:
            source, target = tensor.data_ptr(), zeroed.data_ptr()
        except RuntimeError:  # tensors in transforms of torch.func have no memory
            return None
        size = _ITEM_SIZES[tensor.dtype]
        changed: bool = _core.zero_pruned(
            source,
            self._bits[strides],
            tensor.numel(),
            target,
            size,
            num_threads=torch.get_num_threads(),
        )
        return changed


def _has_loop(tensor: torch.Tensor) -> bool:
    """Return whether the loop goes over a tensor's type, which must be no subclass with its own."""
    return (
        type(tensor) in (torch.Tensor, nn.Parameter)
        and tensor.is_cpu
        and tensor.layout is torch.strided
        and tensor.dtype in _ITEM_SIZES
        and not tensor.is_neg()
    )


def _is_dense(tensor: torch.Tensor) -> bool:
    """Return whether a tensor's entries lie one behind the other, in any order."""
    return tensor.permute(_memory_order(tensor.stride())).is_contiguous()


def _memory_order(strides: Sequence[int]) -> list[int]:
    """Return the dimensions from that of the largest stride to that of the smallest."""
    return sorted(range(len(strides)), key=lambda dim: -strides[dim])


def _bits_in_order(mask: torch.Tensor, strides: Sequence[int]) -> npt.NDArray[np.uint8]:
    in_order = mask.cpu().permute(_memory_order(strides)).contiguous().view(-1)
    return np.packbits(in_order.numpy(), bitorder="little")
