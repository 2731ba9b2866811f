from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from itertools import product
from typing import Any, Literal

import numpy as np
import pytest
import torch
from random_graphs import DTYPES, random_graph

from phew import _core
from phew.graph import Space, WalkGraph, WeightedLink
from phew.reference import Reference, Visit
from phew.walks.cpu_engine import CpuEngine
from phew.walks.link_loader import LinkLoader
from phew.walks.options import Options

OPTIONS = [
    dict(zip(("fork", "granularity", "power"), values, strict=True))
    for values in product(("uniform", "mass"), ("weight", "kernel"), (1, 0, 2, -1))
]
NUM_THREADS = (1, 2, 3, 7)
BATCH_SIZES = (1, 7, 1 << 20)
NUM_WALKS = 48

Counts = Counter[tuple[int, Visit]]


def flat_visits(graph: WalkGraph, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {
        name: torch.zeros(graph.parameters[name].numel(), dtype=dtype) for name in graph.prunable
    }


def reference_visits(reference: Reference, walks: range) -> Counts:
    return Counter((walk, visit) for walk in walks for visit in reference.walk(walk))


def new_visits(
    engine: CpuEngine,
    walks: range,
    visited: dict[str, torch.Tensor],
    *,
    batch_size: int = 1 << 20,
) -> Counts:
    listed = engine.walk(walks, visited, first_listed=0, batch_size=batch_size)
    names, first_numbers = zip(*engine.graph.first_numbers.items(), strict=True)
    counts: Counts = Counter()
    for weight, walk in zip(*(numbers.tolist() for numbers in listed), strict=True):
        parameter = bisect_right(first_numbers, weight) - 1
        counts[walk, Visit(names[parameter], weight - first_numbers[parameter])] += 1
    return counts


def check_recordings(engine: CpuEngine, walks: range, visits: Counts, *, batch_size: int) -> None:
    """Check that the engine counts, marks and finds new what `visits` lists."""
    graph = engine.graph
    counts, marks = flat_visits(graph, torch.int32), flat_visits(graph, torch.uint8)
    for recording, recorded in (("count", counts), ("mark", marks)):
        engine.walk(
            walks,
            recorded,
            recording=recording,  # type: ignore[arg-type]
            batch_size=batch_size,
        )
    expected = flat_visits(graph, torch.int32)
    for (_, visit), count in visits.items():
        expected[visit.parameter][visit.weight] += count
    for name in graph.prunable:
        assert counts[name].equal(expected[name])
        assert marks[name].equal((expected[name] > 0).to(torch.uint8))
        marks[name] *= torch.arange(len(marks[name])) % 2 == 0
    assert new_visits(engine, walks, marks) == Counter(
        {
            (walk, visit): count
            for (walk, visit), count in visits.items()
            if not marks[visit.parameter][visit.weight]
        }
    )


@pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda options: "-".join(map(str, options.values()))
)
def test_engine_walks_as_the_reference(options: dict[str, Any], num_graphs: int) -> None:
    for seed in range(OPTIONS.index(options), num_graphs, len(OPTIONS)):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng)
        options["seed"] = int(rng.integers(2**64, dtype=np.uint64))
        first = int(rng.choice([0, 1, 2**32 - 9, 2**40 + 1]))
        step = int(rng.choice([1, 2]))
        walks = range(first, first + step * NUM_WALKS, step)
        expected = reference_visits(Reference(graph, **options), walks)
        engines = {
            num_threads: CpuEngine(graph, Options(**options), num_threads=num_threads)
            for num_threads in NUM_THREADS
        }
        for num_threads, batch_size in product(NUM_THREADS, BATCH_SIZES):
            visited = flat_visits(graph, torch.uint8)
            visits = new_visits(engines[num_threads], walks, visited, batch_size=batch_size)
            assert visits == expected, f"graph {seed}, {num_threads=}, {batch_size=}"
        engine = engines[int(rng.choice(NUM_THREADS))]
        check_recordings(engine, walks, expected, batch_size=int(rng.choice(BATCH_SIZES)))


def dense_graph(weight: torch.Tensor) -> WalkGraph:
    """One link from the inputs to the outputs of a linear layer."""
    num_targets, num_sources = weight.shape
    return WalkGraph(
        spaces=(Space("input", num_sources), Space("output", num_targets)),
        links=(
            WeightedLink(0, 1, "weight", 1, num_targets, num_sources, 1, (0, num_sources, 1, 1)),
        ),
        entries=(0,),
        exits=(1,),
        parameters={"weight": weight},
        prunable=("weight",),
    )


def dense_engine(graph: WalkGraph, power: Literal[1, 0, 2, -1] = 1) -> CpuEngine:
    return CpuEngine(graph, Options(seed=7, power=power), num_threads=1)


@pytest.mark.parametrize("power", [1, 0, 2, -1])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_extreme_magnitudes_have_the_masses_of_the_reference(
    dtype: torch.dtype, power: Literal[1, 0, 2, -1]
) -> None:
    info = torch.finfo(dtype)
    largest, smallest = info.max, info.smallest_normal * info.eps
    for values in (
        [largest, largest / 2, smallest, -smallest, 0.0, 1.0],
        [smallest, 2 * smallest, 3 * smallest, 0.0, 0.0, smallest],
        [largest, largest, -largest, largest / 2, largest / 4, 0.0],
    ):
        graph = dense_graph(torch.tensor(values, dtype=torch.float64).to(dtype).reshape(2, 3))
        expected = reference_visits(Reference(graph, seed=7, power=power), range(300))
        engine = dense_engine(graph, power)
        assert new_visits(engine, range(300), flat_visits(graph, torch.uint8)) == expected


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_weights_that_are_not_finite_are_an_error_that_names_the_parameter(
    dtype: torch.dtype, bad: float
) -> None:
    weight = torch.ones(2, 3, dtype=dtype)
    weight[1, 2] = bad
    message = (
        "parameter 'weight' must hold finite weights, got NaN or infinity. Initialise it; walks "
        "pass through it even where it is excluded."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        dense_engine(dense_graph(weight))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.float8_e4m3fn])
def test_other_weights_walk_as_float32(dtype: torch.dtype) -> None:
    weight = torch.tensor([[-4, 2, 0], [1, 0, 8]]).to(dtype)
    visits = [
        new_visits(dense_engine(graph), range(300), flat_visits(graph, torch.uint8))
        for graph in map(dense_graph, (weight, weight.float()))
    ]
    assert visits[0] == visits[1]


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_weights_walk_by_their_magnitude(dtype: torch.dtype) -> None:
    weight = torch.tensor([[-4, 3 + 4j, 0], [1j, 0, 8 - 6j]], dtype=dtype)
    visits = [
        new_visits(dense_engine(graph), range(300), flat_visits(graph, torch.uint8))
        for graph in map(dense_graph, (weight, weight.abs()))
    ]
    assert visits[0] == visits[1]


def test_an_exception_while_loading_ends_the_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: LinkLoader, index: int) -> _core.LinkBuffers:
        raise KeyboardInterrupt

    graph = dense_graph(torch.ones(2, 3))
    engine = dense_engine(graph)
    monkeypatch.setattr(LinkLoader, "__call__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        dense_engine(graph)
    with pytest.raises(KeyboardInterrupt):
        engine.walk(range(9), {}, batch_size=9)


def test_visits_outlive_what_returned_them() -> None:
    graph = dense_graph(torch.ones(2, 3))
    visits = flat_visits(graph, torch.uint8)
    _, walks = dense_engine(graph).walk(range(9), visits, first_listed=0, batch_size=9)
    assert sorted(walks.tolist()) == list(range(9))


def test_weights_that_were_replaced_are_kept_until_the_engine_is_gone() -> None:
    parameter = torch.nn.Parameter(torch.rand(40, 30))
    graph = dense_graph(parameter)  # type: ignore[arg-type]
    engine = dense_engine(graph)
    expected = engine.flow(backward=False).units[1]
    parameter.data = torch.zeros(40, 30)
    np.testing.assert_array_equal(engine.flow(backward=False).units[1], expected)
