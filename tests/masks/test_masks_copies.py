"""Masks hold in copies of a model, in what it loads, compiled and on several processes."""

from __future__ import annotations

# mypy: disable-error-code="index, no-any-return"
import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from masked_networks import (
    assert_masked,
    masked_network,
    random_masks,
    signal_network,
    train,
    train_distributed,
)
from torch import nn
from torch.multiprocessing.spawn import spawn

import phew
from phew.masks.masks import Masks


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def save_and_load(model: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def pickle_and_unpickle(model: nn.Module) -> nn.Module:
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickle_and_unpickle, save_and_load])
def test_a_copy_is_held_by_itself(duplicate: Callable[[nn.Module], nn.Module]) -> None:
    model, masks = masked_network()
    before = copy.deepcopy(model.state_dict())
    duplicated = duplicate(duplicate(model))
    train(duplicated)
    assert_masked(duplicated, masks)
    assert not duplicated[0].weight.grad[~masks["0.weight"]].any()
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    phew.release(duplicated)
    train(model)
    assert_masked(model, masks)


def test_a_copied_submodule_is_held() -> None:
    model, masks = masked_network()
    linear = copy.deepcopy(model[4])
    train(linear, loss_of=lambda m: m(torch.randn(5, 48)).square().sum())
    assert_masked(linear, Masks({"weight": masks["4.weight"]}))


def test_parameters_can_be_sent_to_another_process_without_a_warning() -> None:
    model, _ = masked_network()
    model.share_memory()
    received = pickle.loads(torch.multiprocessing.reducer.ForkingPickler.dumps(model[4].weight))
    assert received.equal(model[4].weight)


# State dicts


def test_state_dict_keys_are_unchanged() -> None:
    model, _ = masked_network()
    assert list(model.state_dict()) == list(signal_network().state_dict())


def test_state_dict_round_trip_into_a_fresh_model() -> None:
    model, masks = masked_network()
    train(model)
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    fresh = signal_network()
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    masks.apply(fresh)
    assert all(value.equal(fresh.state_dict()[name]) for name, value in model.state_dict().items())
    train(fresh)
    assert_masked(fresh, masks)


@pytest.mark.parametrize("assign", [False, True])
def test_a_dense_state_dict_is_masked_when_it_is_loaded(assign: bool) -> None:
    model, masks = masked_network()
    for _ in range(2):
        model.load_state_dict(signal_network().state_dict(), assign=assign)
        assert_masked(model, masks)
    train(model)
    assert_masked(model, masks)
    assert not model[0].weight.grad[~masks["0.weight"]].any()
    duplicated = copy.deepcopy(model)
    train(duplicated)
    assert_masked(duplicated, masks)


def test_a_model_that_left_its_device_is_masked_when_it_is_loaded_again() -> None:
    model, masks = masked_network()
    model.to("meta").to_empty(device="cpu")
    model.load_state_dict(signal_network().state_dict())
    assert_masked(model, masks)
    train(model)
    assert_masked(model, masks)


def test_loading_survives_a_weight_that_was_taken_apart() -> None:
    model, masks = masked_network()
    nn.utils.parametrizations.weight_norm(model[4])
    model.load_state_dict(model.state_dict())
    assert not model[0].weight[~masks["0.weight"]].any()


# Compiled and distributed


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_masked_model_compiles_to_one_graph(backend: str) -> None:
    torch._dynamo.reset()
    model, masks = masked_network()
    inputs = torch.randn(5, 2, 8)
    expected = model.eval()(inputs)
    compiled: Any = torch.compile(model, fullgraph=True, backend=backend)
    torch.testing.assert_close(compiled(inputs), expected)
    train(compiled)
    assert_masked(model, masks)
    assert not model[0].weight.grad[~masks["0.weight"]].any()
    compiled_copy: Any = torch.compile(copy.deepcopy(model), backend=backend)
    for duplicated in (copy.deepcopy(compiled), compiled_copy):
        train(duplicated)
        assert_masked(duplicated, masks, prefix="_orig_mod.")


def test_masks_can_be_applied_to_a_model_that_was_compiled() -> None:
    torch._dynamo.reset()
    model = signal_network()
    compiled: Any = torch.compile(model, fullgraph=True, backend="aot_eager")
    train(compiled)
    masks = random_masks(model)
    masks.apply(model)
    train(compiled)
    assert_masked(model, masks)


@pytest.mark.slow
def test_two_processes_hold_the_same_weights(tmp_path: Path) -> None:
    spawn(train_distributed, (str(tmp_path),), nprocs=2)
    (first, first_grad), (second, second_grad) = (
        torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)
    )
    masks = random_masks(signal_network())
    for name, mask in masks.items():
        assert first[name].equal(second[name])
        assert first[name].ne(0).equal(mask)
    assert first_grad.equal(second_grad)
    assert first_grad.any()
    assert not first_grad[~masks["0.weight"]].any()
