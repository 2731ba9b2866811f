"""Labels, which tell the unit that each element of an activation belongs to.

An activation's labels are an int32 tensor of its shape. Where all positions along a dimension
belong to the same unit the dimension has stride 0, so that the labels of a convolution's output
take one number per channel:

    tensor([5, 6, 7]).view(1, 3, 1, 1).expand(2, 3, 8, 8)  # units 5, 6, 7 are the channels

Labels have the activation's shape, so operations that move data (view, permute, slice, ...) are
applied to them unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

NO_UNIT = -1
"""The label of a zero: nothing depends on it."""

CONSTANT = -2
"""The label of a constant or parameter. Lower ones stand for elements of the model's input."""


def raw_labels(shape: torch.Size, start: int, constant_dims: Iterable[int] = (0,)) -> torch.Tensor:
    """Label a model input: every element its own, counted down from `start`.

    Labels do not vary along the batch dimension. A weighted operation that reads the input will
    tell which of its axes holds units; until then any may.

    An input of shape (2, 3) with `start` -3 is labelled -3 -4 -5 in both rows.
    """
    constant = {dim for dim in constant_dims if len(shape) > 1}
    compact = [1 if dim in constant else size for dim, size in enumerate(shape)]
    labels = torch.arange(math.prod(compact), dtype=torch.int32, device="cpu").neg_().add_(start)
    return labels.view(compact).expand(shape)


def unit_labels(units: torch.Tensor, shape: torch.Size, dims: Sequence[int]) -> torch.Tensor:
    """Label a tensor of `shape` whose positions along `dims` are `units`."""
    sizes = [size if dim in dims else 1 for dim, size in enumerate(shape)]
    return units.reshape(sizes).expand(shape)


def same_label(label: int, shape: torch.Size) -> torch.Tensor:
    """Label all of a tensor of `shape` alike."""
    return torch.tensor(label, dtype=torch.int32, device="cpu").expand(shape)


def varying_dims(labels: torch.Tensor) -> list[int]:
    """Return the dimensions along which the labels may differ."""
    return [dim for dim, stride in enumerate(labels.stride()) if stride and labels.shape[dim] > 1]


def unit_dims(operands: Sequence[torch.Tensor], dims: Iterable[int]) -> list[int]:
    """Return which of some dimensions hold features rather than places of the same units.

    Features are the dimensions along which units vary. If none does, the operands hold one unit
    each, and a single dimension is taken for features, several for the places of an image.

    Args:
        operands: Labels of one rank, or of fewer dimensions, which are the last ones.
        dims: Dimensions in which the elements are told apart, by padding for instance.
    """
    dims = list(dims)
    rank = max(part.dim() for part in operands)
    varying = {rank - part.dim() + dim for part in operands for dim in varying_dims(part)}
    if varying:
        return [dim for dim in dims if dim in varying]
    return dims if len(dims) == 1 else []


def compact(labels: torch.Tensor, keep: Iterable[int] = ()) -> torch.Tensor:
    """Narrow the dimensions along which no label varies to size 1, except those of `keep`."""
    kept = {*varying_dims(labels), *keep}
    for dim, size in enumerate(labels.shape):
        if size > 1 and dim not in kept:
            labels = labels.narrow(dim, 0, 1)
    return labels


def label_of_number(value: Any) -> int:
    """Return the label of a number, or of a tensor that holds one."""
    return NO_UNIT if value == 0 else CONSTANT


def without_zeros(labels: torch.Tensor) -> torch.Tensor:
    """Label zeros as another constant, which an exponential or a shift makes of them."""
    small = compact(labels)
    zeros = small == NO_UNIT
    if not bool(zeros.any()):
        return labels
    return torch.where(zeros, CONSTANT, small).expand(labels.shape)


def has_units(labels: torch.Tensor) -> bool:
    """Return whether any element belongs to a unit."""
    return bool((compact(labels) >= 0).any())


def is_input(labels: torch.Tensor) -> bool:
    """Return whether every element is the model's input."""
    return bool((compact(labels) < CONSTANT).all())


def runs(tensors: Sequence[torch.Tensor], dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut a dimension into the longest runs of equal slices: their starts, and each slice's run.

    Slices 7 7 7 2 2 give the starts 0 3 and the runs 0 0 0 1 1. A class token and 196 patches thus
    cost as much as two tokens.
    """
    changes = np.zeros(tensors[0].shape[dim], dtype=np.bool_)
    changes[:1] = True
    for labels in tensors:
        if dim in varying_dims(labels):
            slices = compact(labels).movedim(dim, 0).reshape(len(changes), -1).numpy()
            changes[1:] |= (slices[1:] != slices[:-1]).any(axis=1)
    return torch.from_numpy(np.flatnonzero(changes)), torch.from_numpy(changes.cumsum() - 1)


def by_position(labels: torch.Tensor, dims: Sequence[int]) -> torch.Tensor:
    """Return the labels as a matrix: one row per position along `dims`, all its labels in it.

    Labels (2, 3, 4) by dimension 1 give a matrix (3, 8). Slices that repeat the one before them are
    left out.
    """
    num_positions = math.prod(labels.shape[dim] for dim in dims)
    labels = compact(labels, keep=dims)
    if not labels.numel():
        return labels.new_empty(num_positions, 0)
    for dim in {*varying_dims(labels)}.difference(dims):
        labels = labels.index_select(dim, runs([labels], dim)[0])
    labels = labels.movedim(tuple(dims), tuple(range(len(dims))))
    return labels.reshape(num_positions, -1)


def reshape(labels: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Reshape labels without copying the dimensions along which they are the same.

    Both shapes are cut into the shortest runs of dimensions with equal products. If labels do not
    vary along a run of the old shape, they do not along that of the new one, which has stride 0.
    """
    if labels.numel() == 0:
        return labels.reshape(shape)
    varying = set(varying_dims(labels))
    sizes: list[int] = []
    for old_dims, new_dims in equal_products(labels.shape, shape):
        changes = not varying.isdisjoint(old_dims)
        sizes += [shape[dim] if changes else 1 for dim in new_dims]
        for dim in old_dims:
            if not changes and labels.shape[dim] > 1:
                labels = labels.narrow(dim, 0, 1)
    return labels.reshape(sizes).expand(shape)


def equal_products(old: torch.Size, new: torch.Size) -> list[tuple[range, range]]:
    """Pair dimensions of equal product, e.g. of (2, 3, 4) and (6, 4): [0, 1], [0] and [2], [1]."""
    pairs = []
    i = j = 0
    while i < len(old) or j < len(new):
        first_i, first_j = i, j
        left = right = 1
        if i < len(old):
            left, i = old[i], i + 1
        if j < len(new):
            right, j = new[j], j + 1
        while left != right:
            if left < right:
                left, i = left * old[i], i + 1
            else:
                right, j = right * new[j], j + 1
        pairs.append((range(first_i, i), range(first_j, j)))
    return pairs


def without_constant_dims(labels: torch.Tensor) -> torch.Tensor:
    """Give the dimensions along which the labels are equal, though stored, stride 0."""
    shape = labels.shape
    labels = compact(labels)
    for dim in varying_dims(labels):
        first = labels.narrow(dim, 0, 1)
        if torch.equal(first.expand_as(labels), labels):
            labels = first
    return labels.expand(shape)
