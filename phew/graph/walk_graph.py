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

import torch

from phew.graph.checks import (
    check_indices_of_spaces,
    check_link,
    check_parameters,
    check_prunable,
    check_spaces,
)
from phew.graph.directed import DirectedGraph
from phew.graph.links import Link, Space, Units, WeightedLink
from phew.graph.notes import CaptureNotes
from phew.support.html import html_text


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

    Raises:
        TypeError: If a field holds something of the wrong type: groups that are no vectors of
            int32, parameters that are no tensors, strides that are no integers.
        ValueError: If it holds a wrong value: a link that leads back or beyond its parameter, sizes
            that are negative or do not fit in 31 bits, groups below -1, a name or index twice.
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
        check_spaces(self.spaces)
        check_parameters(self.parameters)
        shapes = {name: parameter.shape for name, parameter in self.parameters.items()}
        object.__setattr__(self, "parameter_shapes", shapes)
        for index, link in enumerate(self.links):
            check_link(index, link, self.spaces, self.parameters)
        check_indices_of_spaces("entries", self.entries, len(self.spaces))
        check_indices_of_spaces("exits", self.exits, len(self.spaces))
        check_prunable(self.prunable, self.parameters)

    @property
    def num_prunable_weights(self) -> int:
        """The number of weights that a density refers to."""
        return self.num_weights_of(self.prunable)

    def num_weights_of(self, parameters: Iterable[str]) -> int:
        """Return the number of weights of some parameters together."""
        return sum(self.parameters[name].numel() for name in parameters)

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
        """The graph as forward walks see it, from the entries to the exits."""
        return DirectedGraph(self.spaces, self.links, self.entries, backward=False)

    @cached_property
    def backward(self) -> DirectedGraph:
        """The graph as backward walks see it, from the exits to the entries."""
        return DirectedGraph(self.spaces, self.links, self.exits, backward=True)

    @cached_property
    def live(self) -> tuple[Units, ...]:
        """Per space, the units that lie on a path from an entry to an exit."""
        both = zip(self.forward.connected(), self.backward.connected(), strict=True)
        return tuple(from_entry & from_exit for from_entry, from_exit in both)

    def __repr__(self) -> str:
        """The counts, in one line."""
        return f"WalkGraph({self._counts()})"

    def _repr_html_(self) -> str:
        return html_text(str(self))

    def _counts(self) -> str:
        return (
            f"{len(self.spaces)} spaces, {len(self.weighted)} weighted and "
            f"{len(self.links) - len(self.weighted)} wiring links, "
            f"{self.num_prunable_weights:,} prunable weights"
        )

    def __str__(self) -> str:
        """The counts, and what is approximated."""
        lines = [f"WalkGraph: {self._counts()}"]
        if self.notes.approximations:
            lines.append("approximated by a complete wiring:")
            lines += [f"  {operation}" for operation in self.notes.approximations]
        return "\n".join(lines)
