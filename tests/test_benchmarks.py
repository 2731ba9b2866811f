from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_each_method_prints_a_line_of_json_and_a_row_of_the_table() -> None:
    result = subprocess.run(
        [sys.executable, BENCHMARKS, "--tiny"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    engine = rows[0]
    max_threads = engine["num_threads"]
    assert [(row["method"], row["num_threads"]) for row in rows] == [
        ("engine", max_threads),
        *[("engine, walks alone", number) for number in sorted({1, max_threads}, reverse=True)],
        ("reference", 1),
        ("PyTorch", max_threads),
    ]
    for row in rows:
        assert row["benchmark"] == "against_reference"
        assert row["network"] == "lenet5"
        assert row["num_weights"] == 61_470
        assert row["num_hops"] == 5 * row["num_walks"]
        assert row["seconds"] > row["capture_seconds"] >= 0
        assert row["ratio"] == row["seconds"] / engine["seconds"]
        assert row["hops_per_second"] > 0
        assert row["peak_memory"] >= 0
        assert row["environment"]["threads"] == max_threads
        assert f"| lenet5 | {row['method']} |" in " ".join(result.stderr.split())
