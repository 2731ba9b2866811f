from __future__ import annotations

# mypy: disable-error-code="arg-type, call-overload, no-any-return, operator"
import copy
import math
import pickle
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from equality import assert_same_elements
from random_graphs import random_graph
from small_networks import COLOUR_IMAGE, IMAGE, lenet5, resnet20
from torch import nn
from walk_engines import EngineOn
from walk_options import graph_seeds, with_options

import phew
from phew import Masks
from phew.graph import WalkGraph
from phew.graph.digests import digest_of_graph, digest_of_values
from phew.reference import Reference
from phew.walks.cpu_engine import CpuEngine
from phew.walks.forecast import Forecast
from phew.walks.options import Granularity, Options

BATCH_SIZES = (1, 7, 1 << 20)
NUM_GRAPHS = 160
DENSITIES = [0.01, 0.05, 0.1, 0.3, 0.5, 0.8, 0.9, 0.98]


def densities_within_reach(
    rng: np.random.Generator, graph: WalkGraph, reference: Reference
) -> list[float]:
    """Draw up to three densities that at most 60 walks, now and then 400, are enough for."""
    num_walks = 400 if rng.random() < 0.1 else 60
    visited = {visit for walk in range(num_walks) for visit in reference.walk(walk)}
    targets = rng.integers(1, len(visited), size=3, endpoint=True).tolist() if visited else []
    return [target / graph.num_prunable_weights for target in targets]


@pytest.mark.filterwarnings("ignore::phew.CollapseWarning")
@with_options
def test_masks_are_those_of_the_reference(
    options: Options, engine: EngineOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No more walks than this are listed at first: with batches of seven they would take seconds.
    monkeypatch.setattr("phew.walks.plan.LANDING_SIZE", 2**10)
    schedules = list(product(engine.num_threads, BATCH_SIZES))
    for number in graph_seeds(options, NUM_GRAPHS):
        rng = np.random.default_rng(number)
        graph = random_graph(rng)
        seeded = replace(options, seed=int(rng.integers(2**64, dtype=np.uint64)))
        reference = Reference(graph, **vars(seeded))
        densities = densities_within_reach(rng, graph, reference)
        expected = [reference.sample_masks(density) for density in densities]
        # Masks of one run, whose densities are in any order, equal those of separate runs.
        for masks, result in zip(
            phew.sample_masks(engine.put(graph), densities=densities, **vars(seeded)),
            expected,
            strict=True,
        ):
            assert masks.num_walks == result.num_walks
            assert_same_elements(masks, result.masks, f"graph {number}")
        for schedule in rng.choice(len(schedules), size=3, replace=False):
            num_threads, batch_size = schedules[schedule]
            sampler = engine.sampler(graph, seeded, num_threads=num_threads, batch_size=batch_size)
            targets = [sampler.target(density) for density in densities]
            samples = {sample.target: sample for sample in sampler.run(targets)}
            for target, result in zip(targets, expected, strict=True):
                sample = samples[target]
                where = f"graph {number}, {num_threads=}, {batch_size=}"
                assert sample.num_walks == result.num_walks, where
                assert_same_elements(sample.visited, result.masks, where)


def first_visits(graph: WalkGraph, options: Options, num_walks: int) -> dict[str, Any]:
    """Return the number of the walk that first visits each weight; `num_walks` where none does."""
    unvisited = {
        name: torch.zeros(graph.parameters[name].shape, dtype=torch.bool) for name in graph.prunable
    }
    engine = CpuEngine(graph, options, num_threads=2)
    weights, walks = engine.walk(range(num_walks), unvisited, first_listed=0, batch_size=num_walks)
    first = np.full(graph.num_prunable_weights, num_walks)
    np.minimum.at(first, weights.numpy(), walks.numpy())
    parts = np.split(first, [*graph.first_numbers.values()][1:])
    return {
        name: part.reshape(graph.parameters[name].shape)
        for name, part in zip(graph.prunable, parts, strict=True)
    }


@pytest.mark.parametrize("granularity", ["weight", "kernel"])
def test_masks_are_what_the_first_walks_visit(granularity: Granularity) -> None:
    graph = phew.capture(lenet5(), IMAGE)
    firsts = first_visits(graph, Options(granularity=granularity), 40_000)
    in_order = np.sort(np.concatenate([first.reshape(-1) for first in firsts.values()]))
    densities = [0.001, 0.02, 0.1, 0.3, 0.5]
    for density, masks in zip(
        densities,
        phew.sample_masks(graph, densities=densities, granularity=granularity),
        strict=True,
    ):
        last_walk = in_order[round(density * len(in_order)) - 1]
        assert masks.num_walks == last_walk + 1
        assert_same_elements(masks, {name: first <= last_walk for name, first in firsts.items()})


@pytest.fixture(scope="module")
def resnet() -> WalkGraph:
    return phew.capture(resnet20(), COLOUR_IMAGE)


@pytest.fixture(scope="module")
def resnet_masks(resnet: WalkGraph) -> dict[float, Masks]:
    masks = phew.sample_masks(resnet, densities=DENSITIES)
    return dict(zip(DENSITIES, masks, strict=True))


def test_masks_of_a_residual_network_are_nested(resnet_masks: dict[float, Masks]) -> None:
    for density, denser in pairwise(DENSITIES):
        for name, mask in resnet_masks[density].items():
            assert mask.any()
            assert (mask <= resnet_masks[denser][name]).all()


def test_masks_hold_at_most_one_walk_too_much(
    resnet: WalkGraph, resnet_masks: dict[float, Masks]
) -> None:
    # A walk visits 19 3x3 convolutions, or projections in their place, and the classifier.
    for density, masks in resnet_masks.items():
        assert 0 <= masks.num_kept - round(density * resnet.num_prunable_weights) < 20


def test_kept_weights_are_on_kept_paths(resnet_masks: dict[float, Masks]) -> None:
    network = resnet20().double().eval()
    for masks in resnet_masks.values():
        for name, parameter in network.named_parameters():
            if name in masks:
                # With weights of one, a unit's value is the number of paths to it.
                parameter.data.copy_(masks[name])
                parameter.grad = None
        network(torch.ones(1, 3, 32, 32, dtype=torch.float64)).sum().backward()
        for name, mask in masks.items():
            gradient = network.get_parameter(name).grad
            assert gradient is not None
            assert (gradient[mask] > 0).all(), name


@pytest.mark.parametrize("factor", [0.0, 0.1, 0.9, 1.1, 3.0, 20.0])
def test_masks_do_not_depend_on_the_forecast(
    resnet: WalkGraph,
    resnet_masks: dict[float, Masks],
    monkeypatch: pytest.MonkeyPatch,
    factor: float,
) -> None:
    walks_for = Forecast.walks_for
    monkeypatch.setattr(
        Forecast,
        "walks_for",
        lambda forecast, num_weights: int(factor * walks_for(forecast, num_weights)),
    )
    # The number of walks that are too many to be right is forecast, too.
    monkeypatch.setattr(Forecast, "most_walks_for", lambda *_: math.inf)
    densities = [0.01, 0.1, 0.3]
    for density, masks in zip(
        densities, phew.sample_masks(resnet, densities=densities), strict=True
    ):
        assert masks.num_walks == resnet_masks[density].num_walks
        assert_same_elements(masks, resnet_masks[density])


def test_one_density_of_several_is_that_of_its_own_run(
    resnet: WalkGraph, resnet_masks: dict[float, Masks]
) -> None:
    for density in (0.05, 0.5):
        masks = phew.sample_masks(resnet, density=density, num_threads=1)
        assert masks.num_walks == resnet_masks[density].num_walks
        assert_same_elements(masks, resnet_masks[density])
    twice = phew.sample_masks(resnet, densities=[0.1, 0.01, 0.1])
    for density, masks in zip([0.1, 0.01, 0.1], twice, strict=True):
        assert_same_elements(masks, resnet_masks[density])
    assert phew.sample_masks(resnet, densities=[]) == []


def test_a_rare_weight_is_waited_for() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1, 1e-5], [1e-5, 1]]))
        network[1].weight.copy_(torch.tensor([[1.0, 1.0]]))
    masks = phew.sample_masks(network, torch.zeros(1, 2), density=1)
    assert masks.density == 1
    assert 20_000 < masks.num_walks < 1_000_000


def test_masks_say_how_they_were_made(resnet: WalkGraph, resnet_masks: dict[float, Masks]) -> None:
    masks = resnet_masks[0.1]
    assert masks.info == {
        "method": "PHEW",
        "density": 0.1,
        "num_walks": masks.num_walks,
        "seed": 0,
        "fork": "uniform",
        "granularity": "weight",
        "power": 1,
        "phew_version": phew.__version__,
        "graph": digest_of_graph(resnet),
        "weights": digest_of_values(resnet),
    }
    assert masks.digests.keys() == masks.keys()


def small_convnet() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, groups=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 4 * 4, 10),
    )


INPUTS = torch.zeros(2, 3, 8, 8)


def with_strides(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data = parameter.data.transpose(0, 1).contiguous().transpose(0, 1)


SAME_WEIGHTS: dict[str, Callable[[nn.Module], object]] = {
    "double precision": lambda model: model.double(),
    "channels last": lambda model: model.to(memory_format=torch.channels_last),
    "strides": with_strides,
    "frozen": lambda model: model.requires_grad_(False),
    "evaluation": lambda model: model.eval(),
    "gradients": lambda model: model(torch.randn(INPUTS.shape)).sum().backward(),
}


@pytest.mark.parametrize("change", SAME_WEIGHTS)
def test_equal_weights_have_equal_masks(change: str) -> None:
    expected = phew.sample_masks(small_convnet(), INPUTS, density=0.2)
    changed = small_convnet()
    SAME_WEIGHTS[change](changed)
    masks = phew.sample_masks(changed, INPUTS.to(changed[0].weight.dtype), density=0.2)
    assert_same_elements(masks, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_has_the_masks_of_its_values(dtype: torch.dtype) -> None:
    half = small_convnet().to(dtype)
    masks = phew.sample_masks(half, INPUTS.to(dtype), density=0.2)
    assert_same_elements(masks, phew.sample_masks(copy.deepcopy(half).float(), INPUTS, density=0.2))


def test_tied_weights_have_one_mask() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 2))
    model[2].weight = model[0].weight
    masks = phew.sample_masks(model, torch.zeros(1, 6), density=0.5)
    assert list(masks) == ["0.weight", "3.weight"]
    assert masks.num_weights == 6 * 6 + 2 * 6
    assert 24 <= masks.num_kept < 24 + 3


def test_layer_of_zeros_is_walked_uniformly() -> None:
    model = small_convnet()
    nn.init.zeros_(model[3].weight)
    masks = phew.sample_masks(model, INPUTS, density=0.5)
    assert 0.1 < masks["3.weight"].double().mean() < 0.9
    uniform = small_convnet()
    nn.init.constant_(uniform[3].weight, 0.1)
    assert_same_elements(masks, phew.sample_masks(uniform, INPUTS, density=0.5))


class WithEmptyLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.full = nn.Linear(6, 4)
        with pytest.warns(UserWarning, match="zero-element"):
            self.empty = nn.Linear(6, 0)
        self.last = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat([self.full(x), self.empty(x)], dim=1))


def test_layer_without_units_has_an_empty_mask() -> None:
    masks = phew.sample_masks(WithEmptyLayer(), torch.zeros(1, 6), density=0.5)
    assert masks["empty.weight"].shape == (0, 6)
    assert 16 <= masks.num_kept < 16 + 2


def test_kernels_are_kept_whole() -> None:
    masks = phew.sample_masks(small_convnet(), INPUTS, density=0.2, granularity="kernel")
    kept = [masks[name].flatten(2) for name in ("0.weight", "3.weight")]
    for kernels in kept:
        assert kernels.any()
        assert not kernels.all()
        assert (kernels.any(dim=2) == kernels.all(dim=2)).all()


def test_units_are_active_where_a_kept_weight_leads_to_them() -> None:
    masks = phew.sample_masks(lenet5(), IMAGE, density=0.004)
    num_inactive = 0
    for name, mask in masks.items():
        active = mask.flatten(1).any(dim=1)
        assert masks.active_units[name] == (int(active.sum()), len(active)), name
        assert masks.unit_masks[name.replace("weight", "bias")].equal(active)
        num_inactive += int((~active).sum())
    assert num_inactive > 50


def test_parameters_may_be_parts_of_another_tensor() -> None:
    model = lenet5()
    expected = Reference(phew.capture(model, IMAGE)).sample_masks(0.05)
    flat = torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])
    parts = flat.split([parameter.numel() for parameter in model.parameters()])
    for parameter, part in zip(model.parameters(), parts, strict=True):
        parameter.data = part.view(parameter.shape)
    graph = phew.capture(model, IMAGE)
    masks = phew.sample_masks(graph, density=0.05)
    for name, mask in Reference(graph).sample_masks(0.05).masks.items():
        assert np.array_equal(mask, expected.masks[name])
        assert np.array_equal(masks[name].numpy(), mask)


def test_excluded_weights_are_walked_and_kept() -> None:
    masks = phew.sample_masks(small_convnet(), INPUTS, density=0.2, exclude=["3.*"])
    assert list(masks) == ["0.weight", "6.weight"]
    assert masks.density == pytest.approx(0.2, abs=0.001)


def test_seeds_have_masks_of_their_own() -> None:
    seeds = [0, 1, 2**32, 2**63, 2**64 - 1]
    masks = [phew.sample_masks(small_convnet(), INPUTS, density=0.2, seed=seed) for seed in seeds]
    for one, other in combinations(masks, 2):
        assert one != other


def random_states() -> tuple[Any, ...]:
    numpy_state = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), random.getstate(), pickle.dumps(numpy_state)


def test_random_states_are_left_alone() -> None:
    model = small_convnet()
    before = random_states()
    phew.sample_masks(model, INPUTS, density=0.2)
    assert random_states() == before


def test_masks_do_not_depend_on_how_the_processor_treats_subnormals() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 8))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1e-40)
    expected = phew.sample_masks(model, torch.zeros(1, 16), density=0.5)
    try:
        torch.set_flush_denormal(True)
        masks = phew.sample_masks(model, torch.zeros(1, 16), density=0.5)
    finally:
        torch.set_flush_denormal(False)
    assert masks.num_walks == expected.num_walks
    assert all(torch.equal(masks[name], mask) for name, mask in expected.items())


def test_sampled_masks_are_pickled_once() -> None:
    masks = phew.sample_masks(lenet5(), IMAGE, density=0.1)
    pickled = pickle.dumps(masks)
    assert len(pickled) < 1.2 * masks.num_weights
    assert pickle.loads(pickled) == masks
