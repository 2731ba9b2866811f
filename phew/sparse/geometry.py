"""How a layer applies its weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

Way: TypeAlias = Literal["auto", "sparse", "dense"]
"""How products are made: "sparse" multiplies kept weights alone, where there are loops for that;
"dense" expands the weight for each product; "auto" is whatever is faster."""


def check_way(way: object) -> None:
    """Raise ValueError unless a way is one."""
    if way not in get_args(Way):
        raise ValueError(f'way must be "auto", "sparse" or "dense", got {way!r}.')


class Geometry(NamedTuple):
    """How a layer applies its weight.

    Attributes:
        in_channels: Channels, or features, of the input.
        kernel_size: The kernel's size in each dimension; none for a linear layer.
        stride: Steps between the positions of the kernel, one for each dimension.
        padding: Zeros on both sides of the input, one number for each dimension.
        dilation: Steps between the elements of the kernel, one for each dimension.
        groups: Groups of channels, of which each is connected to its own.
        way: How its products are made.
    """

    in_channels: int
    kernel_size: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    way: Way = "auto"

    @property
    def num_positions(self) -> int:
        """Positions of the kernel."""
        return math.prod(self.kernel_size)

    @property
    def num_columns(self) -> int:
        """Columns of the dense weight, seen as one row for each output channel."""
        return self.in_channels // self.groups * self.num_positions

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
