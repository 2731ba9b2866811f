"""Layers with sparse weights that tests of products share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from phew.sparse.geometry import Geometry, Way
from phew.sparse.indices import Indices, indices_of

WAYS = ("sparse", "dense")

GEOMETRIES = {
    "linear": (Geometry(5), 4, ()),
    "one input": (Geometry(1), 3, ()),
    "one output": (Geometry(7), 1, ()),
    "1d": (Geometry(2, (3,), (1,), (0,), (1,), 1), 3, (6,)),
    "1d strided": (Geometry(2, (3,), (2,), (1,), (1,), 1), 3, (7,)),
    "1d dilated": (Geometry(2, (2,), (1,), (1,), (3,), 1), 2, (6,)),
    "1d by channel": (Geometry(4, (3,), (1,), (1,), (1,), 4), 4, (5,)),
    "pointwise": (Geometry(3, (1, 1), (1, 1), (0, 0), (1, 1), 1), 4, (3, 2)),
    "pointwise to one pixel": (Geometry(3, (1, 1), (2, 2), (0, 0), (1, 1), 1), 2, (2, 2)),
    "pointwise padded": (Geometry(3, (1, 1), (3, 3), (1, 1), (1, 1), 1), 2, (1, 1)),
    "pointwise strided": (Geometry(3, (1, 1), (2, 2), (0, 0), (1, 1), 1), 2, (4, 3)),
    "2d": (Geometry(2, (3, 3), (1, 1), (1, 1), (1, 1), 1), 3, (4, 3)),
    "2d uneven": (Geometry(2, (3, 2), (2, 1), (1, 0), (1, 2), 1), 3, (5, 5)),
    "2d wide padding": (Geometry(1, (2, 2), (1, 1), (3, 2), (1, 1), 1), 2, (2, 2)),
    "2d in groups": (Geometry(4, (2, 2), (1, 1), (1, 1), (1, 1), 2), 6, (3, 3)),
    "2d strides over": (Geometry(2, (2, 2), (3, 3), (0, 0), (1, 1), 1), 2, (6, 7)),
    "3d": (Geometry(2, (2, 1, 2), (1, 1, 1), (1, 0, 0), (1, 1, 1), 1), 2, (2, 2, 3)),
    "3d in groups": (Geometry(2, (2, 2, 1), (2, 1, 1), (0, 1, 0), (1, 1, 1), 2), 4, (3, 2, 2)),
}


def case_of(name: str, way: Way) -> tuple[Geometry, int, tuple[int, ...]]:
    geometry, num_out, size = GEOMETRIES[name]
    return geometry._replace(way=way), num_out, size


def random_case(
    geometry: Geometry, num_out: int, size: Sequence[int], density: float = 0.5
) -> tuple[Tensor, Tensor, Tensor, Indices, Tensor]:
    """Return an input, kept weights, biases, indices and the mask."""
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> Tensor:
        numbers = torch.randn(shape, generator=generator, dtype=torch.float64)
        return numbers.requires_grad_()

    mask = torch.rand(geometry.dense_shape(num_out), generator=generator) < density
    indices = indices_of(mask)
    weight = random(len(indices.columns))
    return random(2, geometry.in_channels, *size), weight, random(num_out), indices, mask
