"""Capture warns once, at the line of the caller, of approximations and of weights left dense."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import Orthogonal
from torch import nn

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


class Supervised(nn.Module):
    """A network that returns the result of its second head in training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.middle = nn.Linear(8, 16), nn.Linear(16, 16)
        self.head, self.auxiliary = nn.Linear(16, 2), nn.Linear(16, 2)

    def forward(self, inputs: torch.Tensor) -> Any:
        features = self.trunk(inputs).relu()
        auxiliary = self.auxiliary(features)
        result = self.head(self.middle(features).relu())
        return (result, auxiliary) if self.training else result


class LastStep(nn.Module):
    """A recurrent network."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTM(8, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.head(self.cell(inputs)[0][:, -1])
        return result


OFF_EVERY_PATH = "on no path from the example to what the model returns in evaluation mode"


@pytest.mark.parametrize(
    ("model", "example", "name"),
    [
        (Supervised(), EXAMPLE, "auxiliary.weight"),
        (LastStep(), torch.zeros(1, 1, 8), "cell.weight_hh_l0"),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        phew.capture,
        phew.inspect,
        partial(phew.sample_masks, density=0.3),
        partial(baselines.erk, density=0.3),
        analysis.path_kernel_trace,
    ],
)
def test_weights_on_no_path_of_the_example_are_named(
    model: nn.Module, example: torch.Tensor, name: str, call: Callable[..., Any]
) -> None:
    with pytest.warns(phew.LeftDenseWarning) as caught:
        call(model, example)
    assert [str(warning.message) for warning in caught] == [
        f"phew leaves weights dense. {name!r}: {OFF_EVERY_PATH} (pruned where include names it). "
        "Name them in exclude if that is meant."
    ]
    assert [warning.filename for warning in caught] == [__file__]


def test_weights_on_no_path_of_the_example_stay_as_they_are() -> None:
    model = Supervised().train()
    before = model.auxiliary.weight.detach().clone()
    with pytest.warns(phew.LeftDenseWarning):
        masks = phew.prune(model, EXAMPLE, density=0.3)
    assert "auxiliary.weight" not in masks
    assert torch.equal(model.auxiliary.weight, before)
    _, auxiliary = model(torch.randn(4, 8))
    auxiliary.sum().backward()
    assert model.trunk.weight.grad is not None
    assert model.trunk.weight.grad[masks["trunk.weight"]].any()


def test_include_prunes_weights_on_no_path() -> None:
    with pytest.warns(phew.CollapseWarning, match=r"'auxiliary.weight' \(on no path that walks"):
        masks = phew.sample_masks(Supervised(), EXAMPLE, density=0.3, include=["*.weight"])
    assert not masks["auxiliary.weight"].any()


def test_nothing_is_said_where_it_is_meant() -> None:
    graph = phew.capture(Supervised(), EXAMPLE, exclude=["auxiliary.*"])
    assert graph.notes.left_dense == ()
    assert graph.notes.not_prunable["auxiliary.weight"] == "excluded by 'auxiliary.*'"


def test_long_lists_of_names_are_cut() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.ModuleList(nn.Linear(8, 2) for _ in range(9))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            results: list[torch.Tensor] = [head(inputs) for head in self.heads]
            return results[0]

    with pytest.warns(phew.LeftDenseWarning, match=r"'heads.5.weight' and 3 more: on no path"):
        phew.capture(Heads(), EXAMPLE)
