"""Weights of ScriptModules are held too, and applying masks changes all of a model or nothing."""

from __future__ import annotations

# mypy: disable-error-code="index, operator, union-attr"
import copy
from typing import Any

import pytest
import torch
from masked_networks import assert_masked, random_masks, train
from torch import nn

import phew
from phew.masks.masks import Masks


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def part() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))


def network(middle: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), middle, nn.ReLU(), nn.Linear(8, 2))


def script(module: nn.Module) -> Any:
    return torch.jit.script(module)


def trace(module: nn.Module) -> Any:
    return torch.jit.trace(module, torch.zeros(1, 8))


def loss_of(model: nn.Module) -> torch.Tensor:
    loss: torch.Tensor = model(torch.randn(5, 8)).square().sum()
    return loss


def assert_zero(model: nn.Module, masks: Masks) -> None:
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        assert not parameters[name][~mask].any(), name
        assert parameters[name][mask].all(), name


@pytest.mark.parametrize("compile_", [script, trace])
def test_a_script_module_in_a_model_is_pruned_and_held(compile_: Any) -> None:
    model = network(compile_(part()))
    masks = phew.prune(model, torch.zeros(1, 8), density=0.3)
    assert len(masks) == 4
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    train(model, optimizer, loss_of=loss_of)
    assert_zero(model, masks)
    assert not dict(model.named_parameters())["2.0.weight"].grad[~masks["2.0.weight"]].any()
    model.load_state_dict(network(part()).state_dict())
    assert_zero(model, masks)
    duplicated = copy.deepcopy(model)
    duplicated.load_state_dict(network(part()).state_dict())
    assert_zero(duplicated, masks)
    phew.release(model)
    train(model, loss_of=loss_of)
    assert dict(model.named_parameters())["2.0.weight"][~masks["2.0.weight"]].any()


@pytest.mark.parametrize("compile_", [script, trace])
def test_a_script_module_by_itself_is_pruned_and_held(compile_: Any) -> None:
    model = compile_(part())
    masks = phew.prune(model, torch.zeros(1, 8), density=0.3)
    train(model, loss_of=loss_of)
    assert_zero(model, masks)
    model.load_state_dict(part().state_dict())
    assert_zero(model, masks)
    random_masks(model, 0.8).apply(model)
    phew.release(model)
    train(model, loss_of=loss_of)
    assert dict(model.named_parameters())["0.weight"][~masks["0.weight"]].any()


def test_a_part_that_is_scripted_after_pruning_is_held() -> None:
    model = network(part())
    masks = phew.prune(model, torch.zeros(1, 8), density=0.3)
    model[2] = script(model[2])
    train(model, loss_of=loss_of)
    assert_zero(model, masks)
    model[2] = script(part())
    train(model, loss_of=loss_of)
    assert_zero(model, masks)


def test_a_scripted_part_of_other_layers_is_named() -> None:
    model = network(part())
    phew.prune(model, torch.zeros(1, 8), density=0.3)
    model[2] = script(nn.Linear(8, 8))
    with pytest.warns(UserWarning, match=r"\n  '2\.0\.weight': it is gone\.\n  '2\.2\.weight': "):
        train(model, loss_of=loss_of)


# All or nothing


@pytest.mark.parametrize("earlier", [False, True])
def test_masks_that_cannot_all_be_applied_change_nothing(
    earlier: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network(part())
    before = random_masks(model, 0.7) if earlier else Masks({})
    before.apply(model)
    state = copy.deepcopy(model.state_dict())
    hooks = [(p._backward_hooks or {}).copy() for p in model.parameters()]
    module_hooks = [module._load_state_dict_post_hooks.copy() for module in model.modules()]

    def fail(*args: object) -> None:
        raise MemoryError("no memory")

    monkeypatch.setattr(model[4].weight, "register_hook", fail, raising=False)
    with pytest.raises(MemoryError, match="no memory"):
        random_masks(model, 0.3).apply(model)
    assert all(value.equal(state[name]) for name, value in model.state_dict().items())
    assert [p._backward_hooks or {} for p in model.parameters()] == hooks
    assert [module._load_state_dict_post_hooks for module in model.modules()] == module_hooks
    assert all(parameter.requires_grad for parameter in model.parameters())
    train(model, loss_of=loss_of)
    assert_masked(model, before)


class ReadOnly(torch.Tensor):
    """A tensor that cannot be changed in place."""

    @classmethod
    def __torch_function__(cls, func: Any, *args: Any, **kwargs: Any) -> Any:
        if func.__name__ == "masked_fill_":
            raise NotImplementedError("masked_fill_")
        return super().__torch_function__(func, *args, **kwargs)  # type: ignore[no-untyped-call]


def test_a_parameter_that_cannot_be_zeroed_is_refused_before_anything_is_changed() -> None:
    model = network(part())
    model[4].weight = nn.Parameter(torch.randn(2, 8).as_subclass(ReadOnly))
    before = model[0].weight.detach().clone()
    message = (
        r"'4\.weight' must let its weights be zeroed in place, got a ReadOnly that raises "
        r"NotImplementedError\. Apply the masks before the model is converted\."
    )
    with pytest.raises(ValueError, match=message):
        random_masks(model).apply(model)
    assert model[0].weight.equal(before)
    assert not model[0].weight._backward_hooks
