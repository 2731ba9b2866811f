"""Approximations are warned of once, at the line of the caller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import Orthogonal

import phew
from phew import analysis, baselines

EXAMPLE = torch.zeros(1, 8)


@pytest.mark.parametrize(
    "prune", [phew.prune, phew.sample_masks, baselines.magnitude, baselines.synflow]
)
def test_the_warning_points_to_the_caller(prune: Callable[..., Any]) -> None:
    with pytest.warns(phew.ApproximationWarning, match="exact wiring of linalg_qr") as caught:
        prune(Orthogonal(), EXAMPLE, density=0.5)
    assert [warning.filename for warning in caught] == [__file__]


def test_a_comparison_warns_once() -> None:
    methods: dict[str, Callable[..., phew.Masks]] = {
        "walks": phew.sample_masks,
        "magnitude": baselines.magnitude,
    }
    with pytest.warns(phew.ApproximationWarning) as caught:
        analysis.compare(Orthogonal(), EXAMPLE, methods=methods, densities=[0.5, 0.75])
    assert [warning.filename for warning in caught] == [__file__]


def test_a_callers_file_may_be_named_like_phew() -> None:
    file = f"{Path(phew.__file__).parent}_run.py"
    code = compile("phew.prune(model, example, density=0.5)", file, "exec")
    with pytest.warns(phew.ApproximationWarning) as caught:
        exec(code, {"phew": phew, "model": Orthogonal(), "example": EXAMPLE})
    assert [warning.filename for warning in caught] == [file]
