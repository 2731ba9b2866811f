"""`sample_masks` and `prune` refuse wrong arguments and models, and leave the model as it was."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return, operator"
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import phew
from phew.graph import Space, WalkGraph, WeightedLink, WiringLink
from phew.reference import Reference

INPUTS = torch.zeros(1, 6)


class WithSideBranch(nn.Module):
    """Its `side` leads nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.side = nn.Linear(8, 8)
        self.last = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        self.side(x)
        return self.last(x)


class WithoutPath(nn.Module):
    """Its output does not depend on its input."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(self.first(x))


def small_mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def mlp_with(value: float) -> nn.Sequential:
    """A network with some weights of some units of the first layer at a value."""
    model = small_mlp()
    with torch.no_grad():
        model[0].weight[:4, :3] = value
    return model


def state_of(model: nn.Module) -> dict[str, Any]:
    """Everything of a model that sampling or pruning could change, to compare."""
    state: dict[str, Any] = {
        name: str(tensor.tolist()) + str(tensor.requires_grad)
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
        if not tensor.is_meta
    }
    for name, module in model.named_modules():
        attributes = module.__dict__
        state[name] = {key: len(hooks) for key, hooks in attributes.items() if "_hooks" in key}
        state[name] |= {"attributes": list(attributes), "training": module.training}
    return state


ARGUMENTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"density": 0}, ValueError, "density must be in (0, 1], got 0."),
    ({"density": -0.1}, ValueError, "density must be in (0, 1], got -0.1."),
    ({"density": 1.5}, ValueError, "density must be in (0, 1], got 1.5."),
    ({"density": float("nan")}, ValueError, "density must be in (0, 1], got nan."),
    ({"density": "0.1"}, TypeError, "density must be a number in (0, 1], got '0.1'."),
    ({"density": 10**400}, ValueError, "density must be in (0, 1], got a number beyond float64."),
    ({"density": 2**600}, ValueError, "density must be in (0, 1], got 4149"),
    ({"density": True}, TypeError, "density must be a number in (0, 1], got True."),
    (
        {"density": 1e-9},
        ValueError,
        "density must keep at least one of 64 weights, got 1e-09.",
    ),
    ({"seed": -1}, ValueError, "seed must be in [0, 2^64), got -1."),
    ({"seed": 2**64}, ValueError, f"seed must be in [0, 2^64), got {2**64}."),
    ({"seed": 1.5}, TypeError, "seed must be an integer, got 1.5."),
    ({"seed": True}, TypeError, "seed must be an integer, got True."),
    ({"fork": "random"}, ValueError, "fork must be one of 'uniform', 'mass', got 'random'."),
    (
        {"granularity": "channel"},
        ValueError,
        "granularity must be one of 'weight', 'kernel', got 'channel'.",
    ),
    ({"power": 3}, ValueError, "power must be one of 1, 0, 2, -1, got 3."),
    ({"fork": ["mass"]}, ValueError, "fork must be one of 'uniform', 'mass', got ['mass']."),
    ({"power": 1.0}, TypeError, "power must be an integer, got 1.0."),
    ({"power": True}, TypeError, "power must be an integer, got True."),
    ({"power": np.ones(2)}, TypeError, "power must be an integer, got array([1., 1.])."),
    ({"num_threads": 0}, ValueError, "num_threads must be in [1, 1024], got 0."),
    ({"num_threads": 10**9}, ValueError, "num_threads must be in [1, 1024], got 1000000000."),
    ({"num_threads": "2"}, TypeError, "num_threads must be an integer, got '2'."),
    ({"num_threads": True}, TypeError, "num_threads must be an integer, got True."),
]

MODELS: dict[str, tuple[Callable[[], nn.Module], float, str]] = {
    "zeros beside other weights": (
        lambda: mlp_with(0.0),
        0.9,
        "density 0.9 is out of reach: walks reach 81.2% of the prunable weights; no walk takes 12 "
        "weights of '0.weight', which are zero beside others or not on a path from input to "
        "output. Lower the density, or initialise the weights.",
    ),
    "no path": (
        WithoutPath,
        0.5,
        "model must have a path from its input to its output, got none: no output depends on a "
        "floating-point input or an embedding.",
    ),
    "NaN": (
        lambda: mlp_with(float("nan")),
        0.5,
        "parameter '0.weight' must hold finite weights, got NaN or infinity. Initialise it; walks "
        "pass through it even where it is excluded.",
    ),
    "infinity": (
        lambda: mlp_with(float("-inf")),
        0.5,
        "parameter '0.weight' must hold finite weights, got NaN or infinity. Initialise it; walks "
        "pass through it even where it is excluded.",
    ),
    "no data": (
        lambda: small_mlp().to("meta"),
        0.5,
        "model must hold its weights, got '0.weight' on the meta device. Load or initialise it "
        "first, e.g. with model.to_empty(device='cpu').",
    ),
}


@pytest.mark.parametrize(("arguments", "kind", "message"), ARGUMENTS)
def test_argument_out_of_range(
    arguments: dict[str, Any], kind: type[Exception], message: str
) -> None:
    model = small_mlp()
    before = state_of(model)
    with pytest.raises(kind, match="^" + re.escape(message)):
        phew.prune(model, INPUTS, **({"density": 0.5} | arguments))
    with pytest.raises(kind, match="^" + re.escape(message)):
        phew.sample_masks(model, INPUTS, **({"density": 0.5} | arguments))
    assert state_of(model) == before


@pytest.mark.parametrize("name", MODELS)
def test_model_that_cannot_be_pruned_so(name: str) -> None:
    build, density, message = MODELS[name]
    model = build()
    before = state_of(model)
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        phew.prune(model, INPUTS.to(next(model.parameters()).device), density=density)
    assert state_of(model) == before


def test_a_branch_that_leads_nowhere_is_named() -> None:
    message = (
        "density 0.8 is out of reach: walks reach 50.0% of the prunable weights; 'side.weight' is "
        "not on any path from input to output that walks take. Lower the density, or leave such "
        "weights out with exclude=['side.weight']."
    )
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        phew.prune(WithSideBranch(), INPUTS, density=0.8, include=["*.weight"])


@pytest.mark.parametrize("arguments", [{}, {"density": 0.5, "densities": [0.1]}])
def test_density_and_densities_exclude_each_other(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"^density or densities must be given, and not both\.$"):
        phew.sample_masks(small_mlp(), INPUTS, **arguments)


def test_densities_are_checked_one_by_one() -> None:
    with pytest.raises(ValueError, match=r"^density must be in \(0, 1\], got 2\.$"):
        phew.sample_masks(small_mlp(), INPUTS, densities=[0.5, 2])


@pytest.mark.parametrize("densities", [0.1, np.array(0.1)])
def test_densities_are_a_sequence(densities: Any) -> None:
    message = f"densities must be a sequence of densities, got {densities!r}."
    with pytest.raises(TypeError, match="^" + re.escape(message)):
        phew.sample_masks(small_mlp(), INPUTS, densities=densities)


def test_integers_of_numpy_are_integers() -> None:
    options: dict[str, Any] = {"seed": 3, "power": 2, "num_threads": 2}
    of_numpy: dict[str, Any] = {name: np.int64(value) for name, value in options.items()}
    masks, expected = (
        phew.sample_masks(small_mlp(), INPUTS, density=0.5, **each) for each in (of_numpy, options)
    )
    assert masks == expected
    assert type(masks.info["seed"]) is type(masks.info["power"]) is int


def test_zero_weights_are_within_reach_of_other_powers() -> None:
    model = mlp_with(0.0)
    for power in (0, -1):
        assert phew.sample_masks(model, INPUTS, density=1, power=power).density == 1
    assert phew.sample_masks(model, INPUTS, density=52 / 64).num_kept == 52


def test_a_graph_has_its_inputs_and_exclusions() -> None:
    graph = phew.capture(small_mlp(), INPUTS)
    with pytest.raises(
        TypeError, match=r"^example_inputs must be left out where model is a WalkGraph\.$"
    ):
        phew.sample_masks(graph, INPUTS, density=0.5)
    with pytest.raises(
        TypeError, match=r"^exclude must be given to capture where model is a WalkGraph\.$"
    ):
        phew.sample_masks(graph, density=0.5, exclude=["0.*"])


def test_only_a_model_is_pruned() -> None:
    graph: Any = phew.capture(small_mlp(), INPUTS)
    with pytest.raises(TypeError, match=r"^model must be a torch\.nn\.Module, got WalkGraph\.$"):
        phew.prune(graph, None, density=0.5)


def test_a_graph_whose_parameters_have_changed_shape_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    graph = phew.capture(model, torch.zeros(1, 4))
    model[0].weight.data = torch.zeros(2, 2)
    with pytest.raises(ValueError, match=r"'0.weight' must be of the shape \(4, 4\) "):
        phew.sample_masks(graph, density=0.5)


@pytest.mark.parametrize("num_bytes", [0, 8])
def test_a_graph_whose_parameters_were_freed_is_refused(num_bytes: int) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    graph = phew.capture(model, torch.zeros(1, 4))
    model[0].weight.untyped_storage().resize_(num_bytes)
    message = rf"^parameter '0.weight' must hold its weights, got {num_bytes} of 64 bytes: its"
    with pytest.raises(ValueError, match=message):
        phew.sample_masks(graph, density=0.5)
    with pytest.raises(ValueError, match=message):
        Reference(graph)


def test_densities_of_any_real_type_are_taken() -> None:
    model = nn.Linear(512, 200)
    density: Any = np.float16(0.25)
    masks = phew.sample_masks(model, torch.zeros(1, 512), density=density)
    assert masks.density == pytest.approx(0.25, abs=1e-4)


def test_more_walks_than_anyone_waits_for_are_refused() -> None:
    model = nn.Sequential(nn.Linear(512, 512), nn.Linear(512, 2))
    with torch.no_grad():
        model[0].weight[0, 0] = 1e-30
    message = r"^density 1 takes some .* walks, about [\d,]+ days of walking: a few weights are so"
    with pytest.raises(ValueError, match=message):
        phew.sample_masks(model, torch.zeros(1, 512), density=1.0, num_threads=1)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("tpu", "device must be 'cpu' or a CUDA device, got 'tpu'"),
        ("meta", "device must be 'cpu' or a CUDA device, got 'meta'"),
        (1.5, "device must be 'cpu' or a CUDA device, got 1.5"),
        (2**64, "device must be 'cpu' or a CUDA device, got 18446744073709551616"),
        (-1, "device must be 'cpu' or a CUDA device, got -1"),
    ],
)
def test_other_devices_are_refused(device: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        phew.sample_masks(small_mlp(), INPUTS, density=0.5, device=device)


def test_a_cuda_device_without_cuda_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phew.walks.devices.built_with_cuda", False)
    with pytest.raises(ValueError, match=r"needs phew with CUDA.*cmake.define.PHEW_CUDA=ON"):
        phew.sample_masks(small_mlp(), INPUTS, density=0.5, device="cuda")
    monkeypatch.setattr("phew.walks.devices.built_with_cuda", True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(ValueError, match="must be one that is there, got 'cuda:1': torch"):
        phew.sample_masks(small_mlp(), INPUTS, density=0.5, device="cuda:1")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(ValueError, match="must be one of 1 CUDA devices, got 'cuda:1'"):
        phew.sample_masks(small_mlp(), INPUTS, density=0.5, device=torch.device("cuda", 1))
    monkeypatch.setattr("phew.walks.devices.obstacle", lambda device: "the driver is too old")
    with pytest.raises(ValueError, match="run on, got 'cuda:0': the driver is too old"):
        phew.sample_masks(small_mlp(), INPUTS, density=0.5, device=torch.device("cuda", 0))


def test_masses_of_a_units_links_must_fit_in_64_bits() -> None:
    # Five complete wirings of 64 units before 64 weights: each of the 300 links leads to a mass
    # above 2^56, at which it saturates.
    sizes = [1, *[64] * 6, 1]
    wirings = [0] * 300 + [1, 2, 3, 4, 5]
    links = [
        WiringLink(
            space,
            space + 1,
            np.zeros(sizes[space], dtype=np.int32),
            np.zeros(sizes[space + 1], dtype=np.int32),
        )
        for space in wirings
    ]
    graph = WalkGraph(
        spaces=tuple(Space(str(size), size) for size in sizes),
        links=(*links, WeightedLink(6, 7, "w", 1, 1, 64, 1, strides=(64, 64, 1, 1))),
        entries=(0,),
        exits=(7,),
        parameters={"w": torch.ones(1, 64)},
        prunable=("w",),
    )
    message = r"fork must be 'uniform' where the masses of a unit's links add up to 2\^64 or more"
    with pytest.raises(ValueError, match=message):
        phew.sample_masks(graph, density=0.1, fork="mass")
    with pytest.raises(ValueError, match=message):
        Reference(graph, fork="mass").sample_masks(0.1)
    assert phew.sample_masks(graph, density=0.1).num_kept == 6


def test_masses_of_the_links_of_dead_units_do_not_matter() -> None:
    # The unit that 300 links leave is fed by nothing, so that no walk is ever on it.
    sizes = [1, 1, *[64] * 6, 1]
    wirings = [(1, 2)] * 300 + [(0, 2), (2, 3), (3, 4), (4, 5), (5, 6)]
    links = [
        WiringLink(
            near, far, np.zeros(sizes[near], dtype=np.int32), np.zeros(sizes[far], dtype=np.int32)
        )
        for near, far in [*wirings, (6, 7)]
    ]
    graph = WalkGraph(
        spaces=tuple(Space(str(size), size) for size in sizes),
        links=(*links, WeightedLink(7, 8, "w", 1, 1, 64, 1, strides=(64, 64, 1, 1))),
        entries=(0,),
        exits=(8,),
        parameters={"w": torch.ones(1, 64)},
        prunable=("w",),
    )
    masks = phew.sample_masks(graph, density=0.1, fork="mass")
    expected = Reference(graph, fork="mass").sample_masks(0.1)
    assert masks.num_walks == expected.num_walks
    assert masks["w"].tolist() == expected.masks["w"].tolist()
