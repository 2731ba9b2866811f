"""The weights that lead to each unit, its fan-in, as masks know them without a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from phew.graph.links import WeightedLink, last_element, view_edges
from phew.graph.walk_graph import WalkGraph

_MOST_EMPTY = 2**31
"""The largest number in a view of no elements, which torch can make."""


class FanIn(NamedTuple):
    """The fan-in of some units: weights of one parameter, as a strided view of it.

    The view has the shape (num_groups, targets_per_group, sources_per_group, num_positions), like a
    `phew.graph.links.WeightedLink`: `view[g, t]` are the weights that lead to unit t of group g. No
    weight is in it twice.

    Attributes:
        shape: The shape of the view.
        strides: Its strides, in elements of the contiguous parameter.
        offset: Its first element.
        size_matters: Whether the size of the units matters (see `phew.graph.links.Space`).
    """

    shape: tuple[int, int, int, int]
    strides: tuple[int, int, int, int]
    offset: int
    size_matters: bool

    def view(self, parameter: torch.Tensor) -> torch.Tensor:
        """View a tensor of the parameter's shape as the weights, shape `self.shape`."""
        return view_edges(parameter, self.shape, self.strides, self.offset)


def check_fan_ins(fan_ins: Mapping[str, Sequence[FanIn]], shapes: Mapping[str, torch.Size]) -> None:
    """Raise ValueError unless each fan-in is a view of a masked parameter of a shape."""
    for name, of_parameter in fan_ins.items():
        if name not in shapes:
            raise ValueError(f"fan_ins must name masks, got {name!r}.")
        for fan_in in of_parameter:
            if not _is_view(fan_in, shapes[name].numel()):
                raise ValueError(
                    f"fan_ins[{name!r}] must be views of the shape {tuple(shapes[name])}, got "
                    f"{fan_in}."
                )


def _is_view(fan_in: object, num_elements: int) -> bool:
    """Return whether a value is a view of so many elements, each of which is in it once."""
    if not isinstance(fan_in, FanIn) or type(fan_in.size_matters) is not bool:
        return False
    if not all(isinstance(part, tuple) and len(part) == 4 for part in fan_in[:2]):
        return False
    numbers = (*fan_in.shape, *fan_in.strides, fan_in.offset)
    if not all(type(each) is int and each >= 0 for each in numbers):
        return False
    last = last_element(fan_in.shape, fan_in.strides)
    is_inside = last is not None and fan_in.offset + last < num_elements
    return is_inside or (0 in fan_in.shape and max(numbers) <= _MOST_EMPTY)


def fan_ins_of(graph: WalkGraph) -> dict[str, tuple[FanIn, ...]]:
    """Return the fan-ins that the weights of each prunable parameter make up.

    A parameter whose weights are in several fan-ins, as those of a Toeplitz matrix or of an encoder
    that is the decoder too, is one as a whole. One has none where a constant zeroes some weights.
    """
    return {
        name: _of_parameter(graph, name, [graph.weighted[index] for index in graph.links_of[name]])
        for name in graph.prunable
    }


def _of_parameter(graph: WalkGraph, name: str, links: Sequence[WeightedLink]) -> tuple[FanIn, ...]:
    size_matters: dict[tuple[tuple[int, int, int, int], tuple[int, int, int, int], int], bool] = {}
    # A norm that divides the parameter gives the units their size, whatever it was.
    is_free = name in graph.notes.normalised
    for link in links:
        if link.absent is not None:
            return ()
        key = link.shape, link.strides, link.offset
        matters = graph.spaces[link.target].size_matters and not is_free
        size_matters[key] = size_matters.get(key, False) or matters
    fan_ins = tuple(FanIn(*key, each) for key, each in size_matters.items())
    shape = graph.parameter_shapes[name]
    if all(link.is_injective for link in links) and _are_apart(shape, fan_ins):
        return fan_ins
    return (FanIn((1, 1, shape.numel(), 1), (0, 0, 1, 1), 0, any(size_matters.values())),)


def _are_apart(shape: torch.Size, fan_ins: tuple[FanIn, ...]) -> bool:
    """Return whether no element is in two views."""
    if len(fan_ins) == 1:
        return True
    num_uses = torch.zeros(shape, dtype=torch.uint8, device="cpu")
    for fan_in in fan_ins:
        fan_in.view(num_uses).add_(1)
    return int(num_uses.max()) <= 1
