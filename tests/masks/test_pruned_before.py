"""Whoever prunes a model anew in place of resuming its run is warned."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from small_networks import IMAGE, lenet5
from torch import nn

import phew


def trained(density: float) -> nn.Module:
    """Return a network with the weights of one that was trained under masks, and no masks."""
    network = lenet5()
    phew.prune(network, IMAGE, density=density)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(torch.rand(4, 1, 28, 28)).square().sum().backward()
    optimizer.step()
    resumed = lenet5()
    resumed.load_state_dict(network.state_dict())
    return resumed


def test_weights_that_were_pruned_before_are_warned_of_before_they_change() -> None:
    model = trained(density=0.3)
    before = copy.deepcopy(model.state_dict())
    message = "^7[0-4]% of the model's weights are zero, .* apply the run's masks to the weights"
    with warnings.catch_warnings():
        warnings.simplefilter("error", phew.PrunedBeforeWarning)
        with pytest.raises(phew.PrunedBeforeWarning, match=message):
            phew.prune(model, IMAGE, density=0.2)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert not phew.is_pruned(model)


def test_a_model_under_masks_is_pruned_further_without_a_warning() -> None:
    model = lenet5()
    phew.prune(model, IMAGE, density=0.3)
    masks = phew.prune(model, IMAGE, density=0.1)
    assert masks.check(model) == {}


def test_layers_that_begin_at_zero_are_no_sign_of_pruning() -> None:
    model = lenet5()
    nn.init.zeros_(model.get_parameter("fc2.weight"))  # a sixth of the weights
    phew.prune(model, IMAGE, density=0.1)
