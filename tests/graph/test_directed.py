"""A graph as walks of one direction see it, against its edges one by one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from random_graphs import random_graph

from phew.graph import Link, WalkGraph, WeightedLink
from phew.graph.directed import DirectedGraph

SEEDS = range(40)

directions = pytest.mark.parametrize("backward", [False, True])


def directed_graphs(*, backward: bool) -> Iterator[tuple[WalkGraph, DirectedGraph]]:
    for seed in SEEDS:
        graph = random_graph(np.random.default_rng(seed))
        yield graph, graph.backward if backward else graph.forward


def pairs_of(link: Link) -> set[tuple[int, int]]:
    """List the source and target units that an edge of a link joins."""
    if isinstance(link, WeightedLink):
        sources, targets = link.sources_per_group, link.targets_per_group
        is_edge = link.is_edge.expand(link.shape).any(dim=3)
        return {
            (group * sources + source, group * targets + target)
            for group in range(link.num_groups)
            for source in range(sources)
            for target in range(targets)
            if is_edge[group, target, source]
        }
    return {
        (source, target)
        for source, group in enumerate(link.source_groups)
        for target, other in enumerate(link.target_groups)
        if group == other != -1
    }


@directions
def test_near_and_far_are_the_ends_of_a_link(backward: bool) -> None:
    for graph, directed in directed_graphs(backward=backward):
        assert directed.starts == (graph.exits if backward else graph.entries)
        for index, link in enumerate(graph.links):
            ends = directed.near(index), directed.far(index)
            assert ends == ((link.target, link.source) if backward else (link.source, link.target))


@directions
def test_walks_meet_spaces_after_all_that_lead_there(backward: bool) -> None:
    for graph, directed in directed_graphs(backward=backward):
        place = {space: number for number, space in enumerate(directed.order)}
        assert sorted(place) == list(range(len(graph.spaces)))
        for index in range(len(graph.links)):
            assert place[directed.near(index)] < place[directed.far(index)]


@directions
def test_each_link_leads_onward_from_its_near_space(backward: bool) -> None:
    for graph, directed in directed_graphs(backward=backward):
        for space, indices in enumerate(directed.onward):
            expected = [i for i in range(len(graph.links)) if directed.near(i) == space]
            assert list(indices) == expected


@directions
def test_units_are_reached_over_edges(backward: bool) -> None:
    rng = np.random.default_rng(0)
    for graph, directed in directed_graphs(backward=backward):
        for index, link in enumerate(graph.links):
            num_near = graph.spaces[directed.near(index)].num_units
            num_far = graph.spaces[directed.far(index)].num_units
            near, far = rng.random(num_near) < 0.3, rng.random(num_far) < 0.3
            reached, leading = np.zeros(num_far, np.bool_), np.zeros(num_near, np.bool_)
            for source, target in pairs_of(link):
                from_unit, to_unit = (target, source) if backward else (source, target)
                reached[to_unit] |= near[from_unit]
                leading[from_unit] |= far[to_unit]
            np.testing.assert_array_equal(directed.reach(index, near), reached)
            np.testing.assert_array_equal(directed.leading_to(index, far), leading)


def test_the_directions_mirror_each_other() -> None:
    rng = np.random.default_rng(0)
    for graph, forward in directed_graphs(backward=False):
        backward = graph.backward
        assert list(forward.order) == list(backward.order)[::-1]
        for index, link in enumerate(graph.links):
            assert forward.near(index) == backward.far(index)
            assert forward.far(index) == backward.near(index)
            units = rng.random(graph.spaces[link.source].num_units) < 0.5
            np.testing.assert_array_equal(
                forward.reach(index, units), backward.leading_to(index, units)
            )


@directions
def test_units_are_connected_to_a_start_by_some_path(backward: bool) -> None:
    for graph, directed in directed_graphs(backward=backward):
        pending = [(s, u) for s in directed.starts for u in range(graph.spaces[s].num_units)]
        seen = set(pending)
        while pending:
            space, unit = pending.pop()
            for index in directed.onward[space]:
                for source, target in pairs_of(graph.links[index]):
                    near, far = (target, source) if backward else (source, target)
                    following = directed.far(index), far
                    if near == unit and following not in seen:
                        seen.add(following)
                        pending.append(following)
        for space, connected in enumerate(directed.connected()):
            assert set(np.flatnonzero(connected)) == {unit for s, unit in seen if s == space}
