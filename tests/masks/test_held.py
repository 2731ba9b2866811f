"""Tests of what a model can be asked about its masks, and of masks that are combined."""

from __future__ import annotations

# mypy: disable-error-code="index, operator"
import copy
from pathlib import Path

import pytest
import torch
from torch import nn

import phew


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 4))


def masks_of(model: nn.Module, density: float = 0.2, seed: int = 0) -> phew.Masks:
    return phew.sample_masks(model, torch.zeros(1, 20), density=density, seed=seed)


def test_a_model_knows_whether_it_is_pruned() -> None:
    model = network()
    assert not phew.is_pruned(model)
    with pytest.raises(ValueError, match="model must be pruned, got one without masks"):
        phew.Masks.of(model)
    masks = masks_of(model)
    masks.apply(model)
    assert phew.is_pruned(model)
    assert phew.is_pruned(copy.deepcopy(model))
    assert phew.Masks.of(model) == phew.Masks(masks)
    assert phew.Masks.of(model[2])["weight"].equal(masks["2.weight"])
    phew.release(model)
    assert not phew.is_pruned(model)


def test_a_sparse_model_is_pruned() -> None:
    model = network()
    masks = phew.Masks(dict(masks_of(model)) | {"2.weight": torch.rand(4, 12) < 0.9})
    phew.to_sparse(model, masks)
    assert isinstance(model[2], nn.Linear)
    assert phew.is_pruned(model)
    assert phew.Masks.of(model) == masks


def test_unit_masks_are_told_from_masks() -> None:
    model = network()
    masks = masks_of(model, density=0.05)
    masks.apply(model, unit_masks=True)
    held = phew.Masks.of(model)
    assert held == masks
    assert list(held.unit_masks) == ["0.bias", "2.bias"]


def test_tied_weights_have_one_mask() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    masks = phew.Masks({"0.weight": torch.eye(4, dtype=torch.bool)})
    masks.apply(model)
    assert phew.Masks.of(model) == masks


def test_names_of_a_users_module_mean_nothing() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].register_buffer("dense_mask", torch.zeros(4))
    assert not phew.is_pruned(model)


def test_weights_that_are_not_zero_are_counted() -> None:
    model = network()
    masks = masks_of(model)
    assert masks.check(model) == {
        name: int((~mask).count_nonzero()) for name, mask in masks.items()
    }
    masks.apply(model)
    assert masks.check(model) == {}
    pruned = (~masks["2.weight"]).nonzero()[0]
    with torch.no_grad():
        model[2].weight[tuple(pruned)] = 1
    assert masks.check(model) == {"2.weight": 1}
    phew.to_sparse(model, masks)
    assert masks.check(model) == {}
    others = phew.Masks({"0.weight": torch.zeros(12, 20, dtype=torch.bool)})
    assert others.check(model) == {"0.weight": int(masks["0.weight"].count_nonzero())}


def test_masks_of_another_model_are_not_checked() -> None:
    masks = masks_of(network())
    with pytest.raises(ValueError, match=r"got none named '0.weight'"):
        masks.check(nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"'0.weight' must have the shape of its mask"):
        masks.check(nn.Sequential(nn.Linear(3, 2)))
    with pytest.raises(ValueError, match=r"'0.weight' must have data to be checked"):
        masks.check(network().to("meta"))


@pytest.mark.parametrize("packed", [False, True])
def test_masks_are_combined(tmp_path: Path, packed: bool) -> None:
    model = network()
    one, two = masks_of(model), masks_of(model, seed=1)
    expected_both = {name: mask & two[name] for name, mask in one.items()}
    expected_either = {name: mask | two[name] for name, mask in one.items()}
    if packed:
        for masks, name in ((one, "one"), (two, "two")):
            masks.save(tmp_path / name)
        one, two = (phew.Masks.load(tmp_path / name) for name in ("one", "two"))
    both, either = one & two, one | two
    assert both == phew.Masks(expected_both)
    assert either == phew.Masks(expected_either)
    assert both.num_kept + either.num_kept == one.num_kept + two.num_kept
    assert both.fan_ins == one.fan_ins == (phew.Masks(dict(two)) | one).fan_ins


def test_masks_of_other_parameters_are_not_combined() -> None:
    masks = masks_of(network())
    with pytest.raises(ValueError, match=r"got the shapes \(12, 20\) and None of '0.weight'"):
        masks & phew.Masks({"2.weight": masks["2.weight"]})
    with pytest.raises(ValueError, match=r"got the shapes None and \(12, 20\) of '0.weight'"):
        phew.Masks({"2.weight": masks["2.weight"]}) | masks
    with pytest.raises(TypeError):
        masks & dict(masks)


def test_masks_go_to_a_device(tmp_path: Path) -> None:
    masks = masks_of(network())
    masks.save(tmp_path / "masks")
    loaded = phew.Masks.load(tmp_path / "masks")
    moved = loaded.to("meta")
    assert {mask.device.type for mask in moved.values()} == {"meta"}
    assert {mask.device.type for mask in moved.unit_masks.values()} == {"meta"}
    assert moved.info == masks.info
    assert loaded.contents["0.weight"] is not loaded.contents["0.weight"]  # still packed
    there = masks.to("cpu")
    assert there == masks
    assert there["0.weight"] is masks["0.weight"]
