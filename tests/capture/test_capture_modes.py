from __future__ import annotations

# mypy: disable-error-code="arg-type, index, no-any-return, operator"
import contextlib
from typing import Any

import pytest
import torch
from capture_networks import Bottlenecks
from torch import Tensor, nn

import phew
from phew.graph import WeightedLink
from phew.graph.reach import unreached_weights


def test_inference_tensors_change_nothing() -> None:
    expected = str(phew.capture(Bottlenecks(), torch.zeros(1, 3, 8, 8)))
    model = Bottlenecks()
    with torch.inference_mode():
        assert str(phew.capture(model, torch.zeros(1, 3, 8, 8))) == expected
        assert str(phew.capture(Bottlenecks(), torch.zeros(1, 3, 8, 8))) == expected


def test_compiled_models_are_captured_as_written() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    compiled: Any = torch.compile(model, backend="aot_eager")
    compiled(torch.zeros(1, 4))
    graph = phew.capture(compiled, torch.zeros(1, 4))
    assert graph.prunable == ("0.weight", "2.weight")


def test_script_modules_are_captured() -> None:
    model = torch.jit.script(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)))
    assert [type(link) for link in phew.capture(model, torch.zeros(1, 4)).links] == [
        WeightedLink
    ] * 2


def test_unknown_operations_of_script_modules_are_reported() -> None:
    class Running(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.qr(x)[1]

    model = nn.Sequential(nn.Linear(4, 5), Running(), nn.Linear(5, 2))
    with pytest.warns(phew.ApproximationWarning):
        graph = phew.capture(torch.jit.script(model), torch.zeros(1, 4))
    assert [*map(str, graph.notes.approximations)] == ["linalg_qr"]


def test_modules_whose_errors_the_model_catches_are_named_no_longer() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ArithmeticError

    class Catches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fails, self.layer = Fails(), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            with contextlib.suppress(ArithmeticError):
                self.fails(x)
            return torch.linalg.qr(self.layer(x))[1]

    with pytest.warns(phew.ApproximationWarning):
        graph = phew.capture(Catches(), torch.zeros(1, 4))
    assert [*map(str, graph.notes.approximations)] == ["linalg_qr"]


def test_other_default_devices_change_nothing() -> None:
    model = Bottlenecks()
    with torch.device("meta"):
        masks = phew.sample_masks(model, torch.zeros(1, 3, 8, 8), density=0.5)
    expected = phew.sample_masks(model, torch.zeros(1, 3, 8, 8), density=0.5)
    assert all(torch.equal(masks[name], mask) for name, mask in expected.items())


def test_meta_models_are_captured() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
        inputs = torch.zeros(1, 4)
    assert phew.capture(model, inputs).num_prunable_weights == 18


class Constants(nn.Module):
    """Joins units by the values of buffers."""

    def __init__(self, operation: str) -> None:
        super().__init__()
        self.operation = operation
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.register_buffer("order", torch.tensor([2, 0, 3, 1]))
        self.register_buffer("matrix", torch.eye(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        if self.operation == "index":
            return self.b(x[:, self.order])
        if self.operation == "index_select":
            return self.b(x.index_select(1, self.order + 0))
        if self.operation == "gather":
            return self.b(x.gather(1, self.order.expand(x.shape)))
        return self.b(x @ self.matrix)


@pytest.mark.parametrize("operation", ["index", "index_select", "gather", "multiply"])
def test_buffers_that_join_units_must_have_values(operation: str) -> None:
    with torch.device("meta"):
        model = Constants(operation)
    with pytest.raises(ValueError, match=r"model must hold the values of .*, got one on the meta"):
        phew.capture(model, torch.zeros(1, 4))


def test_meta_models_that_read_values_are_refused() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = nn.LSTM(4, 6, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.cells(x)[0]

    with torch.device("meta"):
        model = Recurrent()
    for device in ("cpu", "meta"):
        with pytest.raises(ValueError, match=r"Build .* without torch\.device\('meta'\)\.$"):
            phew.capture(model, torch.zeros(1, 3, 4, device=device))


def test_fused_attention_adds_the_units_of_a_bias() -> None:
    class Relative(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.relative, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            assert x.isfinite().all()  # read, so that the model runs on values
            query = self.query(x)
            bias = query @ self.relative(torch.ones(1, 3, 4)).transpose(-1, -2)
            query, bias = query.unsqueeze(1), bias.unsqueeze(1)
            mixed = nn.functional.scaled_dot_product_attention(query, query, query, bias)
            return self.out(mixed.squeeze(1))

    graph = phew.capture(Relative(), torch.zeros(1, 3, 4))
    assert graph.notes.approximations == ()
    assert unreached_weights(graph) == {}
