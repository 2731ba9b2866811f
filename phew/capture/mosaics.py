"""Weights that are put together from elements of parameters, as numbers of these elements.

A number is the place of a parameter among all times `SPAN`, plus the element. The weights that
`torch.cat([a, b])` makes of parameters 0 and 1, of shapes (2, 2) and (1, 2), have the numbers

    0            1
    2            3
    SPAN         SPAN + 1

No stride steps from row 1 to row 2, so they are cut there, into two pieces of strides (2, 1). Any
operation that moves data moves numbers in the same way: stacks, repeats, selections, paddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

SPAN = 2**40
"""More than twice the elements of any parameter."""

NO_ELEMENT = -SPAN
"""The number of a weight that is always zero, as in padding."""

MOST_PIECES = 1024
"""Weights of more pieces are not followed: each piece is a link."""


@dataclass(frozen=True)
class Mosaic:
    """Weights whose elements are those of parameters, in any order.

    Attributes:
        numbers: The number of each element, int64 on the CPU, of the weights' shape.
        absent: Flags of the parameters' elements that constants zero in these weights, by the name
            of the parameter, of its shape.
    """

    numbers: torch.Tensor
    absent: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def shape(self) -> torch.Size:
        """The weights' shape."""
        return self.numbers.shape

    @property
    def owners(self) -> list[int]:
        """The places of the parameters that they consist of."""
        return [int(owner) for owner in (self.numbers // SPAN).unique() if owner >= 0]


@dataclass(frozen=True)
class Piece:
    """A box of weights that one stride per dimension steps through, or that is cut into such.

    Attributes:
        first: The number of the first element.
        strides: The stride of each dimension; None where it is cut.
        dim: The dimension along which it is cut.
        parts: The pieces along it, and the size of each.
    """

    first: int
    strides: tuple[int, ...] | None
    dim: int = 0
    parts: tuple[tuple[Piece, int], ...] = ()

    @property
    def num_pieces(self) -> int:
        """The number of pieces that are not cut."""
        return sum(part.num_pieces for part, _ in self.parts) if self.strides is None else 1


def numbers_of(owner: int, index: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return the numbers of a view of a parameter, given the index of its elements."""
    first = owner * SPAN + int(index.storage_offset())
    numbers = torch.full([1] * index.dim(), first, dtype=torch.int64, device="cpu")
    for dim, (size, stride) in enumerate(zip(index.shape, index.stride(), strict=True)):
        steps = torch.arange(size, dtype=torch.int64, device="cpu") * stride
        numbers = numbers + steps.view(
            [size if other == dim else 1 for other in range(index.dim())]
        )
    return numbers.reshape(shape)


def cut(numbers: torch.Tensor, most: int = MOST_PIECES) -> Piece | None:
    """Cut weights into pieces, None if there are more than `most`."""
    runs = [_runs(numbers, dim) for dim in range(numbers.dim())]
    first = int(numbers.flatten()[0])
    dims = [dim for dim, sizes in enumerate(runs) if len(sizes) > 1]
    if not dims:
        return Piece(first, tuple(_stride(numbers, dim) for dim in range(numbers.dim())))
    dim = min(dims, key=lambda dim: len(runs[dim]))
    if len(runs[dim]) > most:
        return None
    parts = []
    for part, size in zip(numbers.split(runs[dim], dim), runs[dim], strict=True):
        piece = cut(part, most)
        if piece is None:
            return None
        parts.append((piece, size))
        most -= piece.num_pieces - 1
    return Piece(first, None, dim, tuple(parts))


def distinct(numbers: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sort the slices along a dimension by their numbers, and keep one of those that are equal.

    Returns:
        The numbers, and for each of the old slices which of the new ones it is. Slices that have
        an element in common, but are not equal, stay as they are.
    """
    size = numbers.shape[dim]
    others = [other for other in range(numbers.dim()) if other != dim]
    keys = numbers.amax(dim=others) if others else numbers
    values, inverse = keys.unique(return_inverse=True)
    positions = torch.arange(size, device="cpu")
    representatives = torch.full((len(values),), size, device="cpu")
    representatives.scatter_reduce_(0, inverse, positions, "amin")
    chosen = numbers.index_select(dim, representatives)
    if torch.equal(chosen.index_select(dim, inverse), numbers):
        return chosen, inverse
    return numbers, positions


def _runs(numbers: torch.Tensor, dim: int) -> list[int]:
    """Return the sizes of the runs along a dimension in which one stride leads on, everywhere.

    The slices (0, 1) (2, 3) (4, 5) (9, 9) make a run of three and one of one.
    """
    size = numbers.shape[dim]
    if size == 1:
        return [1]
    steps = numbers.diff(dim=dim).movedim(dim, 0).reshape(size - 1, -1)
    first = steps[:, :1]
    is_even = (steps == first).all(1) & (first[:, 0] >= 0) & (first[:, 0] < SPAN // 2)
    sizes, stride = [1], None
    for step, even in zip(first[:, 0].tolist(), is_even.tolist(), strict=True):
        if even and stride in (None, step):
            sizes[-1] += 1
            stride = step
        else:
            sizes.append(1)
            stride = None
    return sizes


def _stride(numbers: torch.Tensor, dim: int) -> int:
    """Return the stride of a dimension that one leads through."""
    if numbers.shape[dim] == 1:
        return 1
    first = numbers.select(dim, 0).flatten()[0]
    return int(numbers.select(dim, 1).flatten()[0] - first)


def strided(numbers: torch.Tensor) -> Piece | None:
    """Return weights as one piece, None if they are several or none."""
    if not numbers.numel():
        return None
    piece = cut(numbers, most=1)
    is_one = piece is not None and piece.strides is not None and piece.first >= 0
    return piece if is_one else None


def gather_rows(rows: torch.Tensor, dim: int, inverse: torch.Tensor, filler: int) -> torch.Tensor:
    """Bring together the rows whose slices of weights are equal (see `distinct`).

    Args:
        rows: Labels, shape (..., size, ..., places).
        dim: The dimension of that size.
        inverse: For each of its slices, which of the distinct ones it is.
        filler: The label where a slice is brought together with fewer than another.

    Returns:
        Labels, with the places of all equal slices in the last dimension.
    """
    counts = inverse.bincount()
    if len(counts) == len(inverse):
        return rows.index_select(dim, inverse.argsort())
    order = inverse.argsort(stable=True)
    most = int(counts.max())
    table = torch.full((len(counts), most), len(inverse), device="cpu")
    column = torch.arange(len(inverse), device="cpu") - (counts.cumsum(0) - counts)[inverse[order]]
    table[inverse[order], column] = order
    blank = torch.full_like(rows.narrow(dim, 0, 1), filler)
    filled = torch.cat([rows, blank], dim).index_select(dim, table.flatten())
    by_slice: torch.Tensor = filled.unflatten(dim, (-1, most))
    return by_slice.movedim(dim + 1, -2).flatten(-2)
