from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from phew import _core
from phew.engine import LinkLoader, walk_engine
from phew.graph import Space, WalkGraph, WeightedLink, WiringLink
from phew.reference import Reference, Visit
from random_graphs import DTYPES, random_graph

OPTIONS = [
    dict(zip(("fork", "granularity", "power"), values, strict=True))
    for values in product(("uniform", "mass"), ("weight", "kernel"), (1, 0, 2, -1))
]
SCHEDULES = list(product((1, 2, 3, 7), (1, 7, 1 << 20)))
NUM_WALKS = 48

Counts = Counter[tuple[int, Visit]]


def flat_visits(graph: WalkGraph, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {
        name: torch.zeros(graph.parameters[name].numel(), dtype=dtype) for name in graph.prunable
    }


def reference_visits(reference: Reference, walks: range) -> Counts:
    return Counter((walk, visit) for walk in walks for visit in reference.walk(walk))


def new_visits(
    engine: _core.WalkEngine,
    graph: WalkGraph,
    walks: range,
    visited: dict[str, torch.Tensor],
    *,
    num_threads: int = 1,
    batch_size: int = 1 << 20,
) -> Counts:
    visits = engine.walk(
        walks.start,
        len(walks),
        LinkLoader(graph, visited),
        recording="new",
        num_threads=num_threads,
        batch_size=batch_size,
    )
    rows = zip(visits.walks, visits.links, visits.elements, strict=True)
    return Counter(
        (int(walk), Visit(graph.links[link].parameter, int(element)))  # type: ignore[union-attr]
        for walk, link, element in rows
    )


def check_recordings(
    engine: _core.WalkEngine, graph: WalkGraph, walks: range, visits: Counts, schedule: int
) -> None:
    """Check that the engine counts, marks and finds new what `visits` lists."""
    num_threads, batch_size = SCHEDULES[schedule]
    counts, marks = flat_visits(graph, torch.int32), flat_visits(graph, torch.uint8)
    for recording, recorded in (("count", counts), ("mark", marks)):
        engine.walk(
            walks.start,
            len(walks),
            LinkLoader(graph, recorded),
            recording=recording,  # type: ignore[arg-type]
            num_threads=num_threads,
            batch_size=batch_size,
        )
    expected = flat_visits(graph, torch.int32)
    for (_, visit), count in visits.items():
        expected[visit.parameter][visit.weight] += count
    for name in graph.prunable:
        assert counts[name].equal(expected[name])
        assert marks[name].equal((expected[name] > 0).to(torch.uint8))
        marks[name] *= torch.arange(len(marks[name])) % 2 == 0
    assert new_visits(engine, graph, walks, marks) == Counter(
        {
            (walk, visit): count
            for (walk, visit), count in visits.items()
            if not marks[visit.parameter][visit.weight]
        }
    )


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
def test_engine_walks_as_the_reference(options: dict[str, Any], num_graphs: int) -> None:
    for seed in range(OPTIONS.index(options), num_graphs, len(OPTIONS)):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng)
        options["seed"] = int(rng.integers(2**64, dtype=np.uint64))
        first = int(rng.choice([0, 1, 2**32 - 9, 2**40 + 1]))
        walks = range(first, first + NUM_WALKS)
        expected = reference_visits(Reference(graph, **options), walks)
        engine = walk_engine(graph, **options, num_threads=2)
        for num_threads, batch_size in SCHEDULES:
            visits = new_visits(
                engine,
                graph,
                walks,
                flat_visits(graph, torch.uint8),
                num_threads=num_threads,
                batch_size=batch_size,
            )
            assert visits == expected, f"graph {seed}, {num_threads=}, {batch_size=}"
        check_recordings(engine, graph, walks, expected, int(rng.integers(len(SCHEDULES))))
