"""The checks of what a walk graph is made of: engines rely on them, and index memory by them."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from phew.graph.links import Link, Space, WeightedLink, WiringLink

_MOST = 2**31 - 1
"""The most units of a space and edges of a unit: the engines number them by 32 bits."""

_MANY_GROUPS = 2**20
"""Groups are numbered below this, or below the number of units: engines have a list for each."""


def check_spaces(spaces: Sequence[Space]) -> None:
    """Raise TypeError or ValueError unless all are spaces of a size that engines can hold."""
    for index, space in enumerate(spaces):
        if not isinstance(space, Space):
            raise TypeError(f"spaces[{index}] must be a Space, got {space!r}.")
        _check_size(f"num_units of spaces[{index}]", space.num_units)


def check_parameters(parameters: Mapping[str, torch.Tensor]) -> None:
    """Raise TypeError unless all are tensors."""
    for name, parameter in parameters.items():
        if not isinstance(parameter, torch.Tensor):
            kind = type(parameter).__name__
            raise TypeError(f"parameters must hold tensors, got {kind} for {name!r}.")


def check_indices_of_spaces(field: str, indices: Sequence[int], num_spaces: int) -> None:
    """Raise TypeError or ValueError unless all are different indices of spaces."""
    if not all(_is_integer(index) for index in indices):
        raise TypeError(f"{field} must be integers, got {indices}.")
    if not all(0 <= index < num_spaces for index in indices):
        raise ValueError(f"{field} must be indices of spaces, got {indices}.")
    _check_distinct(field, indices)


def check_prunable(prunable: Sequence[str], parameters: Mapping[str, torch.Tensor]) -> None:
    """Raise ValueError unless all are names of parameters, each once."""
    for name in prunable:
        if name not in parameters:
            raise ValueError(f"prunable must name weights of a link, got {name!r}.")
    _check_distinct("prunable", prunable)


def check_link(
    index: int, link: Link, spaces: Sequence[Space], parameters: Mapping[str, torch.Tensor]
) -> None:
    """Raise TypeError or ValueError unless a link joins two spaces by edges that there are."""
    if not isinstance(link, WeightedLink | WiringLink):
        raise TypeError(f"links[{index}] must be a WeightedLink or a WiringLink, got {link!r}.")
    if not (_is_integer(link.source) and _is_integer(link.target)):
        raise TypeError(
            f"source and target of links[{index}] must be integers, "
            f"got {link.source!r} and {link.target!r}."
        )
    if not 0 <= link.source < link.target < len(spaces):
        raise ValueError(
            f"links[{index}] must lead from an earlier to a later space, "
            f"got {link.source} -> {link.target}."
        )
    if isinstance(link, WeightedLink):
        sizes = _check_weighted(index, link, parameters)
    else:
        sizes = _check_wiring(index, link)
    expected = (spaces[link.source].num_units, spaces[link.target].num_units)
    if sizes != expected:
        raise ValueError(f"links[{index}] must join spaces of {expected} units, got {sizes}.")


def _check_weighted(
    index: int, link: WeightedLink, parameters: Mapping[str, torch.Tensor]
) -> tuple[int, int]:
    """Check a weighted link; return the sizes of the spaces that it joins."""
    for field in ("num_groups", "targets_per_group", "sources_per_group", "num_positions"):
        _check_size(f"{field} of links[{index}]", getattr(link, field))
    most_units = max(link.targets_per_group, link.sources_per_group)
    _check_size(f"the edges of a unit in links[{index}]", most_units * link.num_positions)
    if len(link.strides) != 4 or not all(map(_is_integer, (*link.strides, link.offset))):
        raise TypeError(
            f"offset and strides of links[{index}] must be one and four integers, "
            f"got {link.offset} and {link.strides}."
        )
    if link.parameter not in parameters:
        raise ValueError(f"parameters must hold {link.parameter!r} of links[{index}].")
    shape = parameters[link.parameter].shape
    if link.absent is not None and (link.absent.shape, link.absent.dtype) != (shape, torch.bool):
        raise ValueError(
            f"absent of links[{index}] must be a bool tensor of the shape of {link.parameter!r}, "
            f"{tuple(shape)}, got {link.absent.dtype} of the shape {tuple(link.absent.shape)}."
        )
    num_elements = shape.numel()
    last = link.offset + sum(
        stride * (size - 1) for stride, size in zip(link.strides, link.shape, strict=True)
    )
    if 0 not in link.shape and not (link.offset >= 0 <= min(link.strides) and last < num_elements):
        raise ValueError(
            f"links[{index}] must lie in {link.parameter!r} of {num_elements} elements, "
            f"got offset {link.offset}, shape {link.shape} and strides {link.strides}."
        )
    return link.num_groups * link.sources_per_group, link.num_groups * link.targets_per_group


def _check_wiring(index: int, link: WiringLink) -> tuple[int, int]:
    """Check a wiring link; return the sizes of the spaces that it joins."""
    sizes = len(link.source_groups), len(link.target_groups)
    for field in ("source_groups", "target_groups"):
        groups, name = getattr(link, field), f"{field} of links[{index}]"
        if not isinstance(groups, np.ndarray):
            raise TypeError(f"{name} must be an array, got {type(groups).__name__}.")
        if groups.dtype != np.int32 or groups.ndim != 1:
            raise TypeError(
                f"{name} must be a vector of int32, got {groups.dtype} of the shape {groups.shape}."
            )
        lowest, highest = int(groups.min(initial=-1)), int(groups.max(initial=-1))
        most = max(sum(sizes), _MANY_GROUPS)
        if lowest < -1 or highest >= most:
            raise ValueError(
                f"{name} must be in [-1, {most:,}), got {lowest if lowest < -1 else highest}."
            )
    return sizes


def _check_size(field: str, size: object) -> None:
    if not _is_integer(size):
        raise TypeError(f"{field} must be an integer, got {size!r}.")
    if not 0 <= operator.index(size) <= _MOST:  # type: ignore[arg-type]
        raise ValueError(f"{field} must be in [0, 2^31), got {size}.")


def _check_distinct(field: str, values: Sequence[object]) -> None:
    if len(set(values)) < len(values):
        raise ValueError(f"{field} must be different, got {values}.")


def _is_integer(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
