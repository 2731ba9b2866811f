from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


RECIPES = {
    "recipe_torch": ("PyTorch", 10),
    "recipe_lightning": ("Lightning", 10),
    "recipe_transformers": ("transformers", 10),
    "recipe_peft": ("PEFT", 30),
    "recipe_timm": ("timm", 10),
}
"""Scripts, and the names and densities that they print."""

# Most of the time is that of imports, which recipes share in one process. Libraries that import
# torchvision need its operators (see benchmarks/zoo).
RUN_RECIPES = """
import runpy, sys, traceback
from zoo import torchvision_operators
for name in sys.argv[1:]:
    try:
        runpy.run_path(f"{name}.py", run_name="__main__")
    except Exception:
        traceback.print_exc(file=sys.stdout)
"""


def printed_by(name: str) -> list[str]:
    return printed([f"{name}.py", "--tiny"])


def printed(arguments: Sequence[str]) -> list[str]:
    result = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=EXAMPLES,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent / "benchmarks")},
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


@pytest.fixture(scope="module")
def recipe_lines() -> list[str]:
    return printed(["-c", RUN_RECIPES, *RECIPES])


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_resumed_run_is_the_straight_one(recipe: str, recipe_lines: list[str]) -> None:
    assert outcome_of(*RECIPES[recipe]) in recipe_lines


@pytest.mark.slow
def test_merged_adapters_are_zeroed_where_masks_are_applied_again(recipe_lines: list[str]) -> None:
    (line,) = (line for line in recipe_lines if line.startswith("merged: "))
    assert not line.startswith("merged: 0 ")
    assert line.endswith(" pruned weights are not zero, masks applied again: 0")


@pytest.mark.slow
def test_a_resumed_run_of_sharded_weights_is_the_straight_one() -> None:
    assert printed_by("recipe_fsdp2") == [outcome_of("FSDP2", 10)]


def outcome_of(name: str, density: int) -> str:
    return (
        f"{name}: {density}% kept, 0 pruned weights are not zero, "
        "0 values differ between resumed and straight"
    )
