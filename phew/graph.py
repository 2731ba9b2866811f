"""The walk graph: spaces of units, joined by links.

A convolution of 16 -> 32 channels is one weighted link between a space of 16 units and a space of
32. Everything that moves units without weights (flatten, concatenation, residual addition,
attention heads) is a wiring link.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from phew.sharding import whole

Units: TypeAlias = npt.NDArray[np.bool_]
"""A subset of a space: one flag a unit."""

Groups: TypeAlias = npt.NDArray[np.int32]
"""The group of each unit in a wiring link, -1 for none."""

WEIGHT_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
"""Dtypes of magnitudes that walks follow."""

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Space:
    """An ordered set of units, e.g. the 64 channels that a convolution puts out."""

    name: str
    num_units: int


@dataclass(frozen=True)
class WeightedLink:
    """Edges that are the weights of one parameter, as a strided view of it.

    The view has the shape (num_groups, targets_per_group, sources_per_group, num_positions): inside
    each group every source unit has an edge to every target unit at each kernel position. Unit g *
    sources_per_group + s of the source space is source s of group g; targets are counted the same
    way.

    Attributes:
        source: Index of the space that the edges leave.
        target: Index of the space that they enter; larger than `source`.
        parameter: Name of the parameter, as in `named_parameters()`.
        offset: First element of the view in the contiguous parameter.
        strides: Steps of the view's four dimensions, in elements of the contiguous parameter.
        shortcut: Whether walks avoid this link while a unit has another.
        num_uses: By how many values each weight is multiplied in the run that was captured: for a
            convolution, the places of the feature map that it puts out, times the batch size.
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

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(num_groups, targets_per_group, sources_per_group, num_positions)."""
        return (self.num_groups, self.targets_per_group, self.sources_per_group, self.num_positions)

    def view(self, parameter: torch.Tensor) -> torch.Tensor:
        """View a tensor of the parameter's shape as the link's edges, shape `self.shape`."""
        contiguous = parameter.contiguous()
        # A tensor may be a part of another, and `as_strided` counts from the beginning of that.
        offset = contiguous.storage_offset() + self.offset
        return contiguous.as_strided(self.shape, self.strides, offset)

    def reach(self, units: Units, *, backward: bool = False) -> Units:
        """Return the units on the far side that have an edge from one of `units`."""
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

    Attributes:
        source: Index of the space that the edges leave.
        target: Index of the space that they enter; larger than `source`.
        source_groups: Group of each source unit, int32, -1 for none.
        target_groups: Group of each target unit, int32, -1 for none.
        shortcut: Whether walks avoid this link while a unit has another.
    """

    source: int
    target: int
    source_groups: Groups
    target_groups: Groups
    shortcut: bool = False

    @cached_property
    def num_groups(self) -> int:
        """One more than the highest group."""
        return int(max(self.source_groups.max(initial=-1), self.target_groups.max(initial=-1))) + 1

    def reach(self, units: Units, *, backward: bool = False) -> Units:
        """Return the units on the far side that have an edge from one of `units`."""
        near, far = self.source_groups, self.target_groups
        if backward:
            near, far = far, near
        # One flag a group; the last one stands for "no group" (-1) and stays false.
        reached = np.zeros(self.num_groups + 1, dtype=np.bool_)
        reached[near[units]] = True
        reached[-1] = False
        return reached[far]


Link: TypeAlias = WeightedLink | WiringLink


@dataclass(frozen=True)
class Approximation:
    """An operation that capture replaced by a complete wiring.

    Attributes:
        operation: The operation's name, e.g. "cumsum".
        module: Name of the module that called it, "" for the model itself.
        reason: Why its exact wiring is not known.
    """

    operation: str
    module: str
    reason: str

    def __str__(self) -> str:
        return self.operation + (f" in {self.module!r}" if self.module else "")


@dataclass(frozen=True, eq=False)
class WalkGraph:
    """The directed acyclic graph that walks run on; parameters are referred to, not copied.

    Attributes:
        spaces: The spaces, in an order in which every link leads from an earlier to a later one.
        links: The links; a link's index is its id in the random number counters.
        entries: Indices of the spaces that the model's input feeds.
        exits: Indices of the spaces that the model's output reads.
        parameters: The model's parameters that are weights of a link, by name.
        prunable: Names of those that are pruned, in the model's order.
        unit_parameters: Biases and normalisation parameters, by name: the spaces whose units they
            belong to, one element a unit.
        approximations: Operations that capture replaced by a complete wiring.
        not_prunable: The other parameters of the model, by name: why each is not pruned.
        derived: Prunable parameters that a layer's weights are computed from, by name: the
            operation that computes them, e.g. a weight norm.
        aliases: The other names of parameters that are tied, by their first name.
    """

    spaces: tuple[Space, ...]
    links: tuple[Link, ...]
    entries: tuple[int, ...]
    exits: tuple[int, ...]
    parameters: Mapping[str, torch.Tensor]
    prunable: tuple[str, ...]
    unit_parameters: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    approximations: tuple[Approximation, ...] = ()
    not_prunable: Mapping[str, str] = field(default_factory=dict)
    derived: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    _shapes: Mapping[str, torch.Size] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shapes = {name: parameter.shape for name, parameter in self.parameters.items()}
        object.__setattr__(self, "_shapes", shapes)
        for index, link in enumerate(self.links):
            self._check_link(index, link)
        for argument, ends in (("entries", self.entries), ("exits", self.exits)):
            if not all(0 <= space < len(self.spaces) for space in ends):
                raise ValueError(f"{argument} must be indices of spaces, got {ends}.")
        for name in self.prunable:
            if name not in self.parameters:
                raise ValueError(f"prunable must name weights of a link, got {name!r}.")

    def _check_link(self, index: int, link: Link) -> None:
        if not 0 <= link.source < link.target < len(self.spaces):
            raise ValueError(
                f"links[{index}] must lead from an earlier to a later space, "
                f"got {link.source} -> {link.target}."
            )
        if isinstance(link, WeightedLink):
            sizes = (
                link.num_groups * link.sources_per_group,
                link.num_groups * link.targets_per_group,
            )
            if link.parameter not in self.parameters:
                raise ValueError(f"parameters must hold {link.parameter!r} of links[{index}].")
            num_elements = self.parameters[link.parameter].numel()
            last = link.offset + sum(
                stride * (size - 1) for stride, size in zip(link.strides, link.shape, strict=True)
            )
            if 0 not in link.shape and not (
                link.offset >= 0 <= min(link.strides) and last < num_elements
            ):
                raise ValueError(
                    f"links[{index}] must lie in {link.parameter!r} of {num_elements} elements, "
                    f"got offset {link.offset}, shape {link.shape} and strides {link.strides}."
                )
        else:
            sizes = (len(link.source_groups), len(link.target_groups))
        expected = (self.spaces[link.source].num_units, self.spaces[link.target].num_units)
        if sizes != expected:
            raise ValueError(f"links[{index}] must join spaces of {expected} units, got {sizes}.")

    @property
    def num_prunable_weights(self) -> int:
        """The number of weights that a density refers to."""
        return sum(self.parameters[name].numel() for name in self.prunable)

    def names_of(self, parameter: str) -> tuple[str, ...]:
        """Return all names of a parameter, this one first."""
        return parameter, *self.aliases.get(parameter, ())

    @cached_property
    def first_numbers(self) -> dict[str, int]:
        """Per prunable parameter, the number of its first weight among all prunable weights."""
        sizes = (self.parameters[name].numel() for name in self.prunable)
        return dict(zip(self.prunable, accumulate(sizes, initial=0), strict=False))

    def data_of(
        self, parameter: str, device: torch.device = _CPU, gathered: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return a parameter's data, contiguous on a device.

        Args:
            parameter: Its name.
            device: The device.
            gathered: All of it where it is sharded; otherwise it is gathered.

        Returns:
            The data in its dtype, as float32 if that is not in `WEIGHT_DTYPES`; of a complex
            parameter the magnitudes.

        Raises:
            ValueError: If the parameter's shape has changed since the graph was made.
        """
        if gathered is None:
            gathered = whole(self.parameters[parameter].detach())
        data = gathered.to(device).contiguous()
        shape = self._shapes[parameter]
        if data.shape != shape:
            raise ValueError(
                f"parameter {parameter!r} must be of the shape {tuple(shape)} that it was "
                f"captured with, got {tuple(data.shape)}. Capture the model again."
            )
        if data.is_complex():
            # Unlike abs(), the same on every machine.
            squares = data.real.double().square() + data.imag.double().square()
            data = squares.sqrt().to(data.real.dtype)
        return data if data.dtype in WEIGHT_DTYPES else data.float()

    def weights_of(self, link: WeightedLink, device: torch.device = _CPU) -> torch.Tensor:
        """Return a link's weights on a device, shape `link.shape`."""
        return link.view(self.data_of(link.parameter, device))

    @cached_property
    def links_from(self) -> tuple[tuple[int, ...], ...]:
        """Per space, the indices of the links that leave it."""
        return self._links_by(link.source for link in self.links)

    @cached_property
    def links_into(self) -> tuple[tuple[int, ...], ...]:
        """Per space, the indices of the links that enter it."""
        return self._links_by(link.target for link in self.links)

    def _links_by(self, spaces: Iterable[int]) -> tuple[tuple[int, ...], ...]:
        table: list[list[int]] = [[] for _ in self.spaces]
        for index, space in enumerate(spaces):
            table[space].append(index)
        return tuple(tuple(row) for row in table)

    @cached_property
    def live(self) -> tuple[Units, ...]:
        """Per space, the units that lie on a path from an entry to an exit."""
        from_entry = self._reached_from(self.entries, backward=False)
        from_exit = self._reached_from(self.exits, backward=True)
        return tuple(a & b for a, b in zip(from_entry, from_exit, strict=True))

    def _reached_from(self, starts: Iterable[int], *, backward: bool) -> list[Units]:
        reached = [np.zeros(space.num_units, dtype=np.bool_) for space in self.spaces]
        for space in starts:
            reached[space][:] = True
        order = range(len(self.spaces))
        for space in reversed(order) if backward else order:
            for index in self.links_into[space] if backward else self.links_from[space]:
                link = self.links[index]
                far = link.source if backward else link.target
                reached[far] |= link.reach(reached[space], backward=backward)
        return reached

    def active_units(self, masks: Mapping[str, torch.Tensor]) -> list[Units]:
        """Return per space the units that `masks` leave with a kept incoming weight.

        Units that wiring feeds are active where one of their sources is; entries are active.

        Args:
            masks: Boolean tensors by parameter name; weights without a mask are kept.

        Returns:
            One boolean vector a space, shape (num_units,).
        """
        active = [np.zeros(space.num_units, dtype=np.bool_) for space in self.spaces]
        for space in self.entries:
            active[space][:] = True
        kept = self._targets_with_kept_weights(masks)
        for space in range(len(self.spaces)):
            for index in self.links_into[space]:
                link = self.links[index]
                active[space] |= kept[index] if index in kept else link.reach(active[link.source])
        return active

    def _targets_with_kept_weights(self, masks: Mapping[str, torch.Tensor]) -> dict[int, Units]:
        """Return the units that each link whose weights have a mask leads to by a kept weight."""
        links = {
            index: link
            for index, link in enumerate(self.links)
            if isinstance(link, WeightedLink) and link.parameter in masks
        }
        if not links:
            return {}
        kept = [_any_source(link.view(masks[link.parameter])) for link in links.values()]
        # Copied from a device all at once; masks may be on several.
        flat = torch.cat([units.reshape(-1).to(kept[0].device) for units in kept]).cpu().numpy()
        ends = accumulate(units.numel() for units in kept)
        return dict(zip(links, np.split(flat, [*ends][:-1]), strict=True))

    def report(self) -> str:
        """Describe the graph: its links and forks, and what is not pruned, not known, not reached.

        Rows of repeated blocks, whose names differ in their numbers alone, are one row.

        Returns:
            The text, a line per row.

        Example:
            >>> import torch, phew
            >>> layers = torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
            >>> graph = phew.capture(torch.nn.Sequential(*layers), torch.zeros(1, 8))
            >>> print(graph.report().splitlines()[0])
            40 prunable weights in 2 of 4 parameters
        """
        # The report is about the graph: importing it here keeps the graph from depending on it.
        from phew.report import Report

        return str(Report(self))

    def __str__(self) -> str:
        num_weighted = sum(isinstance(link, WeightedLink) for link in self.links)
        lines = [
            f"WalkGraph: {len(self.spaces)} spaces, {num_weighted} weighted and "
            f"{len(self.links) - num_weighted} wiring links, "
            f"{self.num_prunable_weights:,} prunable weights"
        ]
        if self.approximations:
            lines.append("approximated by a complete wiring:")
            lines += [f"  {operation}" for operation in self.approximations]
        return "\n".join(lines)


def _any_source(kept: torch.Tensor) -> torch.Tensor:
    """Return whether a weight of each target is kept; flags of (groups, targets, ...)."""
    kept = kept.flatten(2)
    # NumPy's is ten times faster than torch's on the CPU.
    return torch.from_numpy(kept.numpy().any(axis=2)) if kept.is_cpu else kept.any(dim=2)
