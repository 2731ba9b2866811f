"""A mask that nothing at its name can take is named, once, with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from masked_networks import assert_masked, masked_network, no_warning, sgd_of, train
from torch import nn
from torch.nn.utils import parametrizations

from phew.masks.masks import Masks


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def resize_in_place(model: nn.Sequential) -> None:
    model[4].weight.data = torch.randn(4, 96)
    model[3] = Twice()


def replace_by_a_larger_module(model: nn.Sequential) -> None:
    model[3] = Twice()
    model[4] = nn.Linear(96, 4)


def remove_the_module(model: nn.Sequential) -> None:
    del model[4]


def put_nothing_there(model: nn.Sequential) -> None:
    model[4] = nn.Identity()


def compute_the_weight(model: nn.Sequential) -> None:
    parametrizations.orthogonal(model[4])


def make_it_integer(model: nn.Sequential) -> None:
    model[4] = nn.Identity()
    weight = torch.ones(4, 48, dtype=torch.int8)
    model[4].register_parameter("weight", nn.Parameter(weight, requires_grad=False))


class Twice(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x.flatten(1)] * 2, dim=1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (resize_in_place, "its shape is (4, 96), that of its mask (4, 48)."),
        (replace_by_a_larger_module, "its shape is (4, 96), that of its mask (4, 48)."),
        (remove_the_module, "it is gone."),
        (put_nothing_there, "it is gone."),
        (compute_the_weight, "it is computed by _Orthogonal now."),
        (make_it_integer, "it must be dense and floating-point, got torch.strided, torch.int8."),
    ],
)
def test_a_mask_that_is_lost_is_named_once(
    change: Callable[[nn.Sequential], None], reason: str
) -> None:
    model, masks = masked_network()
    change(model)
    message = f"Masks do not hold these weights at zero any more:\n  '4.weight': {reason}"
    with pytest.warns(UserWarning, match=re.escape(message)) as caught:
        train(model, steps=1)
    assert len(caught) == 1
    assert str(caught[0].message).endswith("once the model has its final form.")
    with no_warning():
        train(model)
    assert_masked(model, Masks({"0.weight": masks["0.weight"]}))


def test_masks_that_are_lost_are_named_together() -> None:
    model, _ = masked_network()
    model[0].weight = nn.Parameter(torch.randn(6, 2, 5))
    del model[4]
    with pytest.warns(UserWarning, match=r"\n  '[04]\.weight': .*\n  '[04]\.weight': ") as caught:
        sgd_of(model).step()
    assert len(caught) == 1


def test_a_mask_that_is_lost_is_named_when_the_model_is_loaded() -> None:
    model, _ = masked_network()
    model[4] = nn.Linear(48, 7)
    with pytest.warns(UserWarning, match=r"'4\.weight': its shape is \(7, 48\)"):
        model.load_state_dict(model.state_dict())
