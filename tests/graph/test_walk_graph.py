"""A walk graph is checked when it is made: what engines rely on, or an error by field."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import phew
from phew.graph import Space, WalkGraph, WeightedLink, WiringLink


def groups(*numbers: int, dtype: Any = np.int32) -> Any:
    return np.array(numbers, dtype)


def wiring(source_groups: Any = None, target_groups: Any = None) -> WiringLink:
    default = groups(0, 1, 2)
    return WiringLink(
        0,
        1,
        default if source_groups is None else source_groups,
        default if target_groups is None else target_groups,
    )


WEIGHTED = WeightedLink(1, 2, "w", 1, 2, 3, 1, (0, 3, 1, 1))


def make(**fields: Any) -> WalkGraph:
    """Make a graph of 3 -> 3 -> 2 units, but for the fields that are given."""
    graph: dict[str, Any] = {
        "spaces": (Space("a", 3), Space("b", 3), Space("c", 2)),
        "links": (wiring(), WEIGHTED),
        "entries": (0,),
        "exits": (2,),
        "parameters": {"w": torch.rand(2, 3)},
        "prunable": ("w",),
    }
    return WalkGraph(**(graph | fields))


def weighted(**fields: Any) -> dict[str, Any]:
    return {"links": (wiring(), replace(WEIGHTED, **fields))}


def wired(source_groups: Any) -> dict[str, Any]:
    return {"links": (wiring(source_groups), WEIGHTED)}


SPACES = make().spaces

WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a space that is none": (
        {"spaces": ("a", *SPACES[1:])},
        TypeError,
        "spaces[0] must be a Space, got 'a'.",
    ),
    "a negative space": (
        {"spaces": (*SPACES, Space("d", -4))},
        ValueError,
        "num_units of spaces[3] must be in [0, 2^31), got -4.",
    ),
    "a space too large": (
        {"spaces": (*SPACES, Space("d", 2**33))},
        ValueError,
        "num_units of spaces[3] must be in [0, 2^31), got 8589934592.",
    ),
    "a link that is none": (
        {"links": (None,)},
        TypeError,
        "links[0] must be a WeightedLink or a WiringLink, got None.",
    ),
    "a link between spaces by name": (
        weighted(source="b"),
        TypeError,
        "source and target of links[1] must be integers, got 'b' and 2.",
    ),
    "a link that leads back": (
        weighted(source=2),
        ValueError,
        "links[1] must lead from an earlier to a later space, got 2 -> 2.",
    ),
    "a negative shape": (
        weighted(num_groups=-1, targets_per_group=-2, sources_per_group=-3),
        ValueError,
        "num_groups of links[1] must be in [0, 2^31), got -1.",
    ),
    "positions beyond 32 bits": (
        weighted(num_positions=2**32, strides=(0, 3, 1, 0)),
        ValueError,
        "num_positions of links[1] must be in [0, 2^31), got 4294967296.",
    ),
    "edges of a unit beyond 31 bits": (
        weighted(num_positions=2**30, strides=(0, 3, 1, 0)),
        ValueError,
        "the edges of a unit in links[1] must be in [0, 2^31), got 3221225472.",
    ),
    "a stride that is no integer": (
        weighted(strides=(0, 3.0, 1, 1)),
        TypeError,
        "offset and strides of links[1] must be one and four integers, got 0 and (0, 3.0, 1, 1).",
    ),
    "three strides": (
        weighted(strides=(3, 1, 1)),
        TypeError,
        "offset and strides of links[1] must be one and four integers, got 0 and (3, 1, 1).",
    ),
    "a link beyond its parameter": (
        weighted(offset=1),
        ValueError,
        "links[1] must lie in 'w' of 6 elements, got offset 1, shape (1, 2, 3, 1) and strides "
        "(0, 3, 1, 1).",
    ),
    "a parameter that is missing": (
        {"parameters": {}, "prunable": ()},
        ValueError,
        "parameters must hold 'w' of links[1].",
    ),
    "a parameter that is a list": (
        {"parameters": {"w": [[1.0] * 3] * 2}},
        TypeError,
        "parameters must hold tensors, got list for 'w'.",
    ),
    "groups below -1": (
        wired(groups(0, -2, 2)),
        ValueError,
        "source_groups of links[0] must be in [-1, 1,048,576), got -2.",
    ),
    "a group too high": (
        wired(groups(0, 2**31 - 1, 2)),
        ValueError,
        "source_groups of links[0] must be in [-1, 1,048,576), got 2147483647.",
    ),
    "groups of another type": (
        wired(groups(0, 1, 2, dtype=np.int64)),
        TypeError,
        "source_groups of links[0] must be a vector of int32, got int64 of the shape (3,).",
    ),
    "groups in a column": (
        wired(groups(0, 1, 2)[:, None]),
        TypeError,
        "source_groups of links[0] must be a vector of int32, got int32 of the shape (3, 1).",
    ),
    "groups that are a list": (
        wired([0, 1, 2]),
        TypeError,
        "source_groups of links[0] must be an array, got list.",
    ),
    "too few groups": (
        wired(groups(0, 1)),
        ValueError,
        "links[0] must join spaces of (3, 3) units, got (2, 3).",
    ),
    "an entry twice": (
        {"entries": (0, 0)},
        ValueError,
        "entries must be different, got (0, 0).",
    ),
    "an exit that is no space": (
        {"exits": (3,)},
        ValueError,
        "exits must be indices of spaces, got (3,).",
    ),
    "an entry by name": (
        {"entries": ("a",)},
        TypeError,
        "entries must be integers, got ('a',).",
    ),
    "a prunable parameter twice": (
        {"prunable": ("w", "w")},
        ValueError,
        "prunable must be different, got ('w', 'w').",
    ),
    "a prunable parameter that is none": (
        {"prunable": ("v",)},
        ValueError,
        "prunable must name weights of a link, got 'v'.",
    ),
}


def test_groups_may_be_strided() -> None:
    graph = make(**wired(groups(2, 9, 1, 9, 0, 9)[::2]))
    expected = make(parameters=graph.parameters, **wired(groups(2, 1, 0)))
    assert phew.sample_masks(graph, density=0.5) == phew.sample_masks(expected, density=0.5)


def test_a_graph_that_is_right_is_made() -> None:
    assert make().num_prunable_weights == 6
    assert not make(**weighted(num_positions=0)).live[0].any()
    assert make(**wired(groups(-1, 5, 0))).live[0].tolist() == [False, False, True]


@pytest.mark.parametrize("name", WRONG)
def test_a_graph_that_is_wrong_is_refused_by_field(name: str) -> None:
    fields, kind, message = WRONG[name]
    with pytest.raises(kind, match="^" + re.escape(message) + "$"):
        make(**fields)


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ([[1, 0], [0, 0]], [True, False, False, False]),
        ([[0, 0], [1, 0]], [False, True, False, False]),
        ([[0, 1], [1, 1]], [False, True, True, False]),
    ],
)
def test_an_element_is_marked_where_any_of_its_edges_is(
    edges: list[list[int]], expected: list[bool]
) -> None:
    # A Toeplitz matrix: edge (target t, source s) is element t + s.
    link = WeightedLink(0, 1, "w", 1, 2, 2, 1, (0, 1, 1, 1))
    flags = torch.zeros(4, dtype=torch.bool)
    link.mark_elements(flags, torch.tensor(edges, dtype=torch.bool).view(1, 2, 2, 1))
    assert flags.tolist() == expected
