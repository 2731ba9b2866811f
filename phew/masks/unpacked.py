"""Masks as callers give them: bool tensors, one byte per weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from phew.distributed.sharding import count_nonzero, is_sharded, own_part


class UnpackedMasks(Mapping[str, torch.Tensor]):
    """Map names to bool tensors, which may be on any device, and DTensors.

    It can be asked what `PackedMasks` can be asked, so `Masks` need not know which it holds.

    Args:
        masks: The tensors by name; they are not copied.
        num_kept: Numbers of kept weights that are known. Those of sharded masks without one are
            counted by all ranks together.
        argument: What errors call the masks.

    Raises:
        TypeError: If a mask is not a bool tensor.
    """

    def __init__(
        self,
        masks: Mapping[str, torch.Tensor],
        num_kept: Mapping[str, int] | None = None,
        *,
        argument: str = "masks",
    ) -> None:
        self._masks = dict(masks)
        self._num_kept = dict(num_kept or {})
        for name, mask in self._masks.items():
            kind = mask.dtype if isinstance(mask, torch.Tensor) else type(mask)
            if kind != torch.bool:
                raise TypeError(
                    f"{argument}[{name!r}] must be a bool tensor, got {kind}. "
                    "Compare to get one, e.g. scores > threshold."
                )

    def __getitem__(self, name: str) -> torch.Tensor:
        """The mask of a name."""
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._masks)

    def __len__(self) -> int:
        """The number of masks."""
        return len(self._masks)

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """The shapes of the masks by name."""
        return {name: mask.shape for name, mask in self._masks.items()}

    @property
    def ranks_count_together(self) -> bool:
        """Whether ranks must count together, because a mask is sharded and its count not known."""
        return any(
            is_sharded(mask) and name not in self._num_kept for name, mask in self._masks.items()
        )

    def open(self, name: str) -> torch.Tensor:
        """Return a mask: the tensor is the same each time, and may be changed."""
        return self._masks[name]

    def num_kept(self, name: str) -> int:
        """Count the elements of a mask that are true."""
        known = self._num_kept.get(name)
        return count_nonzero(self._masks[name]) if known is None else known

    def to(self, device: torch.device | str) -> UnpackedMasks:
        """Return the masks on a device; those that are there are not copied."""
        masks = {name: mask.to(device) for name, mask in self._masks.items()}
        return UnpackedMasks(masks, self._num_kept)

    def own_memory(self) -> None:
        """Copy the masks that are parts of larger tensors."""
        self._masks = {name: with_own_memory(mask) for name, mask in self._masks.items()}


def with_own_memory(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor, or a copy of it if it is a part of a larger one."""
    own = own_part(tensor)
    is_part = own.untyped_storage().nbytes() > own.numel() * own.itemsize
    return tensor.clone() if is_part else tensor
