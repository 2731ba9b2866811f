"""Pruned weights stay exactly zero, whatever trains the model and whatever its weights are."""

from __future__ import annotations

# mypy: disable-error-code="arg-type, call-overload, index, no-any-return, operator, union-attr"
import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from masked_networks import (
    assert_masked,
    loss_of,
    masked_network,
    random_masks,
    signal_network,
    train,
)
from torch import nn
from torch.optim.optimizer import _global_optimizer_post_hooks

import phew
from phew.masks.masks import Masks


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Mixing(torch.optim.Optimizer):
    """Adds the mean of the gradient to every weight: not element by element."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter += 0.01 * parameter.grad.mean()


@pytest.mark.parametrize(
    "make_optimizer",
    [
        pytest.param(
            lambda p: torch.optim.SGD(p, 1e-3, momentum=0.9, weight_decay=1e-2, nesterov=True),
            id="SGD",
        ),
        pytest.param(lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=0.1), id="AdamW"),
        pytest.param(lambda p: torch.optim.AdamW(p, 1e-2, foreach=True), id="foreach"),
        pytest.param(lambda p: torch.optim.AdamW(p, 1e-2, fused=True), id="fused"),
        pytest.param(Mixing, id="Mixing"),
    ],
)
@pytest.mark.parametrize("autocast", [False, True])
def test_pruned_weights_are_zero_after_200_steps(
    make_optimizer: Callable[..., torch.optim.Optimizer], autocast: bool
) -> None:
    model, masks = masked_network()
    before = model[4].weight.detach().clone()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        train(model, make_optimizer(model.parameters()), steps=200)
    assert_masked(model, masks)
    assert not model[4].weight.equal(before)


def test_an_optimizer_with_a_closure_keeps_pruned_weights_zero() -> None:
    model, masks = masked_network()
    optimizer = torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe")
    inputs = torch.randn(9, 2, 8)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (model(inputs) - 1).square().sum()
        loss.backward()
        return loss

    first = closure().item()
    for _ in range(3):
        optimizer.step(closure)
    assert closure().item() < first
    assert_masked(model, masks)


def test_optimizers_that_were_made_before_pruning_and_share_a_model_keep_weights_zero() -> None:
    model = signal_network()
    first = torch.optim.SGD(model[0].parameters(), lr=0.01, momentum=0.9)
    second = torch.optim.AdamW(model[1].parameters(), lr=0.01)
    masks = random_masks(model)
    masks.apply(model)
    second.add_param_group({"params": model[4].parameters(), "weight_decay": 0.1})
    for _ in range(5):
        model.zero_grad()
        loss_of(model).backward()
        first.step()
        second.step()
    assert_masked(model, masks)


@pytest.mark.slow
def test_a_compiled_step_keeps_pruned_weights_zero() -> None:
    torch._dynamo.reset()
    model, masks = masked_network()
    optimizer: Any = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    optimizer.step = torch.compile(optimizer.step, backend="eager")
    train(model, optimizer)
    assert_masked(model, masks)
    model[4].weight = nn.Parameter(torch.randn(4, 48))
    optimizer.add_param_group({"params": [model[4].weight]})
    train(model, optimizer)
    assert_masked(model, masks)


def test_replicas_of_data_parallelism_train_the_held_weights() -> None:
    model, masks = masked_network()
    replica = model[4]._replicate_for_data_parallel()
    replica.weight, replica.bias = model[4].weight * 1, model[4].bias * 1
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, weight_decay=0.1)
    replica(torch.randn(3, 48)).square().sum().backward()
    assert not model[4].weight.grad[~masks["4.weight"]].any()
    optimizer.step()
    assert_masked(model, masks)


def test_complex_weights_are_held() -> None:
    model = nn.Linear(8, 6, dtype=torch.complex64)
    masks = random_masks(model)
    masks.apply(model)
    before = model.weight.detach().clone()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(3, 8, dtype=torch.complex64)).abs().sum().backward()
        optimizer.step()
    assert_masked(model, masks)
    assert not model.weight.equal(before)


def test_stale_momentum_does_not_move_pruned_weights() -> None:
    model = signal_network()
    masks = random_masks(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    train(model, optimizer)
    masks.apply(model)
    assert optimizer.state[model[0].weight]["momentum_buffer"][~masks["0.weight"]].any()
    for _ in range(3):
        optimizer.step()
        assert_masked(model, masks)


def test_gradients_are_those_of_kept_weights() -> None:
    model, masks = masked_network()
    plain = copy.deepcopy(model)
    phew.release(plain)
    inputs = torch.randn(5, 2, 8)
    model(inputs).square().sum().backward()
    plain(inputs).square().sum().backward()
    for name, mask in masks.items():
        grad = plain.get_parameter(name).grad
        assert grad[~mask].any()
        assert model.get_parameter(name).grad.equal(grad * mask)


def test_a_sparse_gradient_leaves_pruned_weights_zero() -> None:
    model = nn.Embedding(10, 4, sparse=True)
    masks = random_masks(model)
    masks.apply(model)
    optimizer = torch.optim.SparseAdam(model.parameters(), lr=0.1)
    train(model, optimizer, loss_of=lambda m: m(torch.arange(6)).sum())
    assert_masked(model, masks)


def test_unit_masks_hold_biases_and_normalisation() -> None:
    model = signal_network()
    alive = torch.tensor([True, True, False, True, False, True])
    names = ["0.bias", "1.weight", "1.bias"]
    masks = Masks(dict(random_masks(model)), unit_masks=dict.fromkeys(names, alive))
    masks.apply(model)
    assert model[1].weight.all()
    masks.apply(model, unit_masks=True)
    train(model)
    assert_masked(model, masks)
    for name in names:
        assert model.get_parameter(name).ne(0).equal(alive), name


# Applying again, and letting go


def test_applying_again_replaces_the_hold() -> None:
    model = signal_network()
    sparse, dense = random_masks(model, 0.2), random_masks(model, 0.6)
    sparse.apply(model)
    dense.apply(model)
    weight, mask = model[4].weight, sparse["4.weight"]
    assert not weight[~mask].any()
    assert len(weight._backward_hooks) == 1
    assert len(model[4]._load_state_dict_post_hooks) == 1
    train(model)
    assert_masked(model, dense)


def test_masks_of_fewer_parameters_let_go_of_the_others() -> None:
    model, masks = masked_network()
    Masks({"4.weight": masks["4.weight"]}).apply(model)
    train(model)
    assert model[0].weight.all()
    assert not model[0]._load_state_dict_post_hooks
    assert not model[4].weight[~masks["4.weight"]].any()


def test_released_weights_are_zero_and_train() -> None:
    model, masks = masked_network()
    phew.release(model)
    assert_masked(model, masks)
    assert not model[0]._load_state_dict_post_hooks
    train(model)
    assert model[0].weight.all()
    model.load_state_dict(signal_network().state_dict())
    assert model[4].weight.all()


def test_only_modules_with_masked_weights_in_them_get_a_hook() -> None:
    model, _ = masked_network()
    hooked = [module for module in model.modules() if module._load_state_dict_post_hooks]
    assert hooked == [model, model[0], model[4]]
    step_hooks = len(_global_optimizer_post_hooks)
    masked_network()
    assert len(_global_optimizer_post_hooks) == step_hooks


def test_the_hold_frees_the_model() -> None:
    model, _ = masked_network()
    weight = weakref.ref(model[0].weight)
    del model
    gc.collect()
    assert weight() is None


# Kinds of parameters


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_floating_point_weights(dtype: torch.dtype) -> None:
    model = signal_network().to(dtype)
    masks = random_masks(model)
    masks.apply(model)
    assert_masked(model, masks)
    model.float()
    train(model)
    assert_masked(model, masks)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_pruned_weights_and_gradients_that_are_not_finite_become_zero(value: float) -> None:
    linear = nn.Linear(3, 2)
    mask = torch.tensor([[True, False, True], [True, False, False]])
    with torch.no_grad():
        linear.weight[:, 1] = value
    Masks({"weight": mask}).apply(linear)
    assert_masked(linear, Masks({"weight": mask}))
    linear(torch.tensor([1.0, value, 1.0])).sum().backward()
    assert linear.weight.grad.equal(mask.float())


def test_pruned_weights_become_positive_zero_in_their_own_memory_format() -> None:
    model = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
    masks = random_masks(model)
    storage = model.weight.data_ptr()
    masks.apply(model)
    train(model, loss_of=lambda m: m(torch.randn(2, 4, 5, 5)).square().sum())
    assert_masked(model, masks)
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    assert model.weight.data_ptr() == storage
    assert not model.weight.signbit()[~masks["weight"]].any()


def test_a_frozen_weight_is_held_also_after_it_is_unfrozen() -> None:
    model = signal_network()
    model[4].requires_grad_(False)
    masks = random_masks(model)
    masks.apply(model)
    assert not model[4].weight.requires_grad
    assert_masked(model, masks)
    train(model)
    assert_masked(model, masks)
    model[4].requires_grad_(True)
    train(model)
    assert_masked(model, masks)
    assert not model[4].weight.grad[~masks["4.weight"]].any()
    assert model[4].weight.grad.any()


class TiedEmbedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(8, 5)
        self.head = nn.Linear(5, 8, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.embedding(tokens))


def train_tied(model: nn.Module) -> None:
    train(model, loss_of=lambda m: m(torch.arange(8)).square().sum())


@pytest.mark.parametrize(
    "names", [["embedding.weight"], ["head.weight"], ["head.weight", "embedding.weight"]]
)
def test_tied_weights_are_held_under_any_of_their_names(names: list[str]) -> None:
    model = TiedEmbedding()
    mask = torch.rand(8, 5) < 0.4
    masks = Masks(dict.fromkeys(names, mask))
    masks.apply(model)
    assert len(model.head.weight._backward_hooks) == 1
    train_tied(model)
    assert_masked(model, masks)
    duplicated = copy.deepcopy(model)
    assert duplicated.head.weight is duplicated.embedding.weight
    train_tied(duplicated)
    assert_masked(duplicated, masks)
    head = copy.deepcopy(model.head)
    head.load_state_dict({"weight": torch.ones(8, 5)})
    assert head.weight.equal(mask.float())


def test_a_tied_weight_that_one_owner_released_is_free() -> None:
    model = TiedEmbedding()
    random_masks(model).apply(model)
    phew.release(model.head)
    duplicated = copy.deepcopy(model)
    duplicated.load_state_dict(TiedEmbedding().state_dict())
    assert duplicated.embedding.weight.all()


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")
def test_a_zero_size_weight_is_no_error() -> None:
    model = nn.Sequential(nn.Linear(4, 0), nn.Linear(0, 3))
    masks = random_masks(model)
    masks.apply(model)
    train(model, loss_of=lambda m: m(torch.randn(2, 4)).sum())
    assert masks.density == 1.0
