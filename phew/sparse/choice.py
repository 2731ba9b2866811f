"""Where products of kept weights alone are faster than those of the expanded weight."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from phew.sparse.geometry import Geometry
from phew.sparse.indices import Indices
from phew.sparse.loops import have_products

Product: TypeAlias = Literal["product", "transposed_product", "sampled_product"]


class Limits(NamedTuple):
    """The densities up to which a product is made by loops over kept weights.

    Attributes:
        linear: For linear layers.
        pointwise: For convolutions whose kernel has one position, of one image.
        pointwise_images: For those of several images.
        kernels: For convolutions whose kernel has several positions.
    """

    linear: float
    pointwise: float
    pointwise_images: float
    kernels: float


LIMITS: dict[Product, Limits] = {
    "product": Limits(0.5, 0.45, 0.3, 0.28),
    "transposed_product": Limits(0.35, 0.3, 0.2, 0.1),
    "sampled_product": Limits(0.5, 0.4, 0.3, 0.22),
}
"""About where both ways took as long on a processor with AVX-512, float32, one and two threads, in
layers of 1,024 to 4,096 units and convolutions of ResNet-50 and ResNet-20. Of a range, the lower
end is taken. Layers of which more than half is kept do not become sparse, so that no limit is
higher."""

SHARE_OF_BFLOAT16 = 0.5
"""The share of these densities for bfloat16, of which processors that have instructions for it
multiply twice as many numbers at once. The loops multiply them as float32."""


def chosen_way(
    product: Product, tensor: Tensor, indices: Indices, geometry: Geometry
) -> Literal["sparse", "dense"]:
    """Choose how a product is made.

    Args:
        product: The name of its operator.
        tensor: The input, or the gradient of the output.
        indices: The places of the kept weights.
        geometry: How the weight is applied, and which way is asked for.
    """
    if not have_products(tensor) or not tensor.numel() or not geometry.num_columns:
        return "dense"
    if geometry.way != "auto":
        return geometry.way
    limits = LIMITS[product]
    if not geometry.kernel_size:
        limit = limits.linear
    elif geometry.num_positions > 1:
        limit = limits.kernels
    else:
        limit = limits.pointwise if len(tensor) == 1 else limits.pointwise_images
    if tensor.dtype == torch.bfloat16:
        limit *= SHARE_OF_BFLOAT16
    num_weights = geometry.num_columns * indices.num_rows
    return "sparse" if len(indices.columns) <= limit * num_weights else "dense"
