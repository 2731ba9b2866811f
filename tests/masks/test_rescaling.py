"""Tests of rescaling: after masks are applied, units keep the size that they had."""

from __future__ import annotations

# mypy: disable-error-code="arg-type, index, no-any-return, operator"
import copy
import pickle
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn

import phew
from phew.graph.fan_in import FanIn
from phew.masks.rescaling import Rescale


def masked(model: nn.Module, example: torch.Tensor, density: float = 0.2) -> phew.Masks:
    return phew.sample_masks(model, example, density=density)


def norms(weight: torch.Tensor, fan_in: FanIn) -> torch.Tensor:
    return fan_in.view(weight.detach()).square().sum((2, 3)).sqrt()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(20, 12), (2, 20)),
        (nn.Conv2d(6, 8, 3), (1, 6, 5, 5)),
        (nn.Conv2d(6, 8, 3, groups=2), (1, 6, 5, 5)),
        (nn.ConvTranspose2d(6, 8, 3), (1, 6, 5, 5)),
        (nn.ConvTranspose2d(6, 8, 3, groups=2), (1, 6, 5, 5)),
        (nn.Conv1d(4, 4, 5, groups=4), (1, 4, 9)),
    ],
)
def test_each_unit_keeps_its_norm(layer: nn.Module, shape: tuple[int, ...]) -> None:
    model = nn.Sequential(layer)
    masks = masked(model, torch.zeros(shape), density=0.4)
    before = copy.deepcopy(layer.weight)
    masks.apply(model, rescale="variance")
    (fan_in,) = masks.fan_ins["0.weight"]
    num_units = layer.bias.numel()
    assert fan_in.shape[0] * fan_in.shape[1] == num_units
    kept = fan_in.view(masks["0.weight"]).any(3).any(2)
    torch.testing.assert_close(norms(layer.weight, fan_in)[kept], norms(before, fan_in)[kept])
    assert not layer.weight[~masks["0.weight"]].any()


def test_the_variance_of_outputs_stays() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(400, 300, bias=False), nn.Linear(300, 200, bias=False))
    x = torch.randn(2_000, 400)
    dense = float(model(x).std().detach())
    masks = masked(model, x[:1], density=0.05)
    plain, rescaled = copy.deepcopy(model), copy.deepcopy(model)
    masks.apply(plain)
    masks.apply(rescaled, rescale="variance")
    assert float(plain(x).std().detach()) < 0.4 * dense
    assert float(rescaled(x).std().detach()) == pytest.approx(dense, rel=0.1)


def test_fan_in_goes_by_numbers_of_weights() -> None:
    model = nn.Sequential(nn.Linear(20, 12))
    masks = masked(model, torch.zeros(1, 20))
    before = copy.deepcopy(model[0].weight)
    masks.apply(model, rescale="fan_in")
    num_kept = masks["0.weight"].sum(1, keepdim=True)
    expected = before * masks["0.weight"] * (20 / num_kept.clamp(min=1)).sqrt()
    torch.testing.assert_close(model[0].weight, expected)


def test_auto_rescales_where_the_size_of_units_matters() -> None:
    model = nn.Sequential(
        *(nn.Conv1d(3, 16, 3), nn.BatchNorm1d(16), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(16 * 6, 20), nn.ReLU(), nn.Linear(20, 5)),
    )
    masks = masked(model, torch.zeros(2, 3, 8))
    auto, none, variance = (copy.deepcopy(model) for _ in range(3))
    masks.apply(auto, rescale="auto")
    masks.apply(none)
    masks.apply(variance, rescale="variance")
    for index, expected, other in ((0, none, variance), (4, variance, none), (6, none, variance)):
        assert auto[index].weight.equal(expected[index].weight)
        assert not auto[index].weight.equal(other[index].weight)


def test_masks_that_are_applied_again_change_nothing() -> None:
    model = nn.Sequential(nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 4))
    masks = masked(model, torch.zeros(1, 20))
    masks.apply(model, rescale="variance")
    once = copy.deepcopy(model.state_dict())
    masks.apply(model, rescale="variance")
    assert all(model.state_dict()[name].equal(value) for name, value in once.items())


def test_weights_that_are_used_twice_are_rescaled_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(10, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(torch.relu(self.layer(x)))

    model = Twice()
    before = model.layer.weight.detach().clone()
    masks = masked(model, torch.zeros(1, 10), density=0.4)
    masks.apply(model, rescale="auto")
    torch.testing.assert_close(model.layer.weight.norm(dim=1), before.norm(dim=1))


def test_an_encoder_that_is_the_decoder_is_rescaled_as_a_whole() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 10))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x @ self.weight.t()) @ self.weight

    model = Tied()
    before = model.weight.detach().clone()
    masks = masked(model, torch.zeros(1, 10), density=0.3)
    masks.apply(model, rescale="variance")
    factor = before.norm() / (before * masks["weight"]).norm()
    torch.testing.assert_close(model.weight.detach(), before * masks["weight"] * factor)


def test_attention_is_rescaled_projection_by_projection() -> None:
    model = nn.MultiheadAttention(16, 2, batch_first=True)
    x = torch.zeros(1, 3, 16)
    masks = phew.sample_masks(model, (x, x, x), density=0.3)
    before = model.in_proj_weight.detach().clone()
    masks.apply(model, rescale="auto")
    assert len(masks.fan_ins["in_proj_weight"]) == 3
    kept = masks["in_proj_weight"].any(1)
    torch.testing.assert_close(model.in_proj_weight.norm(dim=1)[kept], before.norm(dim=1)[kept])


def test_sparse_models_are_rescaled_in_the_same_way() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 40), nn.Linear(40, 4)
    )
    x = torch.randn(2, 3, 6, 6)
    # Layers of which more than half is kept stay dense, here the last.
    sampled = masked(model, x, density=0.1)
    masks = phew.Masks(
        dict(sampled) | {"4.weight": torch.rand(4, 40) < 0.8}, fan_ins=sampled.fan_ins
    )
    held = copy.deepcopy(model)
    masks.apply(held, rescale="auto")
    phew.to_sparse(model, masks, rescale="auto")
    torch.testing.assert_close(model(x), held(x))
    restored = phew.to_dense(model)
    assert restored.fan_ins == masks.fan_ins
    for name, parameter in held.named_parameters():
        torch.testing.assert_close(model.get_parameter(name), parameter)


def test_layers_under_two_names_are_rescaled() -> None:
    layer = nn.Linear(10, 10)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    sampled = masked(model, torch.zeros(1, 10), density=0.3)
    mask, fan_ins = sampled["0.weight"], sampled.fan_ins["0.weight"]
    x = torch.randn(3, 10)
    for masks in (
        sampled,
        phew.Masks({"0.weight": mask, "2.weight": mask}, fan_ins=sampled.fan_ins),
        phew.Masks({"2.weight": mask}, fan_ins={"2.weight": fan_ins}),
    ):
        held, sparse = copy.deepcopy(model), copy.deepcopy(model)
        masks.apply(held, rescale="variance")
        phew.to_sparse(sparse, masks, rescale="variance")
        torch.testing.assert_close(sparse(x), held(x))
        kept = mask.any(1)
        torch.testing.assert_close(held[0].weight.norm(dim=1)[kept], layer.weight.norm(dim=1)[kept])


@pytest.mark.parametrize("size", [1e20, 1e-30])
def test_large_and_small_weights_are_rescaled(size: float) -> None:
    model = nn.Sequential(nn.Linear(20, 12))
    with torch.no_grad():
        model[0].weight.mul_(size)
    before = model[0].weight.detach().double().norm(dim=1)
    masks = masked(model, torch.zeros(1, 20), density=0.4)
    masks.apply(model, rescale="variance")
    kept = masks["0.weight"].any(1)
    after = model[0].weight.detach().double().norm(dim=1)
    torch.testing.assert_close(after[kept], before[kept], rtol=1e-5, atol=0)


def test_prune_rescales() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 12))
    before = model[0].weight.detach().clone()
    masks = phew.prune(model, torch.zeros(1, 20), density=0.5, rescale="variance")
    kept = masks["0.weight"].any(1)
    torch.testing.assert_close(model[0].weight.norm(dim=1)[kept], before.norm(dim=1)[kept])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16, torch.complex64])
def test_other_types_are_rescaled(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(20, 12, dtype=dtype))
    before = model[0].weight.detach().abs().float().norm(dim=1)
    masks = phew.sample_masks(model, torch.zeros(1, 20, dtype=dtype), density=0.4)
    masks.apply(model, rescale="variance")
    kept = masks["0.weight"].any(1)
    after = model[0].weight.detach().abs().float().norm(dim=1)
    torch.testing.assert_close(after[kept], before[kept], rtol=1e-2, atol=0)


def test_what_is_known_of_units_is_saved(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6), nn.ReLU())
    masks = masked(model, torch.zeros(2, 4, 5, 5))
    masks.save(tmp_path / "masks.safetensors")
    loaded = phew.Masks.load(tmp_path / "masks.safetensors")
    shape, strides = (2, 3, 2, 9), (54, 18, 9, 1)
    assert masks.fan_ins == {"0.weight": (FanIn(shape, strides, 0, size_matters=False),)}
    assert loaded.fan_ins == masks.fan_ins
    assert pickle.loads(pickle.dumps(masks)).fan_ins == masks.fan_ins


def test_masks_without_units_cannot_be_rescaled_by() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    before = model[0].weight.detach().clone()
    masks = phew.Masks({"0.weight": torch.eye(2, 3, dtype=torch.bool)})
    for rescale in get_args(Rescale)[1:]:
        with pytest.raises(ValueError, match=r"which weights lead to one unit, got .* '0.weight'"):
            masks.apply(model, rescale=rescale)
        with pytest.raises(ValueError, match="which weights lead to one unit"):
            phew.to_sparse(model, masks, rescale=rescale)
    assert model[0].weight.equal(before)


def test_there_is_no_other_way() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    masks = masked(model, torch.zeros(1, 3), density=0.5)
    for call in (
        lambda: masks.apply(model, rescale="all"),
        lambda: phew.to_sparse(model, masks, rescale="all"),
        lambda: phew.prune(model, torch.zeros(1, 3), density=0.5, rescale="all"),
    ):
        with pytest.raises(ValueError, match=r"rescale must be one of 'none', .* got 'all'"):
            call()


def test_weights_that_are_not_finite_are_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    masks = masked(model, torch.zeros(1, 3), density=0.5)
    with torch.no_grad():
        model[0].weight[0, 0] = torch.inf
    with pytest.raises(ValueError, match=r"'0.weight' must be finite to be rescaled"):
        masks.apply(model, rescale="variance")


@pytest.mark.parametrize(
    "fan_in",
    [
        FanIn((1, 2, 3, 1), (0, 3, 1, 1), 1, size_matters=True),
        FanIn((1, 2, 3, 1), (0, 4, 1, 1), 0, size_matters=True),
        FanIn((1, 2, 3, 1), (0, 3, 1, 1), -1, size_matters=True),
        FanIn((1, 10**12, 1, 1), (0, 0, 0, 0), 0, size_matters=True),
        FanIn((0, 10**30, 1, 1), (0, 0, 0, 0), 0, size_matters=True),
        FanIn((1, 2, 3, 1), (0, 1, 1, 1), 0, size_matters=True),
        FanIn((1, 2, 3, 1), (0, 3, 1, 1), 0, size_matters=2),
        FanIn((1, 2, 3), (0, 3, 1, 1), 0, size_matters=True),
        FanIn((1, 2, "3", 1), (0, 3, 1, 1), 0, size_matters=True),
        ((1, 2, 3, 1), (0, 3, 1, 1), 0, True),
    ],
)
def test_units_must_be_in_their_parameter(fan_in: Any) -> None:
    with pytest.raises(
        ValueError, match=r"fan_ins\['weight'\] must be views of the shape \(2, 3\)"
    ):
        phew.Masks({"weight": torch.eye(2, 3) > 0}, fan_ins={"weight": [fan_in]})
    with pytest.raises(ValueError, match="fan_ins must name masks, got 'bias'"):
        phew.Masks({"weight": torch.eye(2, 3) > 0}, fan_ins={"bias": []})
