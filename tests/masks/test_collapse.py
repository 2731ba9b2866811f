"""Masks that keep no weight of a parameter are warned of once, at the line of the caller."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_networks import TwoBranches
from torch import nn

import phew
from phew import baselines

EXAMPLE = torch.zeros(1, 8)


def wide_and_narrow() -> nn.Module:
    """A network whose second layer has weights that are far smaller than those of the first."""
    torch.manual_seed(0)
    last = nn.Linear(64, 4)
    with torch.no_grad():
        last.weight.mul_(1e-3)
    return nn.Sequential(nn.Linear(8, 64), nn.ReLU(), last)


def messages(caught: pytest.WarningsRecorder) -> list[str]:
    return [str(warning.message) for warning in caught]


def test_a_baseline_that_leaves_a_layer_without_weights() -> None:
    with pytest.warns(phew.CollapseWarning) as caught:
        masks = baselines.magnitude(wide_and_narrow(), EXAMPLE, density=0.1)
    assert not masks["2.weight"].any()
    assert messages(caught) == [
        "the masks keep no weight of '2.weight' (at density 0.1). Raise the density, or keep "
        "parameters whole with exclude=['2.weight']."
    ]
    assert [warning.filename for warning in caught] == [__file__]


def test_walks_that_leave_a_layer_without_weights() -> None:
    with pytest.warns(phew.CollapseWarning, match=r"'(left|right).weight' \(at density 0.0156\)"):
        phew.sample_masks(TwoBranches(), EXAMPLE, density=1 / 64)


def test_several_densities_are_one_warning() -> None:
    with pytest.warns(phew.CollapseWarning) as caught:
        phew.sample_masks(TwoBranches(), EXAMPLE, densities=[0.5, 1 / 64, 1 / 32])
    assert len(caught) == 1


def test_a_checkpoint(tmp_path: Path) -> None:
    model = TwoBranches()
    safetensors.torch.save_model(model, str(tmp_path / "model.safetensors"))
    with pytest.warns(phew.CollapseWarning, match=r"keep no weight of"):
        phew.prune_checkpoint(model, tmp_path, EXAMPLE, density=1 / 64, out=tmp_path / "out")
