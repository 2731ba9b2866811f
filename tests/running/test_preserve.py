"""Capture leaves a model as it was, whatever its forward does."""

from __future__ import annotations

# mypy: disable-error-code="assignment, no-any-return"
import copy
import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import phew
from phew.models import resnet_cifar
from phew.running.parts import parts_of
from phew.running.preserve import preserved


class ReadsValues(nn.Module):
    """Branches on data, changes buffers and attributes, draws random numbers, and may fail."""

    calls: Tensor

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.register_buffer("calls", torch.zeros(()))
        self.fails = fails
        self.history: list[Tensor] = []
        self.latest: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.calls = self.calls + 1
        self.norm.train()
        noise = random.random() * np.random.rand()  # noqa: NPY002
        x = self.norm(self.layer(x + torch.rand_like(x) * noise))
        self.history.append(x)
        self.latest = x
        if self.fails:
            raise RuntimeError("half-way")
        return x if float(x.sum()) > 1e9 else x * 2


def state(model: nn.Module) -> dict[str, Any]:
    return {
        "tensors": copy.deepcopy(model.state_dict()),
        "identities": {name: id(value) for name, value in model.state_dict(keep_vars=True).items()},
        "flags": [module.training for module in model.modules()],
        "hooks": [len(module._forward_hooks) for module in model.modules()],
        "gradients": [
            copy.deepcopy(weight.grad) for weight in model.parameters() if weight.grad is not None
        ],
        "requires": [weight.requires_grad for weight in model.parameters()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(legacy=False)["state"]["key"].tolist(),  # noqa: NPY002
        "python": random.getstate(),
        "grad mode": torch.is_grad_enabled(),
    }


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    for key in before:
        if key in ("tensors", "gradients", "torch"):
            torch.testing.assert_close(after[key], before[key], rtol=0, atol=0, msg=key)
        else:
            assert after[key] == before[key], key


def value_reader() -> nn.Module:
    model = ReadsValues()
    model.layer.register_forward_hook(lambda module, args, output: output)
    model.layer.weight.grad = torch.ones(4, 4)
    model.layer.bias.requires_grad_(False)
    model.norm.eval()
    return model


def test_models_that_read_values_are_captured_and_left_untouched() -> None:
    model = value_reader()
    before = state(model)
    graph = phew.capture(model, torch.ones(3, 4))
    assert graph.prunable == ("layer.weight",)
    assert_same(before, state(model))
    assert model.history == []
    assert model.latest is None


def test_failing_models_are_left_untouched() -> None:
    model = value_reader()
    model.fails = True
    before = state(model)
    with pytest.raises(ValueError, match=r"example_inputs must be accepted by the model.*half-way"):
        phew.capture(model, torch.ones(3, 4))
    assert_same(before, state(model))
    assert model.history == []


def test_training_networks_are_left_untouched() -> None:
    model = resnet_cifar(20).train()
    before = state(model)
    phew.capture(model, torch.zeros(1, 3, 32, 32))
    assert_same(before, state(model))


class Mutates(nn.Module):
    """Does what `change` says when it runs."""

    def __init__(self, change: Callable[[Mutates], object]) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.layer.weight.grad = torch.ones(2, 4)
        self.change = change
        self.nested: dict[str, Any] = {"list": [{"set": {1}}], "tuple": ([1],)}
        self.recent = deque([1, 2], maxlen=2)
        self.unregistered = [nn.Linear(4, 4)]

    def forward(self, x: Tensor) -> Tensor:
        self.change(self)
        return self.layer(x)


def swap_data(model: Mutates) -> None:
    model.layer.weight.data = torch.zeros(2, 4)
    model.unregistered[0].weight.data = torch.zeros(3, dtype=torch.float64)


def freeze(model: Mutates) -> None:
    model.layer.weight.requires_grad_(False)
    model.layer.weight.grad = None
    model.layer.bias.grad = torch.ones(2)


def change_containers(model: Mutates) -> None:
    model.nested["list"][0]["set"].add(2)
    model.nested["list"].append(3)
    model.nested["tuple"][0].clear()
    model.recent.append(3)


def change_unregistered(model: Mutates) -> None:
    model.unregistered[0].train(False)
    model.unregistered[0].weight.requires_grad_(False)
    model.unregistered[0].bias = None


@pytest.mark.parametrize("change", [swap_data, freeze, change_containers, change_unregistered])
def test_what_a_forward_changes_is_put_back(change: Callable[[Mutates], object]) -> None:
    model = Mutates(change)

    def everything() -> dict[str, Any]:
        hidden = model.unregistered[0]
        grad = model.layer.weight.grad
        return state(model) | {
            "places": [weight.data_ptr() for weight in (model.layer.weight, hidden.weight)],
            "layout": (hidden.weight.dtype, hidden.weight.shape),
            "grads": [None if grad is None else grad.tolist(), model.layer.bias.grad],
            "containers": copy.deepcopy((model.nested, model.recent)),
            "hidden": (hidden.training, hidden.weight.requires_grad, id(hidden.bias)),
        }

    before = everything()
    phew.capture(model, torch.zeros(1, 4))
    assert_same(before, everything())


def test_inference_models_are_left_untouched() -> None:
    with torch.inference_mode():
        model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
        before = state(model)
        phew.capture(model, torch.zeros(1, 4))
        assert_same(before, state(model))


def test_script_modules_keep_training() -> None:
    model = nn.Sequential(torch.jit.script(nn.Sequential(nn.Linear(4, 3), nn.ReLU()))).train()
    with preserved(parts_of(model), []):
        for module in model.modules():
            module.training = False
    assert [module.training for module in model.modules()] == [True] * 4


def test_two_threads_leave_a_model_as_it_was() -> None:
    second_runs, first_is_done = threading.Event(), threading.Event()

    class Slow(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            # Unless they take turns, the second thread starts while the first one runs, and ends
            # after it.
            if threading.current_thread() is first:
                second_runs.wait(0.3)
            else:
                second_runs.set()
                first_is_done.wait(5)
            return super().forward(x)

    model = Slow(4, 2)

    def capture() -> None:
        phew.capture(model, torch.zeros(1, 4))
        if threading.current_thread() is first:
            first_is_done.set()

    first, second = (threading.Thread(target=capture) for _ in range(2))
    first.start()
    second.start()
    first.join()
    second.join()
    assert first_is_done.is_set()
    assert second_runs.is_set()
    assert model.training
    assert not model._forward_hooks
