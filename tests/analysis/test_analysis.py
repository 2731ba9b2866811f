"""Analyses equal what running the masked network itself gives."""

from __future__ import annotations

# mypy: disable-error-code="index"
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from authors_networks import NETWORKS, masks_of_ones
from kept_paths import masked_gradients
from path_kernel import path_kernel_trace
from small_networks import COLOUR_IMAGE, IMAGE, lenet5, resnet20
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import phew
from phew import analysis, baselines
from phew.models import resnet, resnet_cifar, vgg

Masks = Mapping[str, torch.Tensor]


def small_chain() -> tuple[nn.Module, torch.Tensor]:
    """Two inputs, three hidden units, two outputs, of weights 1 to 6 and 1 to 6."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    model[0].weight.data = torch.arange(1.0, 7).view(3, 2)
    model[2].weight.data = torch.arange(1.0, 7).view(2, 3)
    return model, torch.zeros(1, 2)


MASKS = {
    # Unit 0 has an input and no output, unit 1 an output and no input, unit 2 both.
    "0.weight": torch.tensor([[1, 1], [0, 0], [1, 0]]).bool(),
    "2.weight": torch.tensor([[0, 1, 1], [0, 0, 0]]).bool(),
}


def test_a_masked_chain_is_analysed() -> None:
    model, example = small_chain()
    result = analysis.analyze(model, example, masks=MASKS)
    first, second = result.layers
    assert (first.num_weights, first.num_kept, first.num_effective) == (6, 3, 1)
    assert (first.num_units, first.num_active_units, first.num_effective_units) == (3, 2, 1)
    assert (second.num_weights, second.num_kept, second.num_effective) == (6, 2, 1)
    assert (second.num_units, second.num_active_units, second.num_effective_units) == (2, 1, 1)
    assert (first.num_flops, first.num_kept_flops) == (12, 6)
    assert result.total.density == 5 / 12
    assert result.total.effective_density == 2 / 12
    assert result.total.active_width == 3 / 5
    assert result.hidden_width == 2 / 3
    # One path is left, over the weights 5 and 3; the dense network has twelve.
    assert result.log10_num_paths == 0
    assert analysis.num_paths(model, example) == 12
    dense = analysis.path_kernel_trace(model, example)
    assert result.path_kernel_trace == (25 + 9) / dense
    assert result.dead_layers == ()


def test_only_weights_on_a_path_are_effective() -> None:
    effective = analysis.effective_masks(*small_chain(), masks=MASKS)
    assert effective["0.weight"].tolist() == [[False] * 2, [False] * 2, [True, False]]
    assert effective["2.weight"].tolist() == [[False, False, True], [False] * 3]


def test_a_layer_that_is_cut_off_is_dead() -> None:
    model, example = small_chain()
    masks = {**MASKS, "0.weight": torch.zeros(3, 2, dtype=torch.bool)}
    result = analysis.analyze(model, example, masks=masks)
    assert result.log10_num_paths is None
    assert result.path_kernel_trace == 0
    assert result.dead_layers == ("0.weight", "2.weight")
    assert analysis.num_paths(model, example, masks=masks) == 0


@pytest.mark.parametrize("name", ["mlp", "convnet5", "lenet5"])
@pytest.mark.parametrize("density", [0.5, 0.1, 0.02])
def test_the_path_kernel_is_that_of_the_squared_network(name: str, density: float) -> None:
    shape = NETWORKS[name].input_shape
    network, example = NETWORKS[name].network(name), torch.zeros(1, *shape)
    graph = phew.capture(network, example)
    dense = path_kernel_trace(network, shape, masks_of_ones(network))
    assert analysis.path_kernel_trace(graph) == pytest.approx(dense, rel=1e-12)
    for masks in (
        phew.sample_masks(graph, density=density),
        baselines.magnitude(network, example, density=density),
    ):
        trace = path_kernel_trace(network, shape, masks)
        assert analysis.path_kernel_trace(graph, masks=masks) == pytest.approx(trace, rel=1e-12)
        share = analysis.analyze(graph, masks=masks).path_kernel_trace
        assert share == pytest.approx(trace / dense, rel=1e-12)


@pytest.mark.parametrize("density", [0.1, 0.01])
def test_effective_weights_are_those_with_a_gradient(density: float) -> None:
    model, example = resnet20(), COLOUR_IMAGE
    masks = baselines.random(model, example, density=density)
    effective = analysis.effective_masks(model, example, masks=masks)
    for name, gradient in masked_gradients(model, masks, [example]).items():
        assert effective[name].equal(masks[name] & (gradient != 0)), name


@pytest.mark.parametrize(
    ("model", "size"), [(resnet_cifar(20), 32), (vgg(11, batch_norm=True), 32), (resnet(50), 64)]
)
def test_operations_are_those_that_torch_counts(model: nn.Module, size: int) -> None:
    example = torch.zeros(2, 3, size, size)
    with FlopCounterMode(display=False) as counter:
        model(example)
    masks = masks_of_ones(model)
    total = analysis.analyze(model, example, masks=masks).total
    assert total.num_flops == total.num_kept_flops == counter.get_total_flops()


class Mixed(nn.Module):
    """Operations whose weights are used in other numbers than a convolution's."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 8, 3, stride=2, groups=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.linear = nn.Linear(8, 6)
        self.heads = nn.Parameter(torch.randn(2, 3, 5))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.linear(self.depthwise(self.up(images)).flatten(2).mT)
        return torch.einsum("bnhd,hde->bnhe", tokens.unflatten(-1, (2, 3)), self.heads)


def test_operations_are_counted_for_other_layers() -> None:
    model, example = Mixed(), torch.zeros(2, 3, 4, 4)
    with FlopCounterMode(display=False) as counter:
        model(example)
    masks = {
        name: torch.ones_like(parameter, dtype=torch.bool)
        for name, parameter in model.named_parameters()
        if parameter.dim() > 1
    }
    assert analysis.analyze(model, example, masks=masks).total.num_flops == (
        counter.get_total_flops()
    )


def test_sums_beyond_the_range_of_a_float() -> None:
    layers = [nn.Linear(100, 100, bias=False) for _ in range(200)]
    for layer in layers:
        nn.init.constant_(layer.weight, 10)
    graph = phew.capture(nn.Sequential(*layers), torch.zeros(1, 100))
    assert analysis.num_paths(graph) == math.inf
    masks = masks_of_ones(nn.Sequential(*layers))
    result = analysis.analyze(graph, masks=masks)
    assert result.log10_num_paths == pytest.approx(402)
    assert result.path_kernel_trace == 1
    thin = {name: torch.eye(100, dtype=torch.bool) for name in masks}
    # Each of 100 units has one path; the dense network has 100^201.
    result = analysis.analyze(graph, masks=thin)
    assert result.log10_num_paths == pytest.approx(2)
    assert result.path_kernel_trace == 0
    assert result.total.effective_density == 0.01


def test_a_few_paths_beside_very_many_are_paths() -> None:
    layers = [nn.Linear(101, 101, bias=False) for _ in range(200)]
    masks = {}
    for index in range(200):
        mask = torch.ones(101, 101, dtype=torch.bool)
        mask[100, :100] = mask[:100, 100] = False
        masks[f"{index}.weight"] = mask
    effective = analysis.effective_masks(nn.Sequential(*layers), torch.zeros(1, 101), masks=masks)
    assert all(effective[name].equal(masks[name]) for name in masks)


def test_weights_that_are_no_numbers_are_refused() -> None:
    model, example = small_chain()
    with torch.no_grad():
        model[2].weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"'2\.weight' must hold finite weights"):
        analysis.path_kernel_trace(model, example)


def test_analysis_leaves_weights_of_float64_as_they_are() -> None:
    model = nn.Linear(3, 2).double()
    before = model.weight.detach().clone()
    analysis.path_kernel_trace(model, torch.zeros(1, 3, dtype=torch.float64))
    assert model.weight.equal(before)


def test_the_hidden_width_does_not_depend_on_the_order_of_masks() -> None:
    model, example = small_chain()
    backward = dict(reversed(MASKS.items()))
    assert analysis.analyze(model, example, masks=backward).hidden_width == 2 / 3
    first = {"0.weight": MASKS["0.weight"]}
    assert analysis.analyze(model, example, masks=first).hidden_width == 2 / 3


@pytest.mark.parametrize("density", [0.3, 0.05, 0.001])
def test_masks_of_walks_are_effective_everywhere(density: float) -> None:
    graph = phew.capture(lenet5(), IMAGE)
    result = analysis.analyze(graph, masks=phew.sample_masks(graph, density=density))
    assert result.total.num_effective == result.total.num_kept
    assert result.total.num_effective_units == result.total.num_active_units
    assert result.dead_layers == ()


def test_the_table_has_a_line_for_each_layer_and_the_network() -> None:
    model, example = small_chain()
    lines = str(analysis.analyze(model, example, masks=MASKS)).splitlines()
    assert lines[0].split() == (
        ["parameter", "density", "effective", "active", "units", "effective", "FLOPs", "kept"]
    )
    assert lines[2].split() == ["0.weight", "50.00%", "16.67%", "2", "/", "3", "1", "50.00%"]
    assert lines[5].split() == ["total", "41.67%", "16.67%", "3", "/", "5", "2", "41.67%"]
    assert lines[7:] == ["paths from input to output: 10^0.0", "dead layers: none"]
    assert lines[6].startswith("path kernel trace: 0.0")


@pytest.mark.parametrize(
    ("masks", "error", "message"),
    [
        ({"weight": torch.ones(2, 3).bool()}, ValueError, "got one of 'weight'"),
        ({"0.weight": torch.ones(3, 2)}, TypeError, r"masks\['0.weight'\] must be a bool tensor"),
        ({"0.weight": np.ones((3, 2))}, TypeError, "must be a bool tensor, got float64"),
        ({"0.weight": torch.ones(2, 3).bool()}, ValueError, r"shape of its parameter, \(3, 2\)"),
    ],
)
def test_masks_that_do_not_fit_are_refused(
    masks: Any, error: type[Exception], message: str
) -> None:
    for function in (analysis.analyze, analysis.path_kernel_trace, analysis.effective_masks):
        with pytest.raises(error, match=message):
            function(*small_chain(), masks=masks)


def test_analysis_leaves_float64_weights_as_they_are() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).double()
    before = [parameter.clone() for parameter in model.parameters()]
    x = torch.zeros(1, 4, dtype=torch.float64)
    analysis.analyze(model, x, masks=phew.sample_masks(model, x, density=0.5))
    for parameter, weights in zip(model.parameters(), before, strict=True):
        assert parameter.equal(weights)


class TwoTowers(nn.Module):
    """One layer reads both inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.head = nn.Linear(8, 6), nn.Linear(12, 2)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.head(torch.cat([self.tower(first), self.tower(second)], dim=1))
        return result


@pytest.mark.parametrize(
    ("model", "example", "parameter", "num_units"),
    [
        (nn.LSTM(8, 6, batch_first=True), torch.zeros(1, 5, 8), "weight_hh_l0", 24),
        (nn.GRU(8, 6, batch_first=True), torch.zeros(1, 5, 8), "weight_ih_l0", 18),
        (TwoTowers(), (torch.zeros(1, 8), torch.zeros(1, 8)), "tower.weight", 6),
    ],
    ids=["LSTM", "GRU", "two towers"],
)
def test_units_of_repeated_steps_are_counted_once(
    model: nn.Module, example: Any, parameter: str, num_units: int
) -> None:
    masks = phew.sample_masks(model, example, density=0.2)
    # A row of the matrix is a unit.
    num_kept_rows = int(masks[parameter].any(dim=1).sum())
    assert masks.active_units[parameter] == (num_kept_rows, num_units)
    layers = {
        layer.parameter: layer for layer in analysis.analyze(model, example, masks=masks).layers
    }
    layer = layers[parameter]
    assert (layer.num_active_units, layer.num_units) == (num_kept_rows, num_units)
    assert layer.num_effective_units <= num_kept_rows
