from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def printed_by(name: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", "--tiny"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train_mnist1d", "train_digits"])
def test_example_prints_a_row_for_each_method_and_density(name: str) -> None:
    header, *rows = printed_by(name)
    assert header.split() == ["method", "density", "test", "accuracy", "active", "units", "seconds"]
    assert [row.split()[0] for row in rows] == ["dense", "PHEW", "random", "PHEW", "random"]


@pytest.mark.slow
def test_sparse_networks_learn_what_held_ones_do_in_less_memory() -> None:
    lines = printed_by("train_sparse")
    assert len(lines) == 8
    for header, *rows in (lines[:4], lines[4:]):
        assert "test accuracy  ms a step  training, kB  file, kB" in header
        assert [row.split()[0] for row in rows] == ["dense", "held", "sparse"]
        dense, held, sparse = (
            [float(cell.strip("%,").replace(",", "")) for cell in row.split()[1:] if cell != "±"]
            for row in rows
        )
        accuracy, deviation, _, training, file = range(5)
        # Sums in another order may change what is predicted for a few of some hundred samples.
        assert sparse[accuracy] == pytest.approx(held[accuracy], abs=max(held[deviation], 2))
        for size in (training, file):
            assert held[size] == pytest.approx(dense[size], rel=0.01)
            assert sparse[size] < 0.17 * dense[size]
