"""Every engine, on each device, makes the walks of the reference."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import product
from typing import Literal, get_args

import numpy as np
import pytest
import torch
from random_graphs import DTYPES, random_graph
from walk_engines import Counts, EngineOn, new_visits, unvisited
from walk_options import graph_seeds, with_options

from phew import _core
from phew.graph import Space, WalkGraph, WeightedLink
from phew.reference import Reference
from phew.walks.engine import Engine
from phew.walks.link_loader import LinkLoader
from phew.walks.options import Options, Power

BATCH_SIZES = (1, 7, 1 << 20)
NUM_WALKS = 48

with_powers = pytest.mark.parametrize("power", get_args(Power))


def reference_visits(graph: WalkGraph, options: Options, walks: range) -> Counts:
    reference = Reference(graph, **vars(options))
    return Counter((walk, visit) for walk in walks for visit in reference.walk(walk))


def check_recordings(engine: Engine, walks: range, visits: Counts, *, batch_size: int) -> None:
    """Check that the engine counts, marks and finds new what `visits` lists."""
    graph = engine.graph
    counts = unvisited(graph, torch.int32, engine.device)
    marks = unvisited(graph, torch.uint8, engine.device)
    engine.walk(walks, counts, recording="count", batch_size=batch_size)
    engine.walk(walks, marks, recording="mark", batch_size=batch_size)
    expected = unvisited(graph, torch.int32, torch.device("cpu"))
    for (_, visit), count in visits.items():
        expected[visit.parameter][visit.weight] += count
    for name in graph.prunable:
        assert counts[name].cpu().equal(expected[name])
        assert marks[name].cpu().equal((expected[name] > 0).to(torch.uint8))
        marks[name][1::2] = 0
    is_marked = {name: flags.tolist() for name, flags in marks.items()}
    assert new_visits(engine, walks, marks) == Counter(
        {
            (walk, visit): count
            for (walk, visit), count in visits.items()
            if not is_marked[visit.parameter][visit.weight]
        }
    )


@with_options
def test_engine_walks_as_the_reference(options: Options, engine: EngineOn, num_graphs: int) -> None:
    for number in graph_seeds(options, num_graphs):
        rng = np.random.default_rng(number)
        graph = random_graph(rng)
        seeded = replace(options, seed=int(rng.integers(2**64, dtype=np.uint64)))
        first = int(rng.choice([0, 1, 2**32 - 9, 2**40 + 1]))
        step = int(rng.choice([1, 2]))
        walks = range(first, first + step * NUM_WALKS, step)
        expected = reference_visits(graph, seeded, walks)
        engines = {
            num_threads: engine(graph, seeded, num_threads=num_threads)
            for num_threads in engine.num_threads
        }
        for num_threads, batch_size in product(engines, BATCH_SIZES):
            visits = new_visits(engines[num_threads], walks, batch_size=batch_size)
            assert visits == expected, f"graph {number}, {num_threads=}, {batch_size=}"
        chosen = engines[int(rng.choice(engine.num_threads))]
        check_recordings(chosen, walks, expected, batch_size=int(rng.choice(BATCH_SIZES)))


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


def dense_visits(engine: EngineOn, weight: torch.Tensor) -> Counts:
    return new_visits(engine(dense_graph(weight), Options(seed=7)), range(300))


@with_powers
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_extreme_magnitudes_have_the_masses_of_the_reference(
    dtype: torch.dtype, power: Literal[1, 0, 2, -1], engine: EngineOn
) -> None:
    info = torch.finfo(dtype)
    largest, smallest = info.max, info.smallest_normal * info.eps
    options = Options(seed=7, power=power)
    for values in (
        [largest, largest / 2, smallest, -smallest, 0.0, 1.0],
        [smallest, 2 * smallest, 3 * smallest, 0.0, 0.0, smallest],
        [largest, largest, -largest, largest / 2, largest / 4, 0.0],
    ):
        graph = dense_graph(torch.tensor(values, dtype=torch.float64).to(dtype).reshape(2, 3))
        expected = reference_visits(graph, options, range(300))
        assert new_visits(engine(graph, options), range(300)) == expected


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_weights_that_are_not_finite_are_an_error_that_names_the_parameter(
    dtype: torch.dtype, bad: float, engine: EngineOn
) -> None:
    weight = torch.ones(2, 3, dtype=dtype)
    weight[1, 2] = bad
    message = (
        "parameter 'weight' must hold finite weights, got NaN or infinity. Initialise it; walks "
        "pass through it even where it is excluded."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        engine(dense_graph(weight), Options())


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.float8_e4m3fn])
def test_other_weights_walk_as_float32(dtype: torch.dtype, engine: EngineOn) -> None:
    weight = torch.tensor([[-4, 2, 0], [1, 0, 8]]).to(dtype)
    assert dense_visits(engine, weight) == dense_visits(engine, weight.float())


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_weights_walk_by_their_magnitude(dtype: torch.dtype, engine: EngineOn) -> None:
    weight = torch.tensor([[-4, 3 + 4j, 0], [1j, 0, 8 - 6j]], dtype=dtype)
    assert dense_visits(engine, weight) == dense_visits(engine, weight.abs())


@pytest.mark.parametrize("scale", [1e200, 1e-200, 2e-308, 1e154])
def test_complex_magnitudes_neither_overflow_nor_vanish(scale: float, engine: EngineOn) -> None:
    weight = torch.tensor([[-4, 3 + 4j, 0], [1j, 0, 8 - 6j]], dtype=torch.complex128)
    magnitudes = torch.tensor([[4, 5, 0], [1, 0, 10]], dtype=torch.float64)
    assert dense_visits(engine, weight * scale) == dense_visits(engine, magnitudes * scale)


def test_an_exception_while_loading_ends_the_walk(
    engine: EngineOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: LinkLoader, index: int) -> _core.LinkBuffers:
        raise KeyboardInterrupt

    graph = dense_graph(torch.ones(2, 3))
    made = engine(graph, Options())
    monkeypatch.setattr(LinkLoader, "__call__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        engine(graph, Options())
    with pytest.raises(KeyboardInterrupt):
        made.walk(range(9), {}, batch_size=9)


def test_visits_outlive_what_returned_them(engine: EngineOn) -> None:
    graph = dense_graph(torch.ones(2, 3))
    visits = unvisited(graph, torch.uint8, engine.device)
    _, walks = engine(graph, Options()).walk(range(9), visits, first_listed=0, batch_size=9)
    assert sorted(walks.tolist()) == list(range(9))


def test_weights_that_were_replaced_are_kept_until_the_engine_is_gone(engine: EngineOn) -> None:
    weight = torch.rand(40, 30, device=engine.device)
    parameter = torch.nn.Parameter(weight)
    made = engine(dense_graph(parameter), Options())
    expected = made.flow(backward=False).units[1]
    parameter.data = torch.zeros_like(weight)
    del weight
    np.testing.assert_array_equal(made.flow(backward=False).units[1], expected)
