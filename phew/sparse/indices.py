"""Where the kept weights of a sparse weight are: rows and columns, from the bits of its mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from phew.masks.packed import pack, unpack

NARROW = torch.int16
"""The dtype of columns below 65,536, of which it holds the 16 bits without a sign."""
WIDE = torch.int32


class Indices(NamedTuple):
    """The places of kept weights in a dense weight, which is seen as rows of columns.

    The dense weight of a linear layer, or of a convolution, of the shape (out, in / groups,
    *kernel_size) has `out` rows and in / groups * prod(kernel_size) columns. A mask of 2 rows and
    5 columns

        1 0 0 1 0      mask        bits 1 0 0 1 0 0 1 0 and 0 0: the bytes 73 and 0
        0 1 0 0 0      row_starts  0 2 3
                       columns     0 3 1

    Attributes:
        mask: uint8, the bits of the mask (see `phew.masks.packed.PackedMasks`).
        row_starts: int64, one more than there are rows. The kept weights of row r are those from
            number row_starts[r] to row_starts[r + 1], in the order of the memory.
        columns: The column of each kept weight, int16 or int32 (see `NARROW`).
    """

    mask: torch.Tensor
    row_starts: torch.Tensor
    columns: torch.Tensor

    @property
    def num_rows(self) -> int:
        """Rows of the dense weight: output channels, or features."""
        return len(self.row_starts) - 1


def indices_of(mask: torch.Tensor) -> Indices:
    """Return the indices of a bool mask of a dense weight's shape, on the mask's device."""
    bits = pack(mask).to(mask.device)
    rows, columns = mask.flatten(1).nonzero(as_tuple=True)
    row_starts = torch.zeros(len(mask) + 1, dtype=torch.int64, device=mask.device)
    torch.cumsum(torch.bincount(rows, minlength=len(mask)), 0, out=row_starts[1:])
    return Indices(bits, row_starts, columns.to(columns_dtype(mask.shape)))


def indices_of_bits(bits: torch.Tensor, shape: Sequence[int]) -> Indices:
    """Return the indices of the packed bits of a mask, given the shape of the dense weight."""
    return indices_of(unpack(bits.cpu(), torch.Size(shape)).to(bits.device))


def columns_dtype(shape: Sequence[int]) -> torch.dtype:
    """Return the dtype that holds the columns of a dense weight of a shape."""
    return NARROW if math.prod(shape[1:]) <= 65_536 else WIDE


def flat_positions(indices: Indices, num_columns: int) -> torch.Tensor:
    """Return the positions (int64) of kept weights in the flattened dense weight."""
    rows = torch.arange(indices.num_rows, device=indices.columns.device)
    columns = indices.columns.long()
    if indices.columns.dtype == NARROW:
        columns &= 0xFFFF
    return columns.add_(rows.mul_(num_columns).repeat_interleave(indices.row_starts.diff()))
