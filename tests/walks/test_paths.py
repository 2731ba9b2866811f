"""Every weight that a mask keeps lies on a path of kept weights: effective density = density."""

from __future__ import annotations

import pytest
import torch
from attention_networks import ATTENTION_NETWORKS
from capture_networks import NETWORKS
from kept_paths import masked_gradients
from weight_networks import WEIGHT_NETWORKS

import phew

# The units of a layer across tokens are tokens: walks forget there which channel they are in.
ACROSS_TOKENS = {"mixer", "spatial gating"}
ALL = NETWORKS | ATTENTION_NETWORKS | WEIGHT_NETWORKS


@pytest.mark.filterwarnings("ignore::phew.CollapseWarning")
@pytest.mark.filterwarnings("ignore:.*its weights are computed:phew.LeftDenseWarning")
@pytest.mark.parametrize("density", [0.1, 0.5])
@pytest.mark.parametrize("name", sorted(ALL.keys() - ACROSS_TOKENS))
def test_every_kept_weight_is_on_a_path(name: str, density: float) -> None:
    torch.manual_seed(0)
    build, shapes = ALL[name]
    model, inputs = build(), tuple(torch.rand(shape) for shape in shapes)
    graph = phew.capture(model, inputs)
    masks = phew.sample_masks(graph, density=density)
    gradients = masked_gradients(model, masks, inputs)
    for parameter, kept in masks.items():
        mask = kept
        if (dims := graph.notes.normalised.get(parameter)) is not None:
            # A row that a norm divides keeps a weight even where no walk visited any.
            mask = kept & (kept.sum(dims, keepdim=True) > 1)
        assert (gradients[parameter][mask] != 0).all(), parameter


def test_weights_kept_at_random_are_not_all_on_paths() -> None:
    torch.manual_seed(0)
    build, shapes = ALL["resnet20"]
    model, inputs = build(), tuple(torch.rand(shape) for shape in shapes)
    names = phew.capture(model, inputs).prunable
    weights = {name: model.get_parameter(name) for name in names}
    masks = phew.Masks({name: torch.rand(weight.shape) < 0.02 for name, weight in weights.items()})
    gradients = masked_gradients(model, masks, inputs)
    lost = [int((gradients[name][mask] == 0).sum()) for name, mask in masks.items()]
    assert sum(lost) > masks.num_kept / 10
