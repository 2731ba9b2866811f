"""Spaces of units, and the links that join them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

Units: TypeAlias = npt.NDArray[np.bool_]
"""A subset of a space: one flag per unit."""

Groups: TypeAlias = npt.NDArray[np.int32]
"""The group of each unit in a wiring link, -1 for none."""


NOTHING = -1
"""An operand that does not exist: a link that needs it carries nothing."""


@dataclass(frozen=True)
class Space:
    """An ordered set of units, e.g. the 64 channels that a convolution puts out.

    Attributes:
        name: The name of the operation that makes them.
        num_units: Their number.
        biased: Whether weights read values of them where nothing feeds them: after a bias, a shift
            or a sigmoid. Analysis asks for it, walks do not.
        size_matters: Whether something reads them as they are, weights, a sum or a product, and no
            normalisation such as a batch norm does. Rescaling asks for it, walks do not.
    """

    name: str
    num_units: int
    biased: bool = field(default=False, repr=False)
    size_matters: bool = field(default=True, repr=False)


@dataclass(frozen=True)
class WeightedLink:
    """Edges that are the weights of one parameter, as a strided view of it.

    The view has the shape (num_groups, targets_per_group, sources_per_group, num_positions): inside
    each group every source unit has an edge to every target unit at each kernel position. Unit g *
    sources_per_group + s of the source space is source s of group g; targets are counted the same
    way.

    `Conv2d(4, 6, kernel_size=3, groups=2)`, whose weight has the shape (6, 2, 3, 3), is a link of
    shape (2, 3, 2, 9) with the strides (54, 18, 9, 1): group 1 joins source units 2 and 3 to target
    units 3, 4 and 5 by nine edges each.

    Attributes:
        source: Index of the space that the edges leave.
        target: Index of the space that they enter; larger than `source`.
        parameter: Name of the parameter, as in `named_parameters()`.
        offset: First element of the view in the contiguous parameter.
        strides: Steps of the view's four dimensions, in elements of the contiguous parameter.
        shortcut: Whether walks avoid this link while a unit has another.
        num_uses: By how many values each weight is multiplied in the run that was captured: for a
            convolution, the places of the feature map that it puts out, times the batch size.
        absent: Flags of the parameter's elements that are no edges here, because a constant zeroes
            them, shape that of the parameter; None if all are edges. With the mask 1 0 / 1 1 that a
            `Linear(2, 2)` multiplies its weight by, source unit 1 has no edge to target unit 0.
    """

    source: int
    target: int
    parameter: str
    num_groups: int
    targets_per_group: int
    sources_per_group: int
    num_positions: int
    strides: tuple[int, int, int, int]
    offset: int = 0
    shortcut: bool = False
    num_uses: float = 1.0
    absent: torch.Tensor | None = field(default=None, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(num_groups, targets_per_group, sources_per_group, num_positions)."""
        return (self.num_groups, self.targets_per_group, self.sources_per_group, self.num_positions)

    @cached_property
    def num_edges(self) -> int:
        """The number of edges."""
        if self.absent is None:
            return math.prod(self.shape)
        return int(self.is_edge.count_nonzero())

    @property
    def is_edge(self) -> torch.Tensor:
        """Flags of the elements that are edges, on the CPU; they broadcast to `shape`."""
        if self.absent is None:
            return torch.ones(1, 1, 1, 1, dtype=torch.bool, device="cpu")
        return ~self.view(self.absent.cpu())

    def view(self, parameter: torch.Tensor) -> torch.Tensor:
        """View a tensor of the parameter's shape as the link's edges, shape `self.shape`."""
        return view_edges(parameter, self.shape, self.strides, self.offset)

    @property
    def is_injective(self) -> bool:
        """Whether every edge has an element of its own.

        It is false for a filter that several channels share (stride 0), or for a Toeplitz matrix,
        whose strides are 1 and 1: element 1 is the edges (0, 1) and (1, 0).
        """
        return last_element(self.shape, self.strides) is not None

    def mark_elements(
        self, flags_of_elements: torch.Tensor, flags_of_edges: torch.Tensor
    ) -> torch.Tensor:
        """Flag the elements of which any edge is flagged; flags that are set stay set.

        Args:
            flags_of_elements: Contiguous flags of the parameter's shape, which are changed.
            flags_of_edges: Flags of edges, which broadcast to `shape`.

        Returns:
            The flags of elements.
        """
        if self.is_injective:
            self.view(flags_of_elements).logical_or_(flags_of_edges)
            return flags_of_elements
        # In place, several edges would write to one element at a time: they are listed instead.
        flat = flags_of_elements.view(-1)
        elements = self.view(torch.arange(len(flat), device=flat.device))
        flat[elements[flags_of_edges.expand(self.shape)]] = True
        return flags_of_elements

    def by_source(self, values: torch.Tensor | Units) -> torch.Tensor:
        """View one value per source unit so that it is broadcast over the link's edges."""
        return _as_tensor(values).view(self.num_groups, 1, -1, 1)

    def by_target(self, values: torch.Tensor | Units) -> torch.Tensor:
        """View one value per target unit so that it is broadcast over the link's edges."""
        return _as_tensor(values).view(self.num_groups, -1, 1, 1)

    @cached_property
    def _joined(self) -> torch.Tensor:
        """Whether any edge joins a target and a source, shape (groups, targets, sources)."""
        return self.is_edge.any(dim=3)

    def reach(self, units: Units, *, backward: bool = False) -> Units:
        """Return the units on the far side that have an edge from one of `units`."""
        if self.absent is not None:
            by_near, near_dim = (self.by_target, 1) if backward else (self.by_source, 2)
            joined = self._joined & by_near(units).squeeze(3)
            return joined.any(dim=near_dim).view(-1).numpy()
        per_group = (self.targets_per_group, self.sources_per_group)
        near, far = per_group if backward else per_group[::-1]
        reached = units.reshape(self.num_groups, near).any(axis=1) & (self.num_positions > 0)
        return np.repeat(reached, far)


@dataclass(frozen=True, eq=False)
class WiringLink:
    """Edges without weights: a source and a target unit are joined where their groups are equal.

    One pair of vectors describes the identity (each unit is its own group), a flatten (the targets
    of one channel share the channel's group), a permutation, a slice (group -1 has no edges) and a
    complete wiring (one group for all).

    A flatten of 2 channels of 3 places has the source groups 0 1 and the target groups 0 0 0 1 1 1.

    Attributes:
        source: Index of the space that the edges leave.
        target: Index of the space that they enter; larger than `source`.
        source_groups: Group of each source unit, int32, -1 for none.
        target_groups: Group of each target unit, int32, -1 for none.
        shortcut: Whether walks avoid this link while a unit has another.
        factor: The number of the operand whose units the link leads from, where the units of the
            target are made of several. In `silu(gate) * up` the gate is 0 and the other is 1.
        needs: The operands without which the link carries nothing: (1,) for the gate above, as a
            product with zero is zero; (`NOTHING`,) for a state that was multiplied with zeros.
            Analysis asks for it, walks do not.
    """

    source: int
    target: int
    source_groups: Groups
    target_groups: Groups
    shortcut: bool = False
    factor: int = 0
    needs: tuple[int, ...] = ()

    @cached_property
    def num_groups(self) -> int:
        """One more than the highest group."""
        return int(max(self.source_groups.max(initial=-1), self.target_groups.max(initial=-1))) + 1

    def near_and_far_groups(self, *, backward: bool) -> tuple[Groups, Groups]:
        """Return the groups on the side that walks of a direction come from, and on the other."""
        if backward:
            return self.target_groups, self.source_groups
        return self.source_groups, self.target_groups

    def reach(self, units: Units, *, backward: bool = False) -> Units:
        """Return the units on the far side that have an edge from one of `units`."""
        near, far = self.near_and_far_groups(backward=backward)
        # There is one flag per group; the last one stands for "no group" (-1) and stays false.
        reached = np.zeros(self.num_groups + 1, dtype=np.bool_)
        reached[near[units]] = True
        reached[-1] = False
        return reached[far]


Link: TypeAlias = WeightedLink | WiringLink


def last_element(shape: Sequence[int], strides: Sequence[int]) -> int | None:
    """Return the last element of a strided view that begins at 0, None if one is in it twice."""
    last = 0
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size > 1:
            if stride <= last:
                return None
            last += stride * (size - 1)
    return last


def view_edges(
    parameter: torch.Tensor, shape: Sequence[int], strides: Sequence[int], offset: int
) -> torch.Tensor:
    """View a tensor, which is made contiguous, by strides from an element of it."""
    contiguous = parameter.contiguous()
    # `as_strided` counts from the beginning of the memory that a tensor may be a part of.
    return contiguous.as_strided(shape, strides, contiguous.storage_offset() + offset)


def _as_tensor(values: torch.Tensor | Units) -> torch.Tensor:
    # Unlike torch.as_tensor, this ignores the default device.
    return values if isinstance(values, torch.Tensor) else torch.from_numpy(values)
