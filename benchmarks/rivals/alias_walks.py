"""Weighted walks as a careful user would write them with NumPy: alias tables, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rivals.layered_graph import LayeredGraph, Masses, Units

PART_SIZE = 2**16
"""The number of edges for which a thread makes tables at a time."""


class Tables(NamedTuple):
    """Alias tables: a unit's edge is drawn evenly, and then kept with its own probability.

    Attributes:
        kept: The probability with which each edge is kept, sources x targets.
        aliases: The target that is taken where the edge is not kept.
    """

    kept: Masses
    aliases: npt.NDArray[np.int32]


def set_up(graph: LayeredGraph, *, num_threads: int) -> Callable[[Units], Units]:
    """Make the tables of all layers, and return what walks on them."""
    layers = [
        Tables(np.empty_like(masses), np.zeros(masses.shape, dtype=np.int32))
        for masses in graph.layers
    ]
    with ThreadPoolExecutor(num_threads) as pool:
        for masses, tables in zip(graph.layers, layers, strict=True):
            step = max(1, PART_SIZE // masses.shape[1])
            rows = [slice(first, first + step) for first in range(0, len(masses), step)]
            parts = [(masses[part], tables.kept[part], tables.aliases[part]) for part in rows]
            list(pool.map(lambda part: _fill(*part), parts))

    def walk(starts: Units) -> Units:
        seeds = np.random.SeedSequence(0).spawn(num_threads)
        parts = np.array_split(starts, num_threads)
        with ThreadPoolExecutor(num_threads) as pool:
            paths = pool.map(lambda part, seed: _walk(graph, layers, part, seed), parts, seeds)
            return np.concatenate(list(paths))

    return walk


def _fill(masses: Masses, kept: Masses, aliases: npt.NDArray[np.int32]) -> None:
    """Make the tables of some rows, each in one sweep over its edges.

    Scaled to a mean of 1, light edges lack what heavy ones have too much. Each light edge takes
    what it lacks from the first heavy one that has something left; a heavy edge that gives more
    than it has too much takes that from the next heavy one. Masses .5 1.75 .25 1.5: edge 1 gives
    .5 to edge 0 and .75 to edge 2, which is .5 too much, and which edge 3 gives.
    """
    for row, row_kept, row_aliases in zip(masses, kept, aliases, strict=True):
        excess = row / row.mean(dtype=np.float64) - 1.0
        heavy, light = np.flatnonzero(excess > 0), np.flatnonzero(excess <= 0)
        row_kept[:] = 1.0 + excess
        if heavy.size == 0:
            continue
        given, lacking = np.cumsum(excess[heavy]), np.cumsum(-excess[light])
        givers = np.searchsorted(given, lacking + excess[light], side="right")
        row_aliases[light] = heavy[np.minimum(givers, heavy.size - 1)]
        # A heavy edge gives too much to its last taker. Rounding may leave it without one.
        takers = np.minimum(np.searchsorted(lacking, given, side="right"), light.size - 1)
        row_kept[heavy] = 1.0 + np.minimum(given - lacking[takers], 0.0)
        row_aliases[heavy[:-1]] = heavy[1:]
        row_aliases[heavy[-1]] = heavy[-1]


def _walk(
    graph: LayeredGraph, layers: list[Tables], starts: Units, seed: np.random.SeedSequence
) -> Units:
    generator = np.random.default_rng(seed)
    paths = np.empty((len(starts), len(graph.sizes)), dtype=np.int64)
    paths[:, 0] = units = starts
    for index, (kept, aliases) in enumerate(layers, start=1):
        num_targets = kept.shape[1]
        draws = generator.random(len(starts)) * num_targets
        drawn = draws.astype(np.int64)
        edges = units * num_targets + drawn
        units = np.where(draws - drawn < kept.ravel()[edges], drawn, aliases.ravel()[edges])
        paths[:, index] = units + graph.firsts[index]
    return paths
