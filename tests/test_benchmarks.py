from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import covered
import pytest
from covered import Row, cover

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def tiny() -> tuple[list[dict[str, Any]], str]:
    """The lines that all benchmarks print in their tiny mode, and their tables."""
    result = subprocess.run(
        [sys.executable, BENCHMARKS, "--tiny"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()], result.stderr


def test_each_method_prints_a_line_of_json_and_a_row_of_the_table(
    tiny: tuple[list[dict[str, Any]], str],
) -> None:
    lines, tables = tiny
    rows = [line for line in lines if line["benchmark"] == "against_reference"]
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
        assert row["environment"]["threads"] == max_threads
        assert f"| lenet5 | {row['method']} |" in " ".join(tables.split())


def test_each_model_is_captured_and_pruned_and_trained(
    tiny: tuple[list[dict[str, Any]], str],
) -> None:
    lines, tables = tiny
    rows = [line for line in lines if line["benchmark"] == "coverage"]
    assert len(rows) == 6
    for row in rows:
        assert row["failure"] is None
        assert row["num_weights"] > 1000
        assert row["num_links"] > 5
        assert row["approximations"] == []
        assert row["unreached"] == {}
        assert not row["without_gradient"]
        assert min(row[f"{each}_seconds"] for each in ("capture", "forward", "prune")) > 0
        assert f"| {row['model']} |" in " ".join(tables.split())
    assert "6 models, 0 failed" in tables


def test_a_model_that_fails_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def build() -> None:
        raise RuntimeError("no such layer")

    entry = covered.ZOO["misc/mlp"]._replace(build=build)
    monkeypatch.setitem(covered.ZOO, "misc/mlp", entry)
    assert cover("misc/mlp") == Row("misc/mlp", failure="RuntimeError: no such layer")
