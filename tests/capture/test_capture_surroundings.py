"""Models are captured inside autocast, with derivatives in forward, and with wrapped weights."""

from __future__ import annotations

# mypy: disable-error-code="arg-type, no-any-return, no-untyped-call, no-untyped-def, override"
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

import phew
from phew.graph import WeightedLink

ROW = torch.linspace(-1, 1, 8)[None]


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


class CastsItself(nn.Module):
    """Turns autocast and its cache on for a part of itself, as many models do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = layers()
        self.casting = torch.autocast("cpu", torch.bfloat16, cache_enabled=True)

    def forward(self, x: Tensor) -> Tensor:
        with self.casting:
            return self.body(x)


class ReadsValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = layers()

    def forward(self, x: Tensor) -> Tensor:
        assert x.isfinite().all()
        return self.body(x)


@pytest.mark.parametrize("build", [layers, CastsItself, ReadsValues])
@pytest.mark.parametrize("runs_before", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_changes_no_mask(
    build: Callable[[], nn.Module], runs_before: bool, dtype: torch.dtype
) -> None:
    expected = phew.sample_masks(build(), ROW, density=0.3)
    model = build()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(ROW)
    with torch.autocast("cpu", torch.bfloat16):
        if runs_before:
            model(ROW)
        masks = phew.sample_masks(model, ROW.to(dtype), density=0.3)
        assert torch.equal(model(ROW), output)
        assert torch.is_autocast_cache_enabled()
    assert all(torch.equal(masks[name], mask) for name, mask in expected.items())


class Forces(nn.Module):
    """Predicts an energy, and forces as its derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, positions: Tensor) -> Any:
        positions = positions.detach().requires_grad_()
        energy = self.energy(positions).sum()
        return energy, -torch.autograd.grad(energy, positions, create_graph=True)[0]


class EnablesGradients(Forces):
    """Computes a derivative in a part that turns gradients on itself."""

    def forward(self, positions: Tensor) -> Any:
        with torch.enable_grad():
            return super().forward(positions)


class Hamiltonian(nn.Module):
    """Moves along the symplectic gradient of a network, whatever mode it is called in."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 1)

    def forward(self, state: Tensor) -> Tensor:
        x = state if state.requires_grad else state.clone().requires_grad_()
        total = self.second(torch.sin(self.first(x))).sum()
        (slope,) = torch.autograd.grad(total, x, create_graph=self.training)
        return torch.cat([slope[:, 2:], -slope[:, :2]], dim=1)


class GoesBackward(nn.Module):
    """Calls backward, which adds to the gradients of its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(3, 4), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        self.layer(x).tanh().sum().backward()
        assert x.grad is not None
        return self.head(x.grad + x)


@pytest.mark.parametrize(
    ("build", "size"), [(Forces, 3), (EnablesGradients, 3), (Hamiltonian, 4), (GoesBackward, 3)]
)
def test_models_that_differentiate_are_captured(build: Callable[[], nn.Module], size: int) -> None:
    torch.manual_seed(0)
    model = build()
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    before = [(weight.clone(), id(weight.grad)) for weight in model.parameters()]
    graph = phew.capture(model, torch.rand(2, size))
    weights = {name for name, weight in model.named_parameters() if weight.dim() > 1}
    assert set(graph.prunable) == weights
    for weight, (values, gradient) in zip(model.parameters(), before, strict=True):
        assert torch.equal(weight, values)
        assert weight.grad is not None
        assert (id(weight.grad), weight.grad.min().item(), weight.grad.max().item()) == (
            gradient,
            1,
            1,
        )
    masks = phew.prune(model, torch.rand(2, size), density=0.5)
    assert all(mask.any() for mask in masks.values())


class Int8(torch.Tensor):
    """Integers and a scale, as torchao and quanto keep quantised weights."""

    @staticmethod
    def __new__(cls, q: Tensor, scale: float, dtype: torch.dtype = torch.float32) -> Int8:
        return torch.Tensor._make_wrapper_subclass(cls, q.shape, dtype=dtype)

    def __init__(self, q: Tensor, scale: float) -> None:
        self.q, self.scale = q, scale

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
            return cls(args[0].q, args[0].scale)
        return func(*tree_map_only(cls, lambda t: t.q * t.scale, args), **(kwargs or {}))


def quantised(weight: Tensor, *, trained: bool = False) -> nn.Parameter:
    return nn.Parameter(Int8((weight * 127).to(torch.int8), 1 / 127), requires_grad=trained)


def frozen_first(build: Callable[[], nn.Module] = layers) -> Any:
    model: Any = build()
    first = model[0] if isinstance(model, nn.Sequential) else model.body[0]
    first.weight = quantised(first.weight.data)
    return model


@pytest.mark.parametrize("build", [layers, ReadsValues])
@pytest.mark.parametrize("exclude", [[], ["*0.weight"]])
def test_wrapped_weights_that_are_not_trained_are_left_out_and_named(
    build: Callable[[], nn.Module], exclude: list[str]
) -> None:
    model = frozen_first(build)
    before, output = dict(model.named_parameters()), model(ROW)
    graph = phew.capture(model, ROW, exclude=exclude)
    prefix = "body." if build is ReadsValues else ""
    assert graph.prunable == (f"{prefix}2.weight",)
    reason = "not trained, and computed by Int8 from others"
    expected = "excluded by '*0.weight'" if exclude else reason
    assert graph.notes.not_prunable[f"{prefix}0.weight"] == expected
    assert graph.notes.approximations == ()
    masks = phew.prune(model, ROW, density=0.5, exclude=exclude)
    assert masks.num_kept == 32
    assert all(before[name] is weight for name, weight in model.named_parameters())
    assert model(ROW).shape == output.shape


def test_wrapped_convolutions_keep_their_wiring() -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 2, 1))
    model[0].weight = quantised(model[0].weight.data)
    graph = phew.capture(model, torch.zeros(1, 4, 5, 5))
    assert graph.prunable == ("2.weight",)
    assert [space.num_units for space in graph.spaces][-1] == 2
    assert phew.sample_masks(model, torch.zeros(1, 4, 5, 5), density=1).num_kept == 16


def test_wrapped_weights_that_are_trained_are_to_be_excluded() -> None:
    model = layers()
    model[2].weight = quantised(model[2].weight.data, trained=True)
    message = (
        "parameter '2.weight' must be dense, got a tensor of type Int8, which wraps others. "
        "Leave it out with exclude=['2.weight']."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        phew.capture(model, ROW)
    assert phew.capture(model, ROW, exclude=["2.weight"]).prunable == ("0.weight",)
    frozen = frozen_first()
    with pytest.raises(ValueError, match=r"parameter '0.weight' must be dense, got .*Int8"):
        phew.capture(frozen, ROW, include=["0.weight"])


def test_what_a_wrapper_holds_is_left_as_it_was() -> None:
    class Rescales(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            assert x.isfinite().all()
            weight: Any = self.weight
            weight.scale = weight.scale * 2
            weight.q.add_(1)
            return nn.functional.linear(x, weight, self.bias)

    model = nn.Sequential(Rescales(8, 4), nn.Linear(4, 2))
    weight: Any = quantised(model[0].weight.data)
    model[0].weight = weight
    values = weight.q.clone()
    graph = phew.capture(model, ROW)
    assert [link.parameter for link in graph.links if isinstance(link, WeightedLink)] == [
        "1.weight"
    ]
    assert (weight.scale, weight.q.tolist()) == (1 / 127, values.tolist())


class Tagged(torch.Tensor):
    """A tensor of another type, as those of fastai; results of it are of its type too."""


class OwnParameter(nn.Parameter):
    """A parameter of another type, as those of bitsandbytes."""


@pytest.mark.parametrize("build", [layers, ReadsValues])
def test_subclasses_of_tensors_are_followed(build: Callable[[], nn.Module]) -> None:
    expected = phew.sample_masks(build(), ROW, density=0.3)
    for kind in (lambda weight: nn.Parameter(weight.as_subclass(Tagged)), OwnParameter):
        model: Any = build()
        first = model[0] if isinstance(model, nn.Sequential) else model.body[0]
        first.weight = kind(first.weight.data)
        assert type(first.weight) in (Tagged, OwnParameter)
        masks = phew.sample_masks(model, ROW.as_subclass(Tagged), density=0.3)
        assert all(torch.equal(masks[name], mask) for name, mask in expected.items())
        assert masks.num_walks == expected.num_walks
