from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import coverage
import covered
import end_to_end
import pytest
from covered import Row, cover

import phew
from phew import _core

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    """The lines of JSON that all benchmarks print in their quick mode."""
    result = subprocess.run(
        [sys.executable, BENCHMARKS, "--quick", "--json"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def rows_of(benchmark: str, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = [line for line in lines if line.pop("benchmark") == benchmark]
    for row in rows:
        assert row.pop("environment")["phew"] == phew.__version__
    return rows


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


def test_tables_and_the_bound_are_measured(lines: list[dict[str, Any]]) -> None:
    for row in rows_of("tables", copy.deepcopy(lines)):
        assert row["num_weights"] == 61_470
        assert min(row["measured_share"], row["tabled_share"]) > 0
    for row in rows_of("bound", copy.deepcopy(lines)):
        assert row["hops_per_second"] > 1e6


def test_each_model_is_captured_and_pruned_and_trained(lines: list[dict[str, Any]]) -> None:
    rows = rows_of("coverage", copy.deepcopy(lines))
    assert len(rows) == 6
    for row in rows:
        assert row["failure"] is None
        assert row["num_weights"] > 1000
        assert row["num_links"] > 5
        assert row["approximations"] == []
        assert row["unreached"] == {}
        assert not row["without_gradient"]
        assert min(row[f"{each}_seconds"] for each in ("capture", "forward", "prune")) > 0
    assert "6 models, 0 failed" in coverage.tables([Row(**row) for row in rows])


def test_a_model_that_fails_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def build() -> None:
        raise RuntimeError("no such layer")

    entry = covered.ZOO["misc/mlp"]._replace(build=build)
    monkeypatch.setitem(covered.ZOO, "misc/mlp", entry)
    assert cover("misc/mlp") == Row("misc/mlp", failure="RuntimeError: no such layer")
