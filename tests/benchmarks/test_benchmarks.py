from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import end_to_end
import forecast
import hold
import large
import model_coverage
import numpy as np
import peers
import pytest
import ranks
import rescaling
import scaling
import torch
from rivals.layered_graph import LayeredGraph
from rivals.peer_engines import PEERS
from support.fits import fit
from support.processes import Failure, within_limits
from zoo.covered import Row, cover
from zoo.models import ZOO

import phew
from phew import _core
from phew.walks.cpu_engine import CpuEngine
from phew.walks.options import Options

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    """The lines of JSON that all benchmarks print in their quick mode."""
    result = subprocess.run(
        [sys.executable, BENCHMARKS, "--quick", "--json"],
        capture_output=True,
        text=True,
        timeout=600,  # for one that hangs: a busy machine takes minutes
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def rows_of(benchmark: str, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = [line for line in lines if line.pop("benchmark") == benchmark]
    for row in rows:
        assert row.pop("environment")["phew"] == phew.__version__
    return rows


@pytest.mark.slow
def test_each_method_is_measured_beside_the_engine(lines: list[dict[str, Any]]) -> None:
    rows = rows_of("end_to_end", copy.deepcopy(lines))
    engine = rows[0]
    max_threads = engine["num_threads"]
    assert [(row["method"], row["num_threads"]) for row in rows] == [
        ("engine", max_threads),
        *[("engine, walks alone", number) for number in sorted({1, max_threads}, reverse=True)],
        ("reference", 1),
        ("PyTorch", max_threads),
    ]
    for row in rows:
        assert row["network"] == "lenet5"
        assert row["num_weights"] == 61_470
        assert row["num_hops"] == 5 * row["num_walks"]
        assert row["seconds"] > row["capture_seconds"] >= 0
        assert row["ratio"] == row["seconds"] / engine["seconds"]
        assert row["hops_per_second"] > 0
        assert row["peak_memory"] >= 0
    table = end_to_end.tables([end_to_end.Row(**row) for row in rows])
    for row in rows:
        assert f"| lenet5 | {row['method']} |" in " ".join(table.split())


@pytest.mark.slow
def test_hops_are_the_same_for_all_instruction_sets_and_threads(
    lines: list[dict[str, Any]],
) -> None:
    rows = rows_of("hops", copy.deepcopy(lines))
    assert {row["instruction_set"] for row in rows} == set(_core.instruction_sets())
    assert len({(row["digest"], row["num_visited"]) for row in rows}) == 1
    for row in rows:
        assert row["num_hops"] == 5 * row["num_walks"]
        assert row["hops_per_second"] > 1e6
        assert row["share_of_bound"] > 0


@pytest.mark.slow
def test_tables_and_the_bound_are_measured(lines: list[dict[str, Any]]) -> None:
    for row in rows_of("edge_tables", copy.deepcopy(lines)):
        assert row["num_weights"] == 61_470
        assert min(row["measured_share"], row["tabled_share"]) > 0
    for row in rows_of("bound", copy.deepcopy(lines)):
        assert row["hops_per_second"] > 1e6


@pytest.mark.slow
def test_time_and_memory_are_measured_as_networks_grow(lines: list[dict[str, Any]]) -> None:
    rows = rows_of("scaling", copy.deepcopy(lines))
    measured = [scaling.Row(**row) for row in rows if "density" in row]
    threads = [scaling.Threads(**row) for row in rows if "digest" in row]
    growing, denser = scaling.growing_and_denser(measured)
    assert [row.num_weights for row in growing] == [100_352, 316_808, 1_002_528]
    assert [row.density for row in denser] == [0.1, 0.03, 0.01]
    for row in measured:
        assert row.seconds > row.capture_seconds > 0
        assert row.largest_link in (row.num_weights / 8, 9 * 512**2)
    assert threads[0].num_threads == threads[0].speed_up == 1
    assert len({row.digest for row in threads}) == 1
    assert "| seconds against walks, vgg19_bn " in scaling.tables([*measured, *threads])


@pytest.mark.slow
def test_checkpoints_are_pruned_where_they_are_on_disk(lines: list[dict[str, Any]]) -> None:
    rows = [large.Row(**row) for row in rows_of("large", copy.deepcopy(lines))]
    assert [row.num_weights for row in rows] == [116_736, 434_176]
    for row in rows:
        assert row.num_hops == 9 * row.num_walks
        assert row.num_passes == row.expected_passes == 6
        assert abs(row.density - 0.1) < 1e-3
        assert row.peak_memory >= row.memory_before > 0
    assert "| 434,176 |" in large.tables(rows)


@pytest.mark.slow
def test_ranks_send_a_bit_a_weight(lines: list[dict[str, Any]]) -> None:
    (row,) = (ranks.Row(**row) for row in rows_of("ranks", copy.deepcopy(lines)))
    assert row.num_weights == 61_470
    assert row.bytes_of_marks == -(-row.num_weights // 8)
    # Some kept weights are listed, each with two numbers of eight bytes.
    assert 0 < row.bytes_of_visits < 16 * 0.1 * row.num_weights / 3
    assert row.bytes_of_others > 0
    assert row.seconds_alone > 0 < row.seconds
    assert "| lenet5  |" in ranks.tables([row])


@pytest.mark.slow
def test_forecasts_are_as_near_as_is_allowed_for(lines: list[dict[str, Any]]) -> None:
    rows = [forecast.Row(**row) for row in rows_of("forecast", copy.deepcopy(lines))]
    assert [(row.granularity, row.num_cases) for row in rows] == [("weight", 18), ("kernel", 18)]
    for row in rows:
        assert 0 < row.mean_error < row.worst_error
        assert row.worst_of_allowed < 1
    assert "36 cases." in forecast.tables(rows)


def test_hops_of_a_walk_through_a_language_model_are_as_said() -> None:
    shape = large.QUICK[0]
    model = shape.model().to_empty(device="cpu")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    graph = phew.capture(model)
    counts = {name: torch.zeros(graph.parameters[name].shape).int() for name in graph.prunable}
    CpuEngine(graph, Options(), num_threads=1).walk(
        range(100), counts, batch_size=50, recording="count"
    )
    assert sum(int(count.sum()) for count in counts.values()) == 100 * shape.num_hops


def test_an_exponent_is_fitted_with_its_interval() -> None:
    # Logarithms 0 1 0 1 2 of 0 1 2 3 4: slope 0.4, squared residuals of 1.2 in all.
    line = fit([1, 10, 100, 1_000, 10_000], [1, 10, 1, 10, 100])
    assert line.exponent == pytest.approx(0.4)
    assert line.factor == pytest.approx(1)
    assert line.margin == pytest.approx(3.1824 * (1.2 / 3 / 10) ** 0.5, rel=1e-4)


@pytest.mark.slow
def test_peers_walk_the_same_graph_in_proportion_to_its_weights(
    lines: list[dict[str, Any]],
) -> None:
    rows = rows_of("peers", copy.deepcopy(lines))
    assert [row["engine"] for row in rows] == ["phew", *PEERS]
    for row in rows[:2]:  # the others are optional
        assert row["failure"] is None
        assert row["follows_weights"]
        assert row["num_hops"] == 3 * row["num_walks"]
        assert row["hops_per_second"] >= row["hops_per_second_in_all"] > 0
    assert rows[0]["ratio"] == 1
    table = peers.tables([peers.Row(**row) for row in rows])
    for row in rows:
        assert row["engine"] in table


def test_walks_off_the_edges_or_regardless_of_weights_are_noticed() -> None:
    graph = LayeredGraph((2, 2, 1), np.array([1, 3, 3, 1, 1, 1], dtype=np.float32))
    evenly = np.array([[0, 2, 4], [0, 3, 4], [1, 2, 4], [1, 3, 4]] * 1000)
    assert not graph.follow_weights(graph.hops(evenly))
    assert graph.follow_weights(graph.hops(evenly[[0, 1, 1, 1, 2, 2, 2, 3] * 100]))
    assert graph.hops(np.array([[0, 1, 2], [0, 2, -1], [0, 2, 4]])).num_strays == 1


@pytest.mark.parametrize(
    ("function", "argument", "seconds", "reason"),
    [
        (time.sleep, 60, 1.0, "not done after 1 s"),
        (bytearray, 2**40, 60.0, "more than 64 GiB"),
        (os._exit, 3, 60.0, "crashed with exit code 3"),
        (float, "x", 60.0, "ValueError: could not convert string to float: 'x'"),
    ],
)
def test_a_process_that_fails_says_why(
    function: Callable[[Any], Any], argument: Any, seconds: float, reason: str
) -> None:
    with pytest.raises(Failure, match=reason):
        within_limits(seconds, 2**36, {}, function, argument)


@pytest.mark.slow
def test_training_under_masks_is_measured_beside_dense_training(
    lines: list[dict[str, Any]],
) -> None:
    rows = rows_of("hold", copy.deepcopy(lines))
    nums_threads = sorted({1, torch.get_num_threads()})
    assert [(row["num_threads"], row["optimizer"], row["way"]) for row in rows] == [
        (num_threads, optimizer, way)
        for num_threads in nums_threads
        for optimizer in hold.OPTIMIZERS
        for way in ("dense", "held", "torch.nn.utils.prune")
    ]
    for row in rows:
        assert row["num_weights"] == 61_470
        assert row["seconds"] > 0
        assert (row["ratio"] == 1) == (row["way"] == "dense")


@pytest.mark.slow
def test_a_perceptron_trains_once_its_weights_are_rescaled(lines: list[dict[str, Any]]) -> None:
    rows = [rescaling.Row(**row) for row in rows_of("rescaling", copy.deepcopy(lines))]
    assert len(rows) == 2 * 2 * len(rescaling.WAYS)
    for row in rows:
        assert (row.accuracy < 0.2) == (row.optimizer == "SGD" and row.way == "none")
        assert row.accuracy > 0.7 or row.way == "none"
    assert "auto - none" in rescaling.tables(rows)


@pytest.mark.slow
def test_each_model_is_captured_and_pruned_and_trained(lines: list[dict[str, Any]]) -> None:
    rows = rows_of("model_coverage", copy.deepcopy(lines))
    assert len(rows) == 6
    for row in rows:
        assert row["failure"] is None
        assert row["num_weights"] > 1000
        assert row["num_links"] > 5
        assert row["approximations"] == []
        assert row["unreached"] == {}
        assert not row["without_gradient"]
        assert min(row[f"{each}_seconds"] for each in ("capture", "forward", "prune")) > 0
    assert "6 models, 0 failed" in model_coverage.tables([Row(**row) for row in rows])


def test_a_model_that_fails_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def build() -> torch.nn.Module:
        raise RuntimeError("no such layer")

    entry = ZOO["misc/mlp"]._replace(build=build)
    monkeypatch.setitem(ZOO, "misc/mlp", entry)
    assert cover("misc/mlp") == Row("misc/mlp", failure="RuntimeError: no such layer")
