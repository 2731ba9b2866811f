"""A walk graph as blocks of layers, for its picture; equal blocks are one, as in reports.

A ResNet of three equal blocks has the columns `stem`, `blocks.{0-2}` x3 and `head`. A block is the
longest part of a parameter's name that ends in a number and holds several weighted parameters; a
parameter outside of such blocks is in that of the first part of its name.

    parameter              block      layer
    stem.weight            stem       stem
    blocks.0.conv1.weight  blocks.0   conv1
    blocks.0.conv2.weight  blocks.0   conv2
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch

from phew.graph.links import WeightedLink
from phew.graph.reach import active_units, units_led_to
from phew.graph.walk_graph import WalkGraph
from phew.support.tables import Row, folded

_MOST_BESIDE = 3
"""Layers that are drawn side by side; further ones are drawn below them."""


@dataclass(frozen=True)
class Layer:
    """A weighted parameter, or several of equal blocks: the sums of their counts.

    Attributes:
        name: Its name within the block.
        shape: Its shape.
        depth: The most weighted links on a path from an entry to it.
        is_pruned: Whether it is prunable.
        num_units: Units that its weights lead to.
        num_active_units: Those with a kept incoming weight.
        num_weights: Weights.
        num_kept: Kept weights.
        num_parameters: How many parameters these are.
    """

    name: str
    shape: tuple[int, ...]
    depth: int
    is_pruned: bool
    num_units: int
    num_active_units: int
    num_weights: int
    num_kept: int
    num_parameters: int = 1


@dataclass(frozen=True)
class Column:
    """A block, or several equal ones.

    Attributes:
        name: The name of the block; that of several has ranges of numbers.
        num_blocks: How many there are.
        rows: Its layers, from the input on; those that are read in parallel are in one row.
        joined: Pairs of places in rows, of layers in adjacent rows of which one reads the other.
        has_shortcut: Whether a shortcut leads around layers of it.
        sources: The places of the columns that it reads, -1 for the network's input.
        is_exit: Whether the network's output reads it.
    """

    name: str
    num_blocks: int
    rows: tuple[tuple[Layer, ...], ...]
    joined: frozenset[tuple[tuple[int, int], tuple[int, int]]]
    has_shortcut: bool
    sources: tuple[int, ...]
    is_exit: bool


def columns_of(graph: WalkGraph, masks: Mapping[str, torch.Tensor]) -> list[Column]:
    """Return the blocks of a graph, equal ones folded, in the order of the first of each.

    Args:
        graph: The walk graph.
        masks: Whole masks by parameter name; weights without a mask are kept.
    """
    block_of = _blocks(list(graph.links_of))
    layers = _layers(graph, masks, block_of)
    blocks = sorted(layers, key=lambda block: min(layer.depth for layer in layers[block].values()))
    rows = [
        Row((block,), tuple(f"{each.name} {each.shape}" for each in layers[block].values()))
        for block in blocks
    ]
    groups = folded(rows)
    column_of = {
        blocks[member]: place for place, group in enumerate(groups) for member in group.members
    }
    block_of_space = _blocks_of_spaces(graph, block_of)
    sources = _sources(graph, block_of_space, column_of)
    exits = {column_of.get(block_of_space[space]) for space in graph.exits}
    around = {block_of_space[link.target] for link in graph.links if link.shortcut}
    reads = _reads(graph)
    columns = []
    for place, group in enumerate(groups):
        members = [blocks[member] for member in group.members]
        parts = zip(*(layers[member].items() for member in members), strict=True)
        merged: list[Named] = [
            ((part[0][0],), _sum([layer for _, layer in part])) for part in parts
        ]
        arranged = _arranged(merged)
        columns.append(
            Column(
                group.names[0],
                group.count,
                tuple(tuple(layer for _, layer in row) for row in arranged),
                _joined(arranged, reads),
                not around.isdisjoint(members),
                tuple(sorted(sources[place] - {place})),
                place in exits,
            )
        )
    return columns


def _blocks(parameters: list[str]) -> dict[str, str]:
    """Return the block of each parameter."""
    prefixes = {name: [*_prefixes(name)] for name in parameters}
    counts = Counter(prefix for each in prefixes.values() for prefix in each)
    return {
        name: next(
            (prefix for prefix in each if counts[prefix] > 1 and prefix[-1].isdigit()),
            each[-1] if each else name,
        )
        for name, each in prefixes.items()
    }


def _prefixes(parameter: str) -> Iterator[str]:
    """Yield the paths of the modules that a parameter is in, the longest first."""
    path = parameter.split(".")[:-1]
    yield from (".".join(path[:length]) for length in range(len(path), 0, -1))


def _layers(
    graph: WalkGraph, masks: Mapping[str, torch.Tensor], block_of: Mapping[str, str]
) -> dict[str, dict[str, Layer]]:
    """Return by block and parameter the layers, in the order of paths from the input."""
    depths, active = _depths(graph), active_units(graph, masks)
    links = {name: [graph.weighted[index] for index in graph.links_of[name]] for name in block_of}
    depth_of = {
        name: min(depths[link.source] for link in each) for name, each in links.items() if each
    }
    layers: dict[str, dict[str, Layer]] = defaultdict(dict)
    for name in sorted(depth_of, key=lambda name: depth_of[name]):
        units = units_led_to(links[name], active)
        num_weights = graph.parameters[name].numel()
        layers[block_of[name]][name] = Layer(
            _within(name, block_of[name]),
            tuple(graph.parameters[name].shape),
            depth_of[name],
            name in graph.prunable,
            len(units),
            int(units.sum()),
            num_weights,
            int(masks[name].count_nonzero()) if name in masks else num_weights,
        )
    return layers


def _within(parameter: str, block: str) -> str:
    """Return the name of a parameter within its block; that of the block if it is all of it."""
    return parameter.removesuffix(".weight").removeprefix(f"{block}.")


def _depths(graph: WalkGraph) -> list[int]:
    """Return per space the most weighted links on a path from an entry to it."""
    depths = [0] * len(graph.spaces)
    for index in sorted(range(len(graph.links)), key=lambda index: graph.links[index].target):
        link = graph.links[index]
        step = isinstance(link, WeightedLink)
        depths[link.target] = max(depths[link.target], depths[link.source] + step)
    return depths


def _blocks_of_spaces(graph: WalkGraph, block_of: Mapping[str, str]) -> list[str]:
    """Return the block that each space belongs to, "" for the network's input.

    A space is in the block of the weights that lead to it. One of wiring is in the block that its
    name begins with, "into blocks.1.norm1" in blocks.1, or else in that of its last source.
    """
    blocks, own = [""] * len(graph.spaces), set(block_of.values())
    for space in graph.forward.order:
        into = [graph.links[index] for index in graph.backward.onward[space]]
        weights = [link.parameter for link in into if isinstance(link, WeightedLink)]
        path = graph.spaces[space].name.rpartition(" ")[2]
        if weights:
            blocks[space] = block_of[weights[0]]
        elif into:
            named = (prefix for prefix in _prefixes(f"{path}.") if prefix in own)
            blocks[space] = next(named, blocks[max(link.source for link in into)])
    return blocks


def _sources(
    graph: WalkGraph, block_of_space: list[str], column_of: Mapping[str, int]
) -> list[set[int]]:
    """Return per column those that links lead from, -1 for the network's input."""
    sources: list[set[int]] = [set() for _ in range(max(column_of.values(), default=-1) + 1)]
    for link in graph.links:
        target = column_of.get(block_of_space[link.target], -1)
        if target >= 0:
            sources[target].add(column_of.get(block_of_space[link.source], -1))
    return sources


def _reads(graph: WalkGraph) -> set[tuple[str, str]]:
    """Return the pairs of parameters of which the second reads what the first puts out.

    Between them is wiring alone, and no shortcut.
    """
    feeding: list[frozenset[str]] = [frozenset()] * len(graph.spaces)
    pairs = set()
    for space in graph.forward.order:
        for index in graph.backward.onward[space]:
            link = graph.links[index]
            if isinstance(link, WeightedLink):
                pairs |= {(name, link.parameter) for name in feeding[link.source]}
                feeding[space] |= {link.parameter}
            elif not link.shortcut:
                feeding[space] |= feeding[link.source]
    return pairs


Named: TypeAlias = tuple[tuple[str, ...], Layer]
"""The parameters of the first block that a layer stands for, and the layer."""


def _arranged(layers: list[Named]) -> list[list[Named]]:
    """Arrange layers in rows by their depth, repeated ones folded."""
    rows: list[list[Named]] = []
    alike = folded(
        Row((layer.name,), (str(layer.shape), str(layer.is_pruned))) for _, layer in layers
    )
    merged = [
        (
            tuple(name for member in row.members for name in layers[member][0]),
            _sum([layers[member][1] for member in row.members], row.names[0]),
        )
        for row in alike
    ]
    for _, group in itertools.groupby(merged, key=lambda named: named[1].depth):
        row = list(group)
        rows += [row[first : first + _MOST_BESIDE] for first in range(0, len(row), _MOST_BESIDE)]
    return rows


def _joined(
    rows: list[list[Named]], reads: set[tuple[str, str]]
) -> frozenset[tuple[tuple[int, int], tuple[int, int]]]:
    return frozenset(
        ((upper, left), (upper + 1, right))
        for upper, (above, below) in enumerate(itertools.pairwise(rows))
        for left, (names, _) in enumerate(above)
        for right, (readers, _) in enumerate(below)
        if not reads.isdisjoint(itertools.product(names, readers))
    )


def _sum(layers: list[Layer], name: str | None = None) -> Layer:
    first = layers[0]
    return Layer(
        name or first.name,
        first.shape,
        first.depth,
        all(layer.is_pruned for layer in layers),
        sum(layer.num_units for layer in layers),
        sum(layer.num_active_units for layer in layers),
        sum(layer.num_weights for layer in layers),
        sum(layer.num_kept for layer in layers),
        sum(layer.num_parameters for layer in layers),
    )
