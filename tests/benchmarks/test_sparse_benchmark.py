from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sparse_benchmark
import sparse_tables
import torch
from rivals.sparse_inference import DENSE, PHEW, PHEW_COMPILED, WAYS, version_of
from rivals.sparse_networks import linear, masked_layer
from rivals.sparse_training import TRAINED
from sparse_tables import LAYER, NETWORK, TRAINING, Row, crossing
from support.interleaved import threads, time_in_turns
from torch import nn

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """The rows of the quick mode, from a process of its own, as users run it."""
    result = subprocess.run(
        [sys.executable, BENCHMARKS, "sparse", "--quick", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    lines: list[dict[str, Any]] = [json.loads(line) for line in result.stdout.splitlines()]
    assert {line.pop("benchmark") for line in lines} == {"sparse"}
    for line in lines:
        del line["environment"]
    return [Row(**line) for line in lines]


@pytest.mark.slow
def test_layers_networks_and_training_are_measured_in_all_ways(rows: list[Row]) -> None:
    def ways(kind: str) -> set[str]:
        return {row.way for row in rows if row.kind == kind}

    assert ways(LAYER) == set(WAYS) - {PHEW_COMPILED}
    assert ways(NETWORK) == set(sparse_benchmark.RUNTIMES)
    assert ways(TRAINING) == set(TRAINED)
    packages = {way: WAYS[way].package for way in WAYS} | {way: TRAINED[way][0] for way in TRAINED}
    for row in rows:
        package = packages[row.way]
        if package and version_of(package) is None:
            assert row.failure == "not installed"
        if not package:
            assert row.failure is None
        if row.failure is None:
            assert row.seconds > 0
            assert row.gain > 0
        if row.way == DENSE:
            assert row.gain == 1
            assert row.error == 0
    assert {row.operations for row in rows if row.kind != NETWORK} == {None}
    for row in rows:
        if row.kind == NETWORK:
            # The last layer, of which PHEW keeps most, stays dense where few weights are kept.
            assert row.operations is not None
            assert 0.95 * row.density <= row.operations <= 1.2 * row.density


@pytest.mark.slow
def test_the_tables_have_a_line_for_each_layer_and_network(rows: list[Row]) -> None:
    text = sparse_tables.tables(rows)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for subject in ("Linear 64 x 64 | 1 | 1 |", "LeNet-300-100 | 1 | 1 | 10% | 10% |"):
        assert any(line.startswith(f"| {subject}") for line in lines), subject
    missing = {row.way for row in rows if row.failure == "not installed"}
    for way in missing:
        assert f"- {way}: not installed." in lines


@pytest.mark.slow
def test_gains_and_crossing_points_are_drawn(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from support import plots

    (tmp_path / "figures").mkdir()
    monkeypatch.setattr(plots, "DOCS", tmp_path)
    sparse_tables.plot(rows)
    assert (tmp_path / "figures" / "sparse.svg").read_text().startswith("<?xml")


def test_a_way_with_another_result_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = masked_layer(*_layer_density_example())
    wrong = WAYS[PHEW]
    monkeypatch.setitem(
        WAYS, PHEW, type(wrong)(lambda masked, number: lambda: masked.model(masked.example) + 0.1)
    )
    with pytest.raises(AssertionError, match="phew: an error of"):
        sparse_benchmark.compare(Row(LAYER, "", 1, 0.5, 1), problem, (DENSE, PHEW), 0.0)


def test_a_package_that_fails_is_a_row_and_phew_that_fails_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> Any:
        raise ValueError("no such operator")

    problem = masked_layer(*_layer_density_example())
    row = Row(LAYER, "", 1, 0.5, 1)
    monkeypatch.setitem(WAYS, "other", type(WAYS[DENSE])(fail, package="torch"))
    _, other = sparse_benchmark.compare(row, problem, (DENSE, "other"), 0.0)
    assert other.failure == "ValueError: no such operator"
    assert other.version == version_of("torch")
    monkeypatch.setitem(WAYS, PHEW, type(WAYS[DENSE])(fail))
    with pytest.raises(ValueError, match="no such operator"):
        sparse_benchmark.compare(row, problem, (DENSE, PHEW), 0.0)


def test_masked_layers_keep_the_share_that_is_asked_for() -> None:
    layer, density, example = _layer_density_example()
    problem = masked_layer(layer, density, example)
    weight = problem.model.get_parameter("0.weight")
    assert int(weight.count_nonzero()) == round(density * weight.numel())
    assert problem.with_batch(3).example.shape == (3, 8)


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A function that lets seconds pass, on a clock that nothing else moves."""
    now = 0.0

    def pass_time(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    return pass_time


def test_ways_are_timed_in_turns_and_compared_round_by_round(
    pass_time: Callable[[float], None],
) -> None:
    calls: list[str] = []

    def take(name: str, seconds: float) -> None:
        calls.append(name)
        pass_time(seconds)

    ways = {"fast": lambda: take("fast", 0.004), "slow": lambda: take("slow", 0.012)}
    timings = time_in_turns(ways, "slow", seconds=0.0)
    assert timings["slow"].gain == 1
    assert timings["fast"].gain == pytest.approx(3)
    assert timings["fast"].seconds == pytest.approx(0.004)
    # Two calls of each to see how long they take, then three rounds, each the other way round.
    turns = ["slow", "fast", "fast", "slow", "slow", "fast"]
    assert calls == ["fast"] * 2 + ["slow"] * 2 + turns


def test_short_calls_are_repeated_in_a_turn(pass_time: Callable[[float], None]) -> None:
    calls: list[int] = []

    def take_a_microsecond() -> None:
        calls.append(0)
        pass_time(1e-6)

    time_in_turns({"short": take_a_microsecond}, "short", seconds=0.0)
    # Two calls to see how long they take, then three rounds of at most 1000 calls.
    assert len(calls) == 2 + 3 * 1000


def test_numbers_of_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_crossings_are_found_between_densities() -> None:
    assert crossing([(0.1, 4.0), (0.4, 0.25)]) == pytest.approx(0.2)
    assert crossing([(0.5, 2.0), (0.1, 4.0)]) == 0.5  # faster wherever it was measured
    assert crossing([(0.5, 0.5), (0.1, 0.9)]) is None
    # A gain at a high density that is lost again at lower ones does not count.
    assert crossing([(0.01, 2.0), (0.02, 0.5), (0.1, 3.0)]) == pytest.approx(0.01 * 2**0.5)


def _layer_density_example() -> tuple[nn.Module, float, torch.Tensor]:
    layer, example = linear(8)
    return layer, 0.25, example
