from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train_mnist1d", "train_digits"])
def test_example_prints_a_row_for_each_method_and_density(name: str) -> None:
    result = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", "--tiny"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["method", "density", "test", "accuracy", "active", "units", "seconds"]
    assert [row.split()[0] for row in rows] == ["dense", "PHEW", "random", "PHEW", "random"]
