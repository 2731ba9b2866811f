"""Masks hold and count what is kept, and refuse what does not fit."""

from __future__ import annotations

# mypy: disable-error-code="arg-type, operator"
import copy
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from masked_networks import example_masks
from torch import nn
from torch.multiprocessing.spawn import spawn

import phew
from phew.masks.masks import Masks


def example_model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 20), nn.Linear(20, 16))


def test_masks_are_a_mapping_in_the_order_given() -> None:
    masks = example_masks()
    assert list(masks) == ["1.weight", "0.weight"]
    assert len(masks) == 2
    assert masks["0.weight"].shape == (20, 3)


def test_counts() -> None:
    masks = Masks({"a": torch.eye(4, dtype=torch.bool), "b": torch.zeros(0, 2, dtype=torch.bool)})
    assert (masks.num_weights, masks.num_kept, masks.density) == (16, 4, 0.25)
    assert masks.num_walks is None
    assert example_masks().num_walks == 1234


def test_density_of_no_weights_is_one() -> None:
    assert Masks({}).density == 1.0


def test_attributes_cannot_be_changed_from_outside() -> None:
    masks = example_masks()
    attributes: Any = (masks.unit_masks, masks.active_units, masks.info)
    for attribute in attributes:
        attribute.clear()
    assert set(masks.unit_masks) == {"0.bias"}
    assert masks.active_units["0.weight"] == (12, 20)
    assert masks.info["seed"] == 3


def test_equal_masks_keep_the_same_however_they_were_made() -> None:
    masks = example_masks()
    assert masks == Masks(dict(masks), unit_masks=masks.unit_masks)
    assert masks != Masks(dict(masks))
    assert masks != Masks({"1.weight": masks["1.weight"]}, unit_masks=masks.unit_masks)
    assert masks != Masks({**masks, "0.weight": ~masks["0.weight"]}, unit_masks=masks.unit_masks)
    assert masks != dict.fromkeys(masks)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_masks_can_be_copied_and_pickled(duplicate: Callable[[Masks], Masks]) -> None:
    assert duplicate(example_masks()) == example_masks()


@pytest.mark.parametrize("packed", [False, True])
def test_masks_go_to_processes_that_are_spawned(
    packed: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.Linear(6, 4))
    masks = phew.sample_masks(model, torch.zeros(1, 8), density=0.3)
    if packed:
        masks.save(tmp_path / "masks.safetensors")
        masks = Masks.load(tmp_path / "masks.safetensors")
    spawn(print, (masks,), nprocs=1)
    assert capfd.readouterr().out == f"0 {masks}\n"


def test_torch_loads_masks_by_default(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.Linear(6, 4))
    masks = phew.sample_masks(model, torch.zeros(1, 8), density=0.3)
    masks.save(tmp_path / "masks.safetensors")
    torch.save(
        {"masks": masks, "packed": Masks.load(tmp_path / "masks.safetensors")}, tmp_path / "x"
    )
    for loaded in torch.load(tmp_path / "x", weights_only=True).values():
        assert loaded == masks
        assert (loaded.info, loaded.fan_ins) == (masks.info, masks.fan_ins)


def test_repr_is_one_line() -> None:
    masks = Masks({"a": torch.eye(40, dtype=torch.bool)}, info={"method": "phew", "seed": 0})
    assert repr(masks) == (
        "Masks(1 parameter, 40 of 1,600 weights kept (2.50%), method='phew', seed=0)"
    )
    assert repr(example_masks()).startswith("Masks(2 parameters, ")


@pytest.mark.parametrize(
    ("mask", "got"), [(torch.ones(2), "torch.float32"), ([True, False], "<class 'list'>")]
)
@pytest.mark.parametrize("argument", ["masks", "unit_masks"])
def test_a_mask_that_is_not_a_bool_tensor_is_refused(mask: Any, got: str, argument: str) -> None:
    arguments = {"masks": {}, argument: {"fc.weight": mask}}
    message = f"{argument}['fc.weight'] must be a bool tensor, got {got}."
    with pytest.raises(TypeError, match=re.escape(message)):
        Masks(**arguments)


def test_a_name_in_both_masks_and_unit_masks_is_refused() -> None:
    mask = torch.ones(2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"unit_masks must name .*, got 'a' in both\."):
        Masks({"a": mask}, unit_masks={"a": mask})


def test_info_that_json_cannot_hold_is_refused() -> None:
    message = r"info\['density'\] must be a str, int, float or bool, got tensor\(0.5000\)\."
    with pytest.raises(TypeError, match=message):
        Masks({}, info={"density": torch.tensor(0.5)})  # type: ignore[dict-item]


# Applying to what does not fit


def masks_of(**shapes: tuple[int, ...]) -> Masks:
    """Make masks that prune everything; `_` stands for the dot in a name."""
    return Masks(
        {
            name.strip("_").replace("_", "."): torch.zeros(shape, dtype=torch.bool)
            for name, shape in shapes.items()
        }
    )


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (
            masks_of(_0_weight=(20, 3), _2_weight=(2, 2)),
            "model must have all masked parameters, got none named '2.weight'. Apply masks to the "
            "model that they were made from",
        ),
        (
            masks_of(_0_weight=(20, 3), _1_weight=(20, 16)),
            "'1.weight' must have the shape of its mask, (20, 16), got (16, 20). Apply masks to",
        ),
    ],
)
def test_masks_of_another_model_are_refused_and_change_nothing(masks: Masks, message: str) -> None:
    model = example_model()
    example_masks().apply(model)
    before = copy.deepcopy(model.state_dict())
    hooks = dict(model[0].weight._backward_hooks)
    with pytest.raises(ValueError, match=re.escape(message)):
        masks.apply(model)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert model[0].weight._backward_hooks == hooks


def test_a_parameter_on_the_meta_device_is_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 20), nn.Linear(20, 16, device="meta"))
    before = model[0].weight.detach().clone()
    with pytest.raises(ValueError, match=r"'1.weight' must have data, got .* meta device\. Call"):
        masks_of(_0_weight=(20, 3), _1_weight=(16, 20)).apply(model)
    assert model[0].weight.equal(before)


@pytest.mark.parametrize("weight", [torch.zeros(2, 2, dtype=torch.int8), torch.eye(2).to_sparse()])
def test_an_integer_or_sparse_parameter_is_refused(weight: torch.Tensor) -> None:
    model = nn.Module()
    model.weight = nn.Parameter(weight, requires_grad=False)
    message = (
        f"'weight' must be dense and floating-point, got {weight.layout}, {weight.dtype}. Apply"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        masks_of(weight=(2, 2)).apply(model)


def expanded_parameter() -> nn.Parameter:
    return nn.Parameter(torch.ones(1, 20).expand(16, 20))


@torch.inference_mode()
def inference_parameter() -> nn.Parameter:
    return nn.Parameter(torch.ones(16, 20))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (expanded_parameter, "must have memory for each of its weights, got an expanded tensor"),
        (inference_parameter, "must be a normal tensor, got one made in inference mode. Build"),
    ],
)
def test_a_parameter_that_cannot_be_held_is_refused(
    build: Callable[[], nn.Parameter], message: str
) -> None:
    model = example_model()
    model[1].weight = build()
    before = model[0].weight.detach().clone()
    with pytest.raises(ValueError, match=f"'1.weight' {message}"):
        example_masks().apply(model)
    assert model[0].weight.equal(before)
    assert not model[0].weight._backward_hooks


def test_masks_that_differ_on_a_tied_parameter_are_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    eye = torch.eye(4, dtype=torch.bool)
    message = (
        "masks must agree on tied parameters, got different ones for '0.weight' and '1.weight'"
    )
    with pytest.raises(ValueError, match=message):
        Masks({"0.weight": eye, "1.weight": ~eye}).apply(model)


# Summary


def test_summary_is_an_aligned_table() -> None:
    masks = Masks(
        {
            "stem.weight": torch.ones(64, 3, 7, 7, dtype=torch.bool),
            "head.weight": torch.eye(1000, 512, dtype=torch.bool),
        },
        active_units={"stem.weight": (64, 64), "head.weight": (512, 1000)},
    )
    assert str(masks.summary()).splitlines() == [
        "parameter             shape   kept  weights  density  active units",
        "------------------------------------------------------------------",
        "stem.weight  64 x 3 x 7 x 7  9,408    9,408  100.00%       64 / 64",
        "head.weight      1000 x 512    512  512,000    0.10%   512 / 1,000",
        "------------------------------------------------------------------",
        "total                        9,920  521,408    1.90%   576 / 1,064",
    ]


def test_summary_without_units_has_no_column_for_them() -> None:
    lines = str(Masks(dict(example_masks())).summary()).splitlines()
    assert lines[0].endswith("weights  density")
    assert "/" not in lines[-1]


def test_summary_of_many_layers_keeps_its_columns() -> None:
    masks = Masks(
        {f"layers.{i}.weight": torch.ones(i % 7 + 1, i + 1, dtype=torch.bool) for i in range(200)},
        active_units={f"layers.{i}.weight": (i % 7, i % 7 + 1) for i in range(200)},
    )
    lines = str(masks.summary()).splitlines()
    assert len(lines) == 204
    assert {len(line) for line in lines} == {len(lines[0])}


def test_summary_as_numbers() -> None:
    masks = Masks(
        {"a": torch.eye(4, dtype=torch.bool), "b": torch.ones(2, 1, dtype=torch.bool)},
        active_units={"a": (3, 4)},
    )
    numbers = masks.summary().as_dict()
    assert json.loads(json.dumps(numbers)) == numbers
    assert numbers["rows"][0] == {
        "parameter": "a",
        "shape": [4, 4],
        "num_kept": 4,
        "num_weights": 16,
        "density": 0.25,
        "num_active_units": 3,
        "num_units": 4,
    }
    assert numbers["rows"][1]["num_units"] is None
    assert (numbers["total"]["num_kept"], numbers["total"]["num_weights"]) == (6, 18)
    assert (numbers["total"]["num_active_units"], numbers["total"]["num_units"]) == (3, 4)


# Files
