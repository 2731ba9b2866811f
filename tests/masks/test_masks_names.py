"""Masks belong to names: what stands at a name in place of a held parameter is held, or named."""

from __future__ import annotations

# mypy: disable-error-code="arg-type, assignment, index, no-any-return, operator, union-attr"
import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from masked_networks import (
    assert_masked,
    masked_network,
    no_warning,
    random_masks,
    sgd_of,
    signal_network,
    train,
)
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import phew
from phew.masks.masks import Masks


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def assert_untrained(
    optimizer: torch.optim.Optimizer, parameter: nn.Parameter, mask: torch.Tensor
) -> None:
    """No gradient of a pruned weight has reached the optimizer."""
    assert not optimizer.state[parameter]["momentum_buffer"][~mask].any()
    assert optimizer.state[parameter]["momentum_buffer"][mask].any()


# Parameters


def replace_parameter(model: nn.Sequential) -> None:
    model[4].weight = nn.Parameter(torch.randn(4, 48))


def register_parameter(model: nn.Sequential) -> None:
    del model[4].weight
    model[4].register_parameter("weight", nn.Parameter(torch.randn(4, 48)))


def load_without_hooks(model: nn.Sequential) -> None:
    for name, value in signal_network().state_dict().items():
        module, _, local = name.rpartition(".")
        if local == "weight":
            model.get_submodule(module)._parameters[local] = nn.Parameter(value)


def convert_and_overwrite(model: nn.Sequential) -> None:
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        model.double()
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)


def convert_to_meta(model: nn.Sequential) -> None:
    model.to("meta")
    sgd_of(signal_network()).step()
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        nn.init.normal_(parameter)


@pytest.mark.parametrize(
    "replace",
    [
        replace_parameter,
        register_parameter,
        load_without_hooks,
        convert_and_overwrite,
        convert_to_meta,
    ],
)
def test_a_parameter_in_the_place_of_another_is_held_from_the_first_step(
    replace: Callable[[nn.Sequential], None],
) -> None:
    model, masks = masked_network()
    replace(model)
    optimizer = sgd_of(model)
    with no_warning():
        train(model, optimizer, steps=1)
        assert_masked(model, masks)
        assert_untrained(optimizer, model[4].weight, masks["4.weight"])
        train(model, optimizer)
    assert_masked(model, masks)
    assert_untrained(optimizer, model[4].weight, masks["4.weight"])
    duplicated = copy.deepcopy(model)
    train(duplicated)
    assert_masked(duplicated, masks)


def test_the_parameter_that_was_replaced_is_freed_at_once() -> None:
    model, _ = masked_network()
    weight, module = weakref.ref(model[4].weight), weakref.ref(model[0])
    model[4].weight = nn.Parameter(torch.randn(4, 48))
    model[0] = nn.Conv1d(2, 6, 3, padding=1)
    assert weight() is None
    assert module() is None


def test_a_replaced_parameter_that_is_copied_before_a_step_is_held_in_the_copy() -> None:
    model, masks = masked_network()
    replace_parameter(model)
    model[0] = nn.Conv1d(2, 6, 3, padding=1)
    for duplicated in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_masked(duplicated, masks)
        train(duplicated)
        assert_masked(duplicated, masks)


def test_a_frozen_parameter_in_the_place_of_another_is_zeroed_by_a_step_of_its_model() -> None:
    model, masks = masked_network()
    model[4].weight = nn.Parameter(torch.randn(4, 48), requires_grad=False)
    train(model, sgd_of(model[0]), steps=1)
    assert_masked(model, masks)
    assert not model[4].weight.requires_grad


def test_a_step_of_another_model_changes_nothing_between_forward_and_backward() -> None:
    model, masks = masked_network()
    replace_parameter(model)
    loss = model(torch.randn(5, 2, 8, requires_grad=True)).square().sum()
    train(signal_network())
    loss.backward()
    sgd_of(model).step()
    assert_masked(model, masks)


def test_values_written_by_hand_are_zeroed_by_the_next_step() -> None:
    model, masks = masked_network()
    size = sum(parameter.numel() for parameter in model.parameters())
    nn.utils.vector_to_parameters(torch.ones(size), model.parameters())
    assert model[4].weight.all()
    train(model, steps=1)
    assert_masked(model, masks)
    model[4].weight.data.copy_(torch.ones(4, 48))
    train(model, steps=1)
    assert_masked(model, masks)


def test_a_tied_weight_that_is_untied_is_held_under_both_names() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    model[1].weight = model[0].weight
    mask = torch.rand(6, 6) < 0.5
    masks = Masks({"0.weight": mask, "1.weight": mask})
    masks.apply(model)
    model[1].weight = nn.Parameter(torch.randn(6, 6))
    optimizer = sgd_of(model)
    train(model, optimizer, loss_of=lambda m: m(torch.randn(3, 6)).square().sum())
    assert_masked(model, masks)
    assert not model[0].weight.equal(model[1].weight)


def test_a_module_under_two_names_is_held_under_both_when_one_is_replaced() -> None:
    shared = nn.Linear(6, 6)
    model = nn.Sequential(shared, shared)
    mask = torch.rand(6, 6) < 0.5
    masks = Masks({"0.weight": mask, "1.weight": mask})
    masks.apply(model)
    model[1] = nn.Linear(6, 6)
    train(model, loss_of=lambda m: m(torch.randn(3, 6)).square().sum())
    assert_masked(model, masks)


def test_a_released_name_stays_free() -> None:
    model, masks = masked_network()
    phew.release(model[4])
    replace_parameter(model)
    with no_warning():
        train(model)
    assert model[4].weight.all()
    assert_masked(model, Masks({"0.weight": masks["0.weight"]}))


# Modules


class LowRank(nn.Module):
    """Adds a product of two small matrices to a layer, as LoRA does."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, 2, bias=False)
        self.up = nn.Linear(2, base.out_features, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.up(self.down(x))


def test_a_module_in_the_place_of_another_is_held() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(6, 8), nn.ReLU()), nn.Linear(8, 3))
    masks = random_masks(model)
    masks.apply(model)
    for _ in range(2):
        model[0] = nn.Sequential(nn.Linear(6, 8), nn.Tanh())
        model[1] = nn.Linear(8, 3)
        with no_warning():
            train(model, loss_of=lambda m: m(torch.randn(3, 6)).square().sum())
        assert_masked(model, masks)
    model.load_state_dict({name: torch.ones_like(p) for name, p in model.state_dict().items()})
    assert_masked(model, masks)


@pytest.mark.parametrize("wrap", [LowRank, nn.Sequential], ids=["LowRank", "Sequential"])
def test_a_module_is_followed_into_a_wrapper_and_out_of_it(
    wrap: Callable[[nn.Linear], Any],
) -> None:
    model, masks = masked_network()
    inner = model[4]
    model[4] = wrapper = wrap(inner)
    mask, name = masks["4.weight"], "base" if isinstance(wrapper, LowRank) else "0"
    with no_warning():
        train(model)
        assert not inner.weight[~mask].any()
        setattr(wrapper, name, nn.Linear(48, 4))
        train(model)
        assert not getattr(wrapper, name).weight[~mask].any()
        model[4] = getattr(wrapper, name)
        replace_parameter(model)
        train(model)
    assert_masked(model, masks)


def test_a_module_that_moved_in_the_model_is_held_where_it_is() -> None:
    model = nn.ModuleDict({"old": nn.Linear(6, 8), "last": nn.Linear(8, 3)})
    masks = random_masks(model)
    masks.apply(model)
    model["new"] = model.pop("old")

    def loss_of(model: nn.ModuleDict) -> torch.Tensor:
        return model["last"](model["new"](torch.randn(3, 6))).square().sum()

    with no_warning():
        train(model, loss_of=loss_of)
        model["new"] = nn.Linear(6, 8)
        train(model, loss_of=loss_of)
    assert not model["new"].weight[~masks["old.weight"]].any()


# Normalised weights


def add_old_spectral_norm(module: nn.Module) -> None:
    nn.utils.spectral_norm(module)


def add_pruning_by_torch(module: nn.Module) -> None:
    prune.random_unstructured(module, "weight", amount=0.3)


@pytest.mark.parametrize(
    ("normalise", "factor"),
    [
        (parametrizations.weight_norm, "parametrizations.weight.original1"),
        (parametrizations.spectral_norm, "parametrizations.weight.original"),
        (nn.utils.weight_norm, "weight_v"),
        (add_old_spectral_norm, "weight_orig"),
        (add_pruning_by_torch, "weight_orig"),
    ],
)
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
def test_a_weight_that_is_normalised_or_masked_stays_zero(
    normalise: Callable[[nn.Module], Any], factor: str
) -> None:
    model, masks = masked_network()
    mask = masks["4.weight"]
    normalise(model[4])
    optimizer = sgd_of(model)
    with no_warning():
        train(model, optimizer)
    assert not model[4].weight[~mask].any()
    assert not model[4].get_parameter(factor)[~mask].any()
    assert not optimizer.state[model[4].get_parameter(factor)]["momentum_buffer"][~mask].any()
    dense = {
        name: torch.ones_like(value) if value.dim() > 1 else value
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(dense)
    assert not model[4].get_parameter(factor)[~mask].any()


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
def test_a_weight_whose_normalisation_is_removed_is_held() -> None:
    model, masks = masked_network()
    parametrizations.weight_norm(model[4])
    duplicated = copy.deepcopy(model)
    train(duplicated)
    assert not duplicated[4].weight[~masks["4.weight"]].any()
    nn.utils.weight_norm(model[0])
    train(model)
    parametrize.remove_parametrizations(model[4], "weight")
    nn.utils.remove_weight_norm(model[0])
    train(model)
    assert_masked(model, masks)


# Swapped contents


@pytest.fixture
def _swapping() -> Iterator[None]:
    torch.__future__.set_swap_module_params_on_conversion(True)
    yield
    torch.__future__.set_swap_module_params_on_conversion(False)


@pytest.mark.usefixtures("_swapping")
def test_conversions_that_swap_contents_leave_weights_held() -> None:
    model, masks = masked_network()
    weight = model[4].weight
    model.double().float().half().float()
    assert model[4].weight is weight
    optimizer = sgd_of(model)
    train(model, optimizer)
    assert_masked(model, masks)
    assert_untrained(optimizer, weight, masks["4.weight"])
    assert len(weight._backward_hooks) == 1


@pytest.mark.usefixtures("_swapping")
@pytest.mark.parametrize("assign", [False, True])
def test_loading_that_swaps_contents_leaves_weights_held(assign: bool) -> None:
    model, masks = masked_network()
    for _ in range(2):
        model.load_state_dict(signal_network().state_dict(), assign=assign)
        assert_masked(model, masks)
    train(model, steps=1)
    assert_masked(model, masks)
    assert not model[4].weight.grad[~masks["4.weight"]].any()


# Threads


def test_threads_train_and_copy_models_of_their_own() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                model, masks = masked_network()
                model[0] = nn.Conv1d(2, 6, 3, padding=1)
                model[4] = nn.Sequential(model[4])
                train(model, steps=2)
                duplicated = copy.deepcopy(model)
                train(duplicated, steps=2)
                assert not duplicated[4][0].weight[~masks["4.weight"]].any()
                assert not model[0].weight[~masks["0.weight"]].any()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert not errors
