"""Masks packed into one bit per weight."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from phew.distributed.sharding import whole
from phew.masks.unpacked import UnpackedMasks, with_own_memory

_NUM_BITS = np.array([number.bit_count() for number in range(256)], dtype=np.uint8)
_COUNTED_AT_ONCE = 2**24
"""Bytes that are counted at a time, to bound the memory that this takes."""


class PackedMasks(Mapping[str, torch.Tensor]):
    """Map names to bool tensors that are unpacked, on the CPU, each time they are asked for.

    The elements of a mask in their order are the bits of its bytes, the lowest first; the last byte
    is filled up with zeros. A mask of the shape (2, 5) takes two bytes:

        mask     1 0 0 1 0    1 1 0 0 1
        byte 0   1 0 0 1 0    1 1 0        bits 0 to 7: 1 + 8 + 32 + 64 = 105
        byte 1                      0 1    bits 0 and 1, and six zeros: 2

    Args:
        shapes: The shapes of the masks by name.
        packed: The bytes of each mask by name; by default zeros.
    """

    def __init__(
        self, shapes: Mapping[str, Sequence[int]], packed: Mapping[str, torch.Tensor] | None = None
    ) -> None:
        self.shapes = {name: torch.Size(shape) for name, shape in shapes.items()}
        self._packed = dict(packed) if packed is not None else _zeros(self.shapes)
        self._opened: dict[str, torch.Tensor] = {}
        for name, shape in self.shapes.items():
            size, own = num_bytes(shape), self._packed[name]
            if own.dtype != torch.uint8 or own.shape != (size,):
                kind = f"{tuple(own.shape)} of {own.dtype}"
                raise ValueError(f"packed[{name!r}] must be {size} bytes for {shape}, got {kind}.")
            num_bits = shape.numel() % 8
            if num_bits and int(own[-1]) >> num_bits:
                raise ValueError(
                    f"packed[{name!r}] must end with zeros behind {shape.numel()} bits, "
                    f"got {int(own[-1]):#010b}."
                )

    @classmethod
    def of(cls, masks: Mapping[str, torch.Tensor]) -> PackedMasks:
        """Pack masks."""
        if isinstance(masks, PackedMasks):
            return masks
        return cls(
            {name: mask.shape for name, mask in masks.items()},
            {name: pack(mask) for name, mask in masks.items()},
        )

    def __getitem__(self, name: str) -> torch.Tensor:
        """Unpack a mask."""
        return unpack(self._bytes_of(name), self.shapes[name])

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self.shapes)

    def __len__(self) -> int:
        """The number of masks."""
        return len(self.shapes)

    @property
    def ranks_count_together(self) -> bool:
        """Whether ranks must count together: never, as each holds all of the masks."""
        return False

    @property
    def packed(self) -> Mapping[str, torch.Tensor]:
        """The bytes of each mask by name."""
        # The tensors of opened masks may have changed.
        for name in self._opened:
            self._packed[name] = self._bytes_of(name)
        return self._packed

    def open(self, name: str) -> torch.Tensor:
        """Unpack a mask for good: the tensor is the same each time, and may be changed.

        From then on it is the mask, and its bytes are packed anew when they are asked for.
        """
        if name not in self._opened:
            self._opened[name] = self[name]
        return self._opened[name]

    def _bytes_of(self, name: str) -> torch.Tensor:
        return pack(self._opened[name]) if name in self._opened else self._packed[name]

    def copy(self) -> PackedMasks:
        """Return the same masks in memory of their own."""
        return PackedMasks(self.shapes, {name: each.clone() for name, each in self.packed.items()})

    def to(self, device: torch.device | str) -> UnpackedMasks:
        """Return the masks on a device, unpacked."""
        return UnpackedMasks({name: mask.to(device) for name, mask in self.items()})

    def own_memory(self) -> None:
        """Copy the bytes that are parts of larger tensors."""
        self._packed = {name: with_own_memory(each) for name, each in self.packed.items()}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_packed": self.packed, "_opened": {}}

    def num_kept(self, name: str) -> int:
        """Count the elements of a mask that are true."""
        if name in self._opened:
            return int(self._opened[name].count_nonzero())
        parts = self._packed[name].split(_COUNTED_AT_ONCE)
        return sum(int(_NUM_BITS[part.numpy()].sum(dtype=np.int64)) for part in parts)


def pack(mask: torch.Tensor) -> torch.Tensor:
    """Pack a bool tensor into bytes (see `PackedMasks`); a sharded one is gathered first."""
    flags = whole(mask).cpu().contiguous().view(-1).numpy()
    return torch.from_numpy(np.packbits(flags, bitorder="little"))


def unpack(packed: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return the bool tensor of a shape that was packed into bytes."""
    bits = np.unpackbits(packed.numpy(), count=shape.numel(), bitorder="little")
    return torch.from_numpy(bits.view(np.bool_)).view(shape)


def num_bytes(shape: Sequence[int]) -> int:
    """Return how many bytes a mask takes."""
    return -(-math.prod(shape) // 8)


def _zeros(shapes: Mapping[str, torch.Size]) -> dict[str, torch.Tensor]:
    """Make packed masks that keep nothing, as parts of one tensor."""
    sizes = [num_bytes(shape) for shape in shapes.values()]
    # NumPy asks the system for zeros, which take time and memory only when they are touched.
    flat = torch.from_numpy(np.zeros(sum(sizes), dtype=np.uint8))
    return dict(zip(shapes, flat.split(sizes), strict=True))
