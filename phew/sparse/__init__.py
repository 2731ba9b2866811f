"""Sparse layers: they keep, train and run nothing but the kept weights of masks."""

from phew.sparse.convert import to_dense, to_sparse
from phew.sparse.layers import Conv1d, Conv2d, Conv3d, Linear
from phew.sparse.report import LayerCost, SparseReport
from phew.sparse.sparse_layer import SparseLayer

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "LayerCost",
    "Linear",
    "SparseLayer",
    "SparseReport",
    "to_dense",
    "to_sparse",
]
