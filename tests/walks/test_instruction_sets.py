"""The engine's results are the same whatever instructions of the processor it uses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from phew import _core

USED = "from phew import _core; print(_core.instruction_set())"
MASKS = """
import hashlib
import torch
import phew
from phew.models import lenet5

for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
    torch.manual_seed(0)
    model = lenet5().to(dtype)
    graph = phew.capture(model, torch.zeros(1, 1, 28, 28, dtype=dtype))
    for power in (1, 0, 2, -1):
        for fork in ("uniform", "mass"):
            masks = phew.sample_masks(graph, density=0.3, power=power, fork=fork)
            digest = hashlib.sha256(b"".join(mask.numpy().tobytes() for mask in masks.values()))
            print(masks.num_walks, digest.hexdigest())
"""


def run(script: str, instruction_set: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        # In the root of a clone, Python would import phew's sources, which have no extension.
        cwd=Path(__file__).parent,
        env={**os.environ, "PHEW_INSTRUCTION_SET": instruction_set},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_masks_are_the_same_for_all_instruction_sets() -> None:
    results = {}
    for instruction_set in _core.instruction_sets():
        result = run(f"{USED}\n{MASKS}", instruction_set)
        assert result.returncode == 0, result.stderr
        used, *masks = result.stdout.splitlines()
        assert used == instruction_set
        assert len(masks) == 32
        results[instruction_set] = masks
    assert "baseline" in results
    assert all(masks == results["baseline"] for masks in results.values())


def test_the_fastest_is_used_if_none_is_chosen() -> None:
    result = run(USED, "")
    assert result.stdout.splitlines()[0] == _core.instruction_sets()[-1]


def test_an_instruction_set_that_the_processor_lacks_is_an_error() -> None:
    result = run(USED, "avx1024")
    assert result.returncode != 0
    assert "PHEW_INSTRUCTION_SET must be one of baseline" in result.stderr
    assert "on this processor, got avx1024." in result.stderr
