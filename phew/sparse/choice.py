"""Where products of kept weights alone are faster than those of the expanded weight."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from torch import Tensor

from phew.sparse.geometry import Geometry
from phew.sparse.indices import Indices
from phew.sparse.loops import have_products

Product: TypeAlias = Literal["product", "transposed_product", "sampled_product"]


class Limits(NamedTuple):
    """The densities up to which a product is made by loops over kept weights.

    Attributes:
        few: For linear layers of fewer than `FEW` inputs, and convolutions of one image with a
            kernel of one position: expanding the weight would take longest there.
        many: For linear layers of more inputs, and such convolutions of more images.
        few_kernels: For other convolutions of one image.
        many_kernels: For other convolutions of more images.
    """

    few: float
    many: float
    few_kernels: float
    many_kernels: float


FEW = 100

LIMITS: dict[Product, Limits] = {
    "product": Limits(0.5, 0.45, 0.5, 0.4),
    "transposed_product": Limits(0.4, 0.3, 0.15, 0.15),
    "sampled_product": Limits(0.5, 0.5, 0.45, 0.45),
}
"""About where both ways took as long on a processor with AVX-512, one thread, float32, in layers of
256 to 4,096 units and convolutions of ResNet-50 and ResNet-20. Layers of which more than half is
kept do not become sparse, so that no limit is higher."""


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
    is_few = len(tensor) < (2 if geometry.kernel_size else FEW)
    if geometry.num_positions > 1:
        limit = limits.few_kernels if is_few else limits.many_kernels
    else:
        limit = limits.few if is_few else limits.many
    num_weights = geometry.num_columns * indices.num_rows
    return "sparse" if len(indices.columns) <= limit * num_weights else "dense"
