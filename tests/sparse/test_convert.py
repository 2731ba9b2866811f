"""Models become sparse and dense again in place, whole or not at all, with all that is theirs."""

from __future__ import annotations

# mypy: disable-error-code="union-attr,index,operator,no-any-return,arg-type,assignment"
# mypy: disable-error-code="attr-defined,comparison-overlap"
import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from masked_networks import assert_masked, random_masks, signal_network, train
from torch import Tensor, nn

import phew
from phew.sparse import SparseLayer


def held(model: nn.Module) -> phew.Masks:
    masks = random_masks(model)
    masks.apply(model)
    return masks


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


def test_a_layer_that_is_used_twice_is_one() -> None:
    model = Twice()
    masks = phew.Masks({"first.weight": torch.eye(4) > 0, "second.weight": torch.eye(4) > 0})
    x = torch.randn(2, 4)
    masks.apply(model)
    expected = model(x)
    report = phew.to_sparse(model, masks, example_inputs=x)
    assert len(report.layers) == 1
    assert report.total.num_operations == 2 * 4 * 2
    torch.testing.assert_close(model(x), expected)
    assert phew.to_dense(model) == masks
    assert model.first is model.second


def test_the_round_trip_is_exact() -> None:
    model = signal_network()
    masks = held(model)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    kinds = [type(module) for module in model.modules()]
    attributes = [set(module.__dict__) for module in model.modules()]
    phew.to_sparse(model, masks)
    assert all(isinstance(model[index], SparseLayer) for index in (0, 4))
    assert phew.to_dense(model) == masks
    after = model.state_dict()
    assert [*after] == [*before]
    assert all(after[name].equal(before[name]) for name in before)
    assert [type(module) for module in model.modules()] == kinds
    assert [set(module.__dict__) for module in model.modules()] == attributes
    train(model)
    assert_masked(model, masks)


def test_masks_come_back_with_what_they_know() -> None:
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4))
    masks = phew.sample_masks(model, torch.zeros(1, 8), density=0.2)
    assert masks.unit_masks
    phew.to_sparse(model, masks)
    other = phew.to_dense(copy.deepcopy(model))
    assert other == masks
    assert other.facts == masks.facts
    assert [*other] == [*masks]
    inner = phew.to_dense(nn.ModuleDict({"body": model}))
    assert inner.info == masks.info
    for kind in ("active_units", "fan_ins", "digests"):
        expected = {f"body.{name}": each for name, each in getattr(masks, kind).items()}
        assert getattr(inner, kind) == expected


def test_models_are_converted_inside_of_others() -> None:
    model = nn.ModuleDict({"body": signal_network(), "head": nn.Linear(4, 2)})
    masks = random_masks(model["body"])
    phew.to_sparse(model["body"], masks)
    outer = phew.to_dense(model)
    assert {name: mask.tolist() for name, mask in outer.items()} == {
        f"body.{name}": mask.tolist() for name, mask in masks.items()
    }
    assert_masked(model, outer)


def test_models_that_are_converted_in_inference_mode_are_trained() -> None:
    model = signal_network()
    masks = held(model)
    with torch.inference_mode():
        phew.to_sparse(model, masks, example_inputs=torch.zeros(1, 2, 8))
    train(model)
    with torch.inference_mode():
        phew.to_dense(model)
    train(model)
    assert_masked(model, masks)


def test_a_single_layer_is_a_model() -> None:
    model = nn.Linear(4, 3)
    masks = phew.Masks({"weight": torch.eye(3, 4) > 0})
    phew.to_sparse(model, masks)
    assert isinstance(model, phew.sparse.Linear)
    assert phew.to_dense(model) == masks


def test_layers_keep_what_was_attached_to_them() -> None:
    model = signal_network()
    masks = held(model)
    calls: list[str] = []
    model[4].register_forward_hook(lambda *_: calls.append("forward"))
    model[4].register_full_backward_hook(lambda *_: calls.append("backward"))
    model[4].label = "head"
    model[4].weight.label = "weight"
    model[0].weight.requires_grad_(False)
    model[4].eval()
    for convert in (lambda: phew.to_sparse(model, masks), lambda: phew.to_dense(model)):
        convert()
        assert (model[4].label, model[4].weight.label) == ("head", "weight")
        assert not model[0].weight.requires_grad
        assert model[4].weight.requires_grad
        assert [module.training for module in model] == [True, True, True, True, False]
        calls.clear()
        model(torch.randn(3, 2, 8)).sum().backward()
        assert calls == ["forward", "backward"]


def test_masks_of_units_and_of_others_stay_held() -> None:
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4), nn.Linear(4, 3))
    units = torch.arange(6) > 1
    masks = phew.Masks(
        {"0.weight": torch.rand(6, 8) < 0.3, "3.weight": torch.rand(3, 4) < 0.5},
        unit_masks={"0.bias": units},
    )
    masks.apply(model, unit_masks=True)
    phew.to_sparse(model, {"0.weight": masks["0.weight"]})
    train(model, loss_of=lambda model: model(torch.randn(5, 8)).square().sum())
    assert not model[0].bias[~units].any()
    assert not model[3].weight[~masks["3.weight"]].any()
    phew.to_dense(model)
    train(model, loss_of=lambda model: model(torch.randn(5, 8)).square().sum())
    assert not model[0].bias[~units].any()
    for name in masks:
        assert not model.get_parameter(name)[~masks[name]].any()


def test_nothing_is_lost_of_the_masks_that_sparse_layers_had() -> None:
    # A step of an optimizer, or a state that is loaded, would warn of a mask that is lost.
    model = signal_network()
    masks = held(model)
    phew.to_sparse(model, masks)
    train(model)
    model.load_state_dict(model.state_dict())
    phew.release(model)
    phew.to_dense(model)
    train(model)
    assert_masked(model, masks)


def test_the_model_may_be_made_sparse_again() -> None:
    model = signal_network()
    masks = held(model)
    for _ in range(3):
        phew.to_sparse(model, masks)
        train(model, steps=1)
        phew.to_dense(model)
        train(model, steps=1)
    assert_masked(model, masks)


def wrong_calls() -> dict[str, tuple[Callable[[nn.Module, phew.Masks], Any], str]]:
    masks_of_others = {"0.weight": torch.ones(2, 2, dtype=torch.bool)}
    return {
        "another model": (
            lambda model, masks: phew.to_sparse(nn.Linear(2, 2), masks),
            "model must have all masked parameters, got none named '0.weight'. Apply masks to the "
            "model that they were made from.",
        ),
        "other shapes": (
            lambda model, masks: phew.to_sparse(model, masks_of_others),
            "'0.weight' must have the shape of its mask, (2, 2), got (6, 2, 3). Apply masks to the "
            "model that they were made from.",
        ),
        "other inputs": (
            lambda model, masks: phew.to_sparse(model, masks, example_inputs=torch.zeros(1, 3, 8)),
            "example_inputs must be accepted by the model, got RuntimeError: Given groups=1, "
            "weight of size [6, 2, 3], expected input[1, 3, 8] to have 2 channels, but got 3 "
            "channels instead",
        ),
        "a dense model": (
            lambda model, masks: phew.to_dense(model),
            "model must be sparse, got one without sparse layers.",
        ),
    }


@pytest.mark.parametrize("name", wrong_calls())
def test_wrong_calls_leave_the_model_as_it_was(name: str) -> None:
    call, message = wrong_calls()[name]
    model = signal_network()
    masks = held(model)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="must") as error:
        call(model, masks)
    assert str(error.value) == message
    assert all(each.equal(before[key]) for key, each in model.state_dict().items())
    train(model)
    assert_masked(model, masks)


def test_a_sparse_model_is_not_made_sparse_again() -> None:
    model = signal_network()
    masks = held(model)
    phew.to_sparse(model, masks)
    message = r"^model must be dense, got the sparse layers 0, 4\. Call phew\.to_dense\.$"
    with pytest.raises(ValueError, match=message):
        phew.to_sparse(model, masks)
    with pytest.raises(ValueError, match=message):
        phew.to_sparse(model, {})
    with pytest.raises(TypeError, match=r"^model must be a torch\.nn\.Module, got int\.$"):
        phew.to_sparse(3, masks)
    with pytest.raises(TypeError, match=r"^model must be a torch\.nn\.Module, got int\.$"):
        phew.to_dense(3)


def test_a_conversion_that_fails_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = signal_network()
    masks = held(model)

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(phew.sparse.convert, "hold_beside", fail)
    with pytest.raises(MemoryError):
        phew.to_sparse(model, masks)
    assert type(model[0]) is nn.Conv1d
    train(model)
    assert_masked(model, masks)
    monkeypatch.undo()
    phew.to_sparse(model, masks)
    weight = model[0].weight
    monkeypatch.setattr(phew.sparse.convert, "hold_beside", fail)
    with pytest.raises(MemoryError):
        phew.to_dense(model)
    assert model[0].weight is weight
    train(model)
    monkeypatch.undo()
    assert phew.to_dense(model) == masks
