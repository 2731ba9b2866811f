"""The other methods have the authors' results, keep to their definitions, and are polite."""

from __future__ import annotations

# mypy: disable-error-code="operator"
import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from authors_networks import DATA, NETWORKS
from small_networks import COLOUR_IMAGE, lenet5, resnet20
from torch import nn
from torch.nn import functional as F

import phew
from phew import Masks, baselines
from phew.baselines.erk import erk_densities

IMAGES = torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8)


def classify(model: nn.Module) -> torch.Tensor:
    return F.cross_entropy(model(IMAGES), LABELS)


METHODS: dict[str, Callable[..., Masks]] = {
    "magnitude": baselines.magnitude,
    "random": baselines.random,
    "random by layer": lambda *args, **kw: baselines.random(*args, scope="layer", **kw),
    "ERK": baselines.erk,
    "SynFlow": lambda *args, **kw: baselines.synflow(*args, num_iterations=3, **kw),
    "SynFlow-L2": lambda *args, **kw: baselines.synflow_l2(*args, num_iterations=3, **kw),
    "SNIP": lambda *args, **kw: baselines.snip(*args, loss=classify, **kw),
    "GraSP": lambda *args, **kw: baselines.grasp(*args, loss=classify, **kw),
}

methods = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def authors_network(name: str) -> tuple[nn.Module, torch.Tensor]:
    authors = NETWORKS[name]
    model = authors.network(name)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.zeros_(parameter)
    return model, torch.zeros(1, *authors.input_shape)


def layer_densities(masks: Masks) -> list[float]:
    return [float(mask.double().mean()) for mask in masks.values()]


@pytest.mark.parametrize("density", [50, 20, 10, 5, 2])
@pytest.mark.parametrize(
    ("method", "function"),
    [
        ("mag", baselines.magnitude),
        ("synflow", baselines.synflow),
        ("synflowl2", baselines.synflow_l2),
    ],
)
def test_layer_densities_are_those_of_the_authors(
    method: str, function: Callable[..., Masks], density: int
) -> None:
    expected = json.loads((DATA / "baselines.json").read_text())["convnet5"][method]
    masks = function(*authors_network("convnet5"), density=density / 100)
    sizes = np.array([mask.numel() for mask in masks.values()])
    kept = [int(mask.count_nonzero()) for mask in masks.values()]
    # Theirs have six digits, and may exceed the density by one weight.
    assert np.abs(kept - expected[f"density_{density}"] * sizes).sum() < 1.1


@pytest.mark.parametrize("name", ["mlp", "convnet5"])
def test_random_layer_densities_scatter_as_the_authors_do(name: str) -> None:
    expected = json.loads((DATA / "baselines.json").read_text())[name]["random"]
    model, example = authors_network(name)
    for key, densities in expected.items():
        density = float(key.removeprefix("density_")) / 100
        masks = baselines.random(model, example, density=density)
        sizes = np.array([mask.numel() for mask in masks.values()])
        # This is the standard deviation of a difference between two independent draws.
        error = np.sqrt(2 * density * (1 - density) / sizes)
        assert (abs(np.array(layer_densities(masks)) - densities) < 4 * error).all()


@methods
@pytest.mark.parametrize("density", [0.5, 0.1, 0.013])
def test_the_density_is_exact(method: Callable[..., Masks], density: float) -> None:
    masks = method(lenet5(), IMAGES, density=density)
    assert masks.num_kept == round(density * masks.num_weights)
    assert masks.info["density"] == density
    phew_masks = phew.sample_masks(lenet5(), IMAGES, density=0.5)
    assert masks.keys() == phew_masks.keys()
    assert masks.unit_masks.keys() == phew_masks.unit_masks.keys()


@methods
def test_the_model_stays_as_it_was(method: Callable[..., Masks]) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 26 * 26, 10)
    )
    state, random_state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    method(model, IMAGES, density=0.1)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.get_rng_state().equal(random_state)
    for name, tensor in model.state_dict().items():
        assert tensor.equal(state[name]), name


@methods
def test_what_is_excluded_is_not_pruned(method: Callable[..., Masks]) -> None:
    masks = method(lenet5(), IMAGES, density=0.1, exclude=["conv1.*"])
    assert "conv1.weight" not in masks
    assert masks.num_kept == round(0.1 * masks.num_weights)


@methods
@pytest.mark.parametrize(
    ("density", "error"), [(0, ValueError), (1.5, ValueError), ("x", TypeError)]
)
def test_densities_out_of_range_are_refused(
    method: Callable[..., Masks], density: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="density must be"):
        method(lenet5(), IMAGES, density=density)


@methods
def test_a_graph_is_refused(method: Callable[..., Masks]) -> None:
    graph = phew.capture(nn.Linear(4, 2), torch.zeros(1, 4))
    with pytest.raises(TypeError, match=r"^model must be a torch\.nn\.Module, got WalkGraph\."):
        method(graph, density=0.5)


def test_masks_of_one_seed_are_the_same_and_of_another_not() -> None:
    first, second, other = (
        baselines.random(lenet5(), IMAGES, density=0.1, seed=seed) for seed in (3, 3, 4)
    )
    assert first == second
    assert any(not first[name].equal(other[name]) for name in first)


def test_synflow_scores_are_sums_over_paths() -> None:
    # Two paths lead to the first hidden unit, of products 6 and 3, and two to the second, 2 and 20.
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    model[0].weight.data = torch.tensor([[-2.0, 1.0], [0.5, -5.0]])
    model[2].weight.data = torch.tensor([[3.0, -4.0]])
    masks = baselines.synflow(model, torch.zeros(1, 2), density=1 / 3, num_iterations=1)
    assert masks["0.weight"].tolist() == [[False, False], [False, True]]
    assert masks["2.weight"].tolist() == [[False, True]]
    squared = baselines.synflow_l2(model, torch.zeros(1, 2), density=1 / 2, num_iterations=1)
    # The derivatives by the squares are 9 9, 16 16; 5 25.25. Times magnitudes: 18 9, 8 80; 15 101.
    assert squared["2.weight"].tolist() == [[False, True]]
    assert squared["0.weight"].tolist() == [[True, False], [False, True]]


def test_synflow_of_a_deep_network_does_not_collapse() -> None:
    torch.manual_seed(0)
    masks = baselines.synflow(resnet20(), COLOUR_IMAGE, density=0.02)
    assert all(mask.any() for mask in masks.values())


def test_erk_shares_are_in_proportion() -> None:
    shapes = {"a": torch.Size([64, 32, 3, 3]), "b": torch.Size([64, 64, 3, 3])}
    sizes = {name: shape.numel() for name, shape in shapes.items()}
    densities = erk_densities(shapes, sizes, 0.1)
    assert densities["a"] / densities["b"] == pytest.approx((102 / 18432) / (134 / 36864))
    kept = sum(densities[name] * shape.numel() for name, shape in shapes.items())
    assert kept == pytest.approx(0.1 * (18432 + 36864))


def test_losses_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="loss must return a tensor of one element"):
        baselines.snip(lenet5(), IMAGES, density=0.1, loss=lambda model: model(IMAGES))
    with pytest.raises(ValueError, match=r"NaN in 'conv1\.weight'"):
        baselines.snip(
            lenet5(), IMAGES, density=0.1, loss=lambda model: model(IMAGES).sum() * float("nan")
        )


def test_running_statistics_do_not_change_a_loss() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(2704, 10))
    baselines.snip(model, IMAGES, density=0.1, loss=classify)
    assert not model[1].running_mean.any()
