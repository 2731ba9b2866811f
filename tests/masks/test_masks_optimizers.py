"""Held weights stay held by steps inside a backward pass and by optimizers unknown to torch."""

from __future__ import annotations

# mypy: disable-error-code="index, misc, operator, union-attr"
from collections.abc import Iterator

import pytest
import torch
from masked_networks import assert_masked, masked_network, random_masks, signal_network
from torch import nn

from phew.masks.masks import Masks


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# Steps inside a backward pass


def step_in_backward(model: nn.Module) -> Iterator[torch.optim.Optimizer]:
    """Let each gradient be followed by a step of an optimizer of its parameter alone."""
    for parameter in model.parameters():
        optimizer = torch.optim.SGD([parameter], lr=0.01, momentum=0.9, weight_decay=0.1)

        def step(_: object, optimizer: torch.optim.Optimizer = optimizer) -> None:
            optimizer.step()
            optimizer.zero_grad()

        parameter.register_post_accumulate_grad_hook(step)
        yield optimizer


def deep_network() -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(6, 6) for _ in range(4)))


def assert_kept_momentum(
    optimizers: list[torch.optim.Optimizer], model: nn.Module, masks: Masks
) -> None:
    state = {key: value for optimizer in optimizers for key, value in optimizer.state.items()}
    for name, mask in masks.items():
        momentum = state[model.get_parameter(name)]["momentum_buffer"]
        assert momentum[mask].any(), name
        assert not momentum[~mask].any(), name


@pytest.mark.parametrize("masks_first", [False, True])
def test_steps_inside_a_backward_pass_train_held_weights(masks_first: bool) -> None:
    model = deep_network()
    masks = random_masks(model)
    if masks_first:
        masks.apply(model)
    optimizers = list(step_in_backward(model))
    masks.apply(model)
    for _ in range(5):
        model(torch.randn(3, 6)).square().sum().backward()
        assert_masked(model, masks)
    assert_kept_momentum(optimizers, model, masks)


def test_steps_inside_a_backward_pass_hold_replaced_weights_one_after_another() -> None:
    model = deep_network()
    masks = random_masks(model)
    masks.apply(model)
    model[1] = nn.Linear(6, 6)
    model[2].weight = nn.Parameter(torch.randn(6, 6))
    optimizers = list(step_in_backward(model))
    for _ in range(2):
        model(torch.randn(3, 6)).square().sum().backward()
        assert_masked(model, masks)
    assert_kept_momentum(optimizers, model, masks)


# An optimizer that is no torch.optim.Optimizer, and a loader without load_state_dict


class OwnSgd:
    """An optimizer that torch does not know."""

    def __init__(self, parameters: Iterator[nn.Parameter]) -> None:
        self.param_groups = [{"params": list(parameters)}]
        self.momentum: dict[nn.Parameter, torch.Tensor] = {}

    @torch.no_grad()
    def step(self) -> None:
        for parameter in self.param_groups[0]["params"]:
            grad = parameter.grad + 0.1 * parameter
            self.momentum[parameter] = 0.9 * self.momentum.get(parameter, 0) + grad
            parameter -= 0.01 * self.momentum[parameter]


def test_an_optimizer_that_torch_does_not_know_keeps_zeros_as_its_gradients_are_zero() -> None:
    model, masks = masked_network()
    before = model[4].weight.detach().clone()
    optimizer = OwnSgd(model.parameters())
    for _ in range(5):
        model.zero_grad()
        model(torch.randn(5, 2, 8)).square().sum().backward()
        optimizer.step()
    assert_masked(model, masks)
    assert not model[4].weight.equal(before)


def test_what_modules_load_one_by_one_is_zeroed_by_the_next_step() -> None:
    model, masks = masked_network()
    state = signal_network().state_dict()
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        module._load_from_state_dict(state, prefix, {}, True, [], [], [])
    assert model[4].weight.all()
    assert state["4.weight"].all()
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    assert_masked(model, masks)
