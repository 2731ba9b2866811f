"""Sums over the paths of a walk graph: how many there are, and how much weight they carry.

A path leads from an entry to an exit along any links, shortcuts included. Kernel positions are
edges of their own; the places of a feature map are not told apart, and edges of wiring count once.
A path over one operand of a product is none where another operand is zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from phew.analysis.kept import KeptWeights, kept_edges, served_units, whole_masks
from phew.capture.graph_of import as_graph
from phew.graph.links import Units, WeightedLink, WiringLink
from phew.graph.walk_graph import WalkGraph
from phew.graph.weights import weights_of
from phew.support.devices import cpu_by_default

_SMALLEST = 5e-324
"""The smallest positive float64."""


def path_kernel_trace(
    model: nn.Module | WalkGraph,
    example_inputs: Any = None,
    *,
    masks: KeptWeights | None = None,
) -> float:
    """Compute the trace of the path kernel.

    That is the sum over all paths, and over the kept prunable weights of each, of the product of
    the squares of the path's other weights. The paper takes a higher one as a sign of faster
    convergence.

    Args:
        model: The model, or the graph that `phew.capture` made of it.
        example_inputs: What the model accepts (see `phew.capture`).
        masks: Boolean tensors by parameter name; weights without a mask are kept. Where weights or
            masks are sharded, all ranks make the call.

    Returns:
        The trace; infinite beyond the range of a float.

    Raises:
        ValueError: If masks do not fit the model, or weights are not finite.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
        >>> model[0].weight.data.fill_(2), model[1].weight.data.fill_(3)
        (tensor([[2.]]), tensor([[3.]]))
        >>> path_kernel_trace(model, torch.zeros(1, 1))  # 2^2 + 3^2
        13.0

    Source: Gebhart, Saxena and Schrater, "A Unified Paths Perspective for Pruning at
        Initialization", 2021; Patil and Dovrolis, "PHEW", ICML 2021, section 3.
    """
    graph = as_graph(model, example_inputs)
    masks = whole_masks(graph, masks or {})
    with cpu_by_default():
        return squared_paths(graph, masks).as_float()


def num_paths(
    model: nn.Module | WalkGraph,
    example_inputs: Any = None,
    *,
    masks: KeptWeights | None = None,
) -> float:
    """Count the paths from the input to the output over kept weights.

    Args:
        model: The model, or the graph that `phew.capture` made of it.
        example_inputs: What the model accepts (see `phew.capture`).
        masks: Boolean tensors by parameter name; weights without a mask are kept. Where weights or
            masks are sharded, all ranks make the call.

    Returns:
        The number; infinite beyond the range of a float.

    Raises:
        ValueError: If masks do not fit the model.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Linear(5, 2))
        >>> num_paths(model, torch.zeros(1, 3))
        30.0

    Source: Pham, Ta, Liu, Xiang, Le, Wen and Tran-Thanh, "Towards Data-Agnostic Pruning At
        Initialization: What Makes a Good Sparse Mask?", NeurIPS 2023.
    """
    graph = as_graph(model, example_inputs)
    masks = whole_masks(graph, masks or {})
    with cpu_by_default():
        return total_at_exits(graph, counted_paths(graph, masks)).as_float()


class Scaled(NamedTuple):
    """Numbers that a float may not hold: values x 2^exponent.

    A network of 200 layers of 1000 units has some 10^603 paths, and a float ends at 10^308. So
    units that get 6 paths by one link (exponent 0) and 40 x 2^3 by another (exponent 3) have
    326 = 0.637 x 2^9: `_add` takes the exponent that makes the larger of the two less than 1.

    Attributes:
        values: Floats, none negative.
        exponent: The power of two that all of them are multiplied by.
    """

    values: torch.Tensor
    exponent: int

    def as_float(self) -> float:
        """A single number as a float, infinite beyond its range."""
        try:
            return math.ldexp(float(self.values), self.exponent)
        except OverflowError:
            return math.inf

    def log10(self) -> float | None:
        """The logarithm of a single number, None of zero."""
        value = float(self.values)
        return math.log10(value) + self.exponent * math.log10(2) if value else None

    def over(self, other: Scaled) -> float:
        """The ratio of two single numbers, 1 of zeros."""
        if not other.values:
            return 1.0
        ratio = Scaled(self.values / other.values, self.exponent - other.exponent)
        return ratio.as_float()


def counted_paths(graph: WalkGraph, masks: KeptWeights, *, backward: bool = False) -> list[Scaled]:
    """Count the paths from entries to each unit, or from each unit to exits.

    Args:
        graph: The walk graph; its weights are not read.
        masks: The masks.
        backward: Whether paths to exits are counted.

    Returns:
        Per space a number for each unit; positive where there is a path, however few they are.
    """

    def cross(link: WeightedLink, counts: torch.Tensor) -> torch.Tensor:
        kept = kept_edges(link, masks).sum(dim=-1, dtype=torch.float64)
        return (kept.mT if backward else kept) @ counts

    return _propagate(graph, masks, cross, 1, backward=backward)


def squared_paths(graph: WalkGraph, masks: KeptWeights) -> Scaled:
    """Return the trace of the path kernel."""
    prunable = set(graph.prunable)

    def cross(link: WeightedLink, sums: torch.Tensor) -> torch.Tensor:
        # A unit has two sums over the paths to it: that of the products of squared weights, and
        # that of the derivatives of these products by each square on the path.
        kept = kept_edges(link, masks)
        weights = weights_of(graph, link)
        if not weights.isfinite().all():
            raise ValueError(
                f"parameter {link.parameter!r} must hold finite weights, got NaN or infinity."
            )
        # A float64 weight is the parameter's own memory, so nothing is computed in place.
        squares = (weights.double().square() * kept).sum(dim=-1)
        crossed = squares @ sums
        if link.parameter in prunable:
            crossed[..., 1:] += kept.sum(dim=-1, dtype=torch.float64) @ sums[..., :1]
        return crossed

    return total_at_exits(graph, _propagate(graph, masks, cross, 2, backward=False), column=1)


def total_at_exits(graph: WalkGraph, sums: list[Scaled], *, column: int = 0) -> Scaled:
    """Add up the sums of all exits."""
    parts = [
        Scaled(sums[space].values[:, column].sum().view(1), sums[space].exponent)
        for space in dict.fromkeys(graph.exits)
    ]
    return _add([Scaled(torch.zeros(1, dtype=torch.float64), 0), *parts])


def _propagate(
    graph: WalkGraph,
    masks: KeptWeights,
    cross: Callable[[WeightedLink, torch.Tensor], torch.Tensor],
    num_columns: int,
    *,
    backward: bool,
) -> list[Scaled]:
    """Pass sums through the links, from the entries (exits) on.

    Args:
        graph: The walk graph.
        masks: The masks.
        cross: A function of a weighted link and the sums of its near units, shape (num_groups,
            units of a group, num_columns), that returns those of its far units.
        num_columns: Number of sums of a unit; the first begins with 1.
        backward: The direction.

    Returns:
        Per space the sums, shape (num_units, num_columns).
    """
    directed, reverse = graph.forward, graph.backward
    if backward:
        directed, reverse = reverse, directed
    served = served_units(graph, masks)
    sums = [Scaled(torch.empty(0), 0)] * len(graph.spaces)
    for space in directed.order:
        own = torch.zeros(graph.spaces[space].num_units, num_columns, dtype=torch.float64)
        if space in directed.starts:
            own[:, 0] = 1
        parts = [Scaled(own, 0)]
        for index in reverse.onward[space]:
            link = graph.links[index]
            values, exponent = sums[directed.near(index)]
            if isinstance(link, WiringLink):
                crossed = _cross_wiring(link, values, served.get(index), backward=backward)
            else:
                by_group = values.view(link.num_groups, -1, num_columns)
                crossed = cross(link, by_group).reshape(-1, num_columns)
            parts.append(Scaled(crossed, exponent))
        sums[space] = _add(parts)
    return sums


def _cross_wiring(
    link: WiringLink, values: torch.Tensor, served: Units | None, *, backward: bool
) -> torch.Tensor:
    """Give each far unit the sum over the near units of its group, target units being served."""
    target_flags = None if served is None else torch.from_numpy(served).unsqueeze(1)
    if backward and target_flags is not None:
        values = values * target_flags
    near, far = map(torch.from_numpy, link.near_and_far_groups(backward=backward))
    # There is one row per group; the last one stands for "no group" (-1) and stays zero.
    by_group = values.new_zeros(link.num_groups + 1, values.shape[1])
    has_group = near >= 0
    by_group.index_add_(0, near[has_group], values[has_group])
    crossed = by_group[far]
    return crossed if backward or target_flags is None else crossed * target_flags


def _add(parts: list[Scaled]) -> Scaled:
    """Add sums of different exponents; that of the result makes the largest of them less than 1."""
    largest = max(
        (math.frexp(peak)[1] + part.exponent for part in parts if (peak := _peak(part.values))),
        default=0,
    )
    total = torch.zeros_like(parts[0].values)
    for values, exponent in parts:
        scaled = torch.ldexp(values, torch.tensor(exponent - largest))
        # A value that vanishes beside others must not become zero: a path leads there.
        total += torch.where((values > 0) & (scaled == 0), _SMALLEST, scaled)
    return Scaled(total, largest)


def _peak(values: torch.Tensor) -> float:
    return float(values.max()) if values.numel() else 0.0
