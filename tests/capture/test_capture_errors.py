"""`capture` refuses what it cannot capture, and says why."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import phew


def sparse_model() -> nn.Module:
    model = nn.Linear(4, 4)
    model.weight = nn.Parameter(torch.eye(4).to_sparse())
    return model


def integer_model() -> nn.Module:
    weight = nn.Parameter(torch.ones(2, 2, dtype=torch.int8), requires_grad=False)
    return nn.ParameterDict({"w": weight})


def linear() -> nn.Module:
    return nn.Linear(4, 2)


ROW = torch.zeros(1, 4)


@pytest.mark.parametrize(
    ("build", "inputs", "message"),
    [
        (linear, torch.zeros(1, 5), r"example_inputs must be accepted by the model, got Runtime"),
        (nn.ReLU, ROW, r"model must have prunable weights .*, got none"),
        (
            integer_model,
            ROW,
            r"'w' must be of dtype float32, float64, float16, bfloat16, complex64",
        ),
        (integer_model, ROW, r"or complex128, got torch.int8. Leave it out with exclude=\['w'\]"),
        (sparse_model, ROW, r"parameter 'weight' must be dense, got a sparse tensor"),
    ],
)
def test_what_cannot_be_captured_is_named(
    build: Callable[[], nn.Module], inputs: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        phew.capture(build(), inputs)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor.*:UserWarning")
def test_quantised_weights_are_named() -> None:
    model = nn.Linear(4, 2)
    quantised = torch.quantize_per_tensor(torch.ones(2, 4), 0.1, 0, torch.qint8)
    model.weight = nn.Parameter(quantised, requires_grad=False)
    with pytest.raises(ValueError, match="parameter 'weight' must be dense, got a quantised"):
        phew.capture(model, ROW)


def test_bad_types() -> None:
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got str"):
        phew.capture("resnet", ROW)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"example_inputs must be a tensor, a tuple .*, got list"):
        phew.capture(linear(), [ROW])


class LazyBuffer(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 2)
        self.register_buffer("scale", nn.UninitializedBuffer())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Sequential(linear(), nn.LazyLinear(2)), "parameter '1.weight'"),
        (LazyBuffer, "buffer 'scale'"),
    ],
)
def test_lazy_models_are_to_be_run_first(build: Callable[[], nn.Module], message: str) -> None:
    message += " must be initialised, got a lazy one. Run the model once on example inputs."
    with pytest.raises(ValueError, match=re.escape(message)):
        phew.capture(build(), ROW)


def test_two_parameters_of_one_memory_are_named() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].weight.data = model[0].weight.data
    model[1].bias.data = model[0].bias.data
    message = (
        "parameter '1.weight' must have memory of its own, got that of '0.weight'. "
        "Tie them as one: assign the same Parameter to both."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        phew.capture(model, ROW)
    assert phew.capture(model, ROW, exclude=["1.*"]).prunable == ("0.weight", "2.weight")
