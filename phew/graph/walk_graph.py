"""The walk graph: spaces of units, joined by links.

A convolution of 16 -> 32 channels is one weighted link between a space of 16 units and a space of
32. Everything that moves units without weights (flatten, concatenation, residual addition,
attention heads) is a wiring link.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

import torch

from phew.graph.directed import DirectedGraph
from phew.graph.links import Link, Space, Units, WeightedLink
from phew.graph.notes import CaptureNotes


@dataclass(frozen=True, eq=False)
class WalkGraph:
    """The directed acyclic graph that walks run on; parameters are referred to, not copied.

    Attributes:
        spaces: The spaces, in an order in which every link leads from an earlier to a later one.
        links: The links; a link's index is its id in the random number counters.
        entries: Indices of the spaces that the model's input feeds.
        exits: Indices of the spaces that the model's output reads.
        parameters: The model's parameters that are weights of a link, by name.
        prunable: Names of the parameters that are pruned, in the model's order.
        unit_parameters: Biases and normalisation parameters, by name: the spaces whose units they
            belong to, one element per unit.
        aliases: The other names of parameters that are tied, by their first name.
        notes: What capture approximated, and why other parameters are not prunable.
        parameter_shapes: The shapes that the parameters had when the graph was made.
    """

    spaces: tuple[Space, ...]
    links: tuple[Link, ...]
    entries: tuple[int, ...]
    exits: tuple[int, ...]
    parameters: Mapping[str, torch.Tensor]
    prunable: tuple[str, ...]
    unit_parameters: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: CaptureNotes = field(default_factory=CaptureNotes)
    parameter_shapes: Mapping[str, torch.Size] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shapes = {name: parameter.shape for name, parameter in self.parameters.items()}
        object.__setattr__(self, "parameter_shapes", shapes)
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
            shape = self.parameters[link.parameter].shape
            if link.absent is not None and (link.absent.shape, link.absent.dtype) != (
                shape,
                torch.bool,
            ):
                raise ValueError(
                    f"absent of links[{index}] must be a bool tensor of the shape of "
                    f"{link.parameter!r}, {tuple(shape)}, got {link.absent.dtype} of the shape "
                    f"{tuple(link.absent.shape)}."
                )
            num_elements = shape.numel()
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

    @cached_property
    def weighted(self) -> dict[int, WeightedLink]:
        """The weighted links by index, in order."""
        return {
            index: link for index, link in enumerate(self.links) if isinstance(link, WeightedLink)
        }

    @cached_property
    def links_of(self) -> dict[str, tuple[int, ...]]:
        """Per parameter, the indices of the links that its weights are in."""
        indices: dict[str, list[int]] = {name: [] for name in self.parameters}
        for index, link in self.weighted.items():
            indices[link.parameter].append(index)
        return {name: tuple(each) for name, each in indices.items()}

    @cached_property
    def forward(self) -> DirectedGraph:
        """The graph as forward walks see it: from the entries to the exits."""
        return DirectedGraph(self.spaces, self.links, self.entries, backward=False)

    @cached_property
    def backward(self) -> DirectedGraph:
        """The graph as backward walks see it: from the exits to the entries."""
        return DirectedGraph(self.spaces, self.links, self.exits, backward=True)

    @cached_property
    def live(self) -> tuple[Units, ...]:
        """Per space, the units that lie on a path from an entry to an exit."""
        both = zip(self.forward.connected(), self.backward.connected(), strict=True)
        return tuple(from_entry & from_exit for from_entry, from_exit in both)

    def __str__(self) -> str:
        lines = [
            f"WalkGraph: {len(self.spaces)} spaces, {len(self.weighted)} weighted and "
            f"{len(self.links) - len(self.weighted)} wiring links, "
            f"{self.num_prunable_weights:,} prunable weights"
        ]
        if self.notes.approximations:
            lines.append("approximated by a complete wiring:")
            lines += [f"  {operation}" for operation in self.notes.approximations]
        return "\n".join(lines)
