from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from capture_networks import NETWORKS, Bottlenecks, PaddedShortcut, SqueezeAndExcitation
from torch import Tensor, nn
from torch.nn import functional as F
from wiring_oracle import autograd_wiring, graph_wiring

import phew
from phew.graph import WalkGraph, WeightedLink, WiringLink
from phew.models import resnet, resnet_cifar, vgg


def weighted_links(graph: WalkGraph) -> dict[str, WeightedLink]:
    return {link.parameter: link for link in graph.links if isinstance(link, WeightedLink)}


@pytest.mark.parametrize("name", NETWORKS)
def test_wiring_is_where_autograd_sees_a_dependence(name: str) -> None:
    torch.manual_seed(0)
    build, shapes = NETWORKS[name]
    model, inputs = build(), tuple(torch.rand(shape) for shape in shapes)
    graph = phew.capture(model, inputs)
    expected, captured = autograd_wiring(model, inputs), graph_wiring(graph)
    assert captured.keys() == expected.keys()
    for pair, wiring in expected.items():
        np.testing.assert_array_equal(captured[pair], wiring, err_msg=str(pair))
    assert graph.approximations == ()
    assert all(units.all() for units in graph.live)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_resnets_have_every_weight_on_a_path(depth: int) -> None:
    model = resnet(depth, image_size=32)
    graph = phew.capture(model, torch.zeros(1, 3, 32, 32))
    weights = [name for name, weight in model.named_parameters() if weight.dim() > 1]
    assert list(graph.prunable) == weights
    assert all(units.all() for units in graph.live)
    assert graph.approximations == ()


def test_vgg_is_a_chain() -> None:
    graph = phew.capture(vgg(19, batch_norm=True), torch.zeros(1, 3, 32, 32))
    assert [(link.source, link.target) for link in graph.links] == [(i, i + 1) for i in range(17)]
    assert graph.num_prunable_weights == 20_024_000


def test_link_views_are_the_weights() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(4, 6, (3, 1), groups=2), nn.ConvTranspose2d(6, 4, (1, 2), groups=2), nn.Flatten()
    )
    graph = phew.capture(model, torch.zeros(1, 4, 5, 5))
    links = weighted_links(graph)
    forward = links["0.weight"].view(model[0].weight)
    assert forward.shape == (2, 3, 2, 3)
    torch.testing.assert_close(forward[1, 2, 0], model[0].weight[5, 0].flatten())
    transposed = links["1.weight"].view(model[1].weight)
    assert transposed.shape == (2, 2, 3, 2)
    torch.testing.assert_close(transposed[1, 0, 2], model[1].weight[5, 0].flatten())


def shortcuts(graph: WalkGraph) -> list[tuple[str, str]]:
    return [
        (graph.spaces[link.source].name, graph.spaces[link.target].name)
        for link in graph.links
        if link.shortcut
    ]


def test_identity_residuals_are_shortcuts_and_projections_are_not() -> None:
    graph = phew.capture(Bottlenecks(), torch.zeros(1, 3, 8, 8))
    # The first block's sum, on to the second's.
    assert shortcuts(graph) == [("add", "add")]
    projected = weighted_links(graph)["project.weight"].target
    assert [graph.links[index].shortcut for index in graph.links_from[projected]] == [False]


def test_padded_shortcut_leaves_new_channels_without_an_edge() -> None:
    graph = phew.capture(PaddedShortcut(), torch.zeros(1, 3, 8, 8))
    (link,) = (link for link in graph.links if link.shortcut)
    assert isinstance(link, WiringLink)
    assert link.target_groups.tolist() == [-1, -1, 0, 1, 2, 3, -1, -1]


def test_input_beside_a_gate_is_a_shortcut() -> None:
    graph = phew.capture(SqueezeAndExcitation(), torch.zeros(1, 3, 8, 8))
    assert shortcuts(graph) == [("stem", "mul")]


def test_residual_of_the_input_is_a_shortcut() -> None:
    class Denoise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return x - self.layer(x)

    graph = phew.capture(Denoise(), torch.zeros(1, 3, 6, 6))
    assert [graph.spaces[space].num_units for space in graph.entries] == [3]
    assert shortcuts(graph) == [("input of layer", "sub")]


def test_entry_units_are_what_the_first_weights_read() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(2 * 4 * 4, 3))
    graph = phew.capture(flat, torch.zeros(5, 2, 4, 4))
    assert [graph.spaces[space].num_units for space in graph.entries] == [32]
    channels = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten())
    graph = phew.capture(channels, torch.zeros(2, 4, 4))
    assert [graph.spaces[space].num_units for space in graph.entries] == [2]


def test_linear_layers_act_on_the_last_axis_of_any_shape() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.GELU(), nn.Linear(4, 2))
    for shape in [(6,), (3, 6), (2, 3, 6), (2, 3, 1, 6)]:
        graph = phew.capture(model, torch.zeros(shape))
        assert [space.num_units for space in graph.spaces] == [6, 4, 2], shape


def test_weights_used_through_functions_and_views() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.packed = nn.Parameter(torch.randn(8, 5))
            self.right = nn.Parameter(torch.randn(3, 2))

        def forward(self, x: Tensor) -> Tensor:
            left, right = self.packed.chunk(2)
            x = torch.cat([F.linear(x, left), x @ right[:3].t()], dim=1)
            return (self.right.t() @ x[:, 2:5].t()).t()

    model = Functional()
    graph = phew.capture(model, torch.zeros(2, 5))
    packed = [link for link in graph.links if isinstance(link, WeightedLink)][:2]
    assert [link.offset for link in packed] == [0, 20]
    torch.testing.assert_close(packed[1].view(model.packed)[0, :, :, 0], model.packed[4:7])
    last = weighted_links(graph)["right"]
    torch.testing.assert_close(last.view(model.right)[0, :, :, 0], model.right.t())


def test_units_pass_through_buffers() -> None:
    class Cached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 3), nn.Linear(6, 2)
            self.register_buffer("cache", torch.zeros(1, 6))

        def forward(self, x: Tensor) -> Tensor:
            self.cache[:, 2:5] = self.first(x)
            return self.second(self.cache)

    model = Cached()
    graph = phew.capture(model, torch.ones(1, 4))
    assert [units.sum() for units in graph.live] == [4, 3, 3, 2]
    assert not model.cache.any()


def test_fixed_kernels_are_wiring() -> None:
    class Blur(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 3, 1), nn.Conv2d(3, 1, 1)
            self.register_buffer("kernel", torch.ones(3, 1, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.second(F.conv2d(self.first(x), self.kernel, groups=3))

    graph = phew.capture(Blur(), torch.zeros(1, 1, 5, 5))
    (wiring,) = (link for link in graph.links if isinstance(link, WiringLink))
    assert wiring.source_groups.tolist() == wiring.target_groups.tolist() == [0, 1, 2]


def test_unknown_operations_are_wired_completely_and_reported() -> None:
    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.cumsum(self.first(x), dim=1))

    model = nn.Sequential(Spectral())
    graph = phew.capture(model, torch.zeros(1, 4))
    assert graph.approximations == ("cumsum in '0'",)
    assert "approximated by a complete wiring:\n  cumsum in '0'" in str(graph)
    assert graph_wiring(graph)["0.first", "0.second"].all()
    assert len(phew.sample_masks(graph, density=0.5)) == 2


def test_computed_weights_are_reported_and_not_pruned() -> None:
    class Standardised(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight - self.weight.mean(), self.bias)

    model = nn.Sequential(Standardised(4, 6), nn.Linear(6, 2))
    graph = phew.capture(model, torch.zeros(1, 4))
    assert graph.approximations == ("addmm in '0'",)
    assert graph.prunable == ("1.weight",)


def test_biases_and_normalisations_belong_to_units() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1))
    graph = phew.capture(model, torch.zeros(1, 2, 3, 3))
    assert dict(graph.unit_parameters) == {"0.bias": 1, "1.weight": 1, "1.bias": 1, "2.bias": 2}


def test_tied_weights_are_counted_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    model[2].weight = model[0].weight
    graph = phew.capture(model, torch.zeros(1, 4))
    assert graph.prunable == ("0.weight", "3.weight")
    assert graph.num_prunable_weights == 24
    assert sum(isinstance(link, WeightedLink) for link in graph.links) == 3


def test_lookups_are_entries() -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2))
    graph = phew.capture(model, torch.zeros(1, 3, dtype=torch.long))
    assert graph.prunable == ("1.weight",)
    assert [graph.spaces[space].num_units for space in graph.entries] == [4]


def test_keyword_and_positional_inputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x: Tensor, *, scale: Tensor) -> Tensor:
            return self.layer(x * scale)

    inputs = {"x": torch.zeros(1, 4), "scale": torch.zeros(1, 4)}
    assert phew.capture(Two(), inputs).prunable == ("layer.weight",)


def test_channels_last_and_half_precision_weights() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)).to(
        memory_format=torch.channels_last
    )
    expected = [
        link.strides
        for link in weighted_links(phew.capture(model, torch.zeros(1, 3, 5, 5))).values()
    ]
    assert expected == [(108, 27, 9, 1), (8, 4, 1, 1)]
    graph = phew.capture(model.bfloat16(), torch.zeros(1, 3, 5, 5, dtype=torch.bfloat16))
    assert [link.strides for link in weighted_links(graph).values()] == expected


def test_exclude_keeps_links_but_does_not_prune() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    graph = phew.capture(model, torch.zeros(1, 4), exclude=["1.*"])
    assert graph.prunable == ("0.weight",)
    assert sum(isinstance(link, WeightedLink) for link in graph.links) == 2


class ReadsValues(nn.Module):
    """Branches on data, changes buffers and attributes, draws random numbers, and may fail."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.register_buffer("calls", torch.zeros(()))
        self.fails = fails
        self.history: list[Tensor] = []
        self.latest: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.calls = self.calls + 1
        self.norm.train()
        noise = random.random() * np.random.rand()  # noqa: NPY002
        x = self.norm(self.layer(x + torch.rand_like(x) * noise))
        self.history.append(x)
        self.latest = x
        if self.fails:
            raise RuntimeError("half-way")
        return x if float(x.sum()) > 1e9 else x * 2


def state(model: nn.Module) -> dict[str, Any]:
    return {
        "tensors": copy.deepcopy(model.state_dict()),
        "identities": {name: id(value) for name, value in model.state_dict(keep_vars=True).items()},
        "flags": [module.training for module in model.modules()],
        "hooks": [len(module._forward_hooks) for module in model.modules()],
        "gradients": [
            copy.deepcopy(weight.grad) for weight in model.parameters() if weight.grad is not None
        ],
        "requires": [weight.requires_grad for weight in model.parameters()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "python": random.getstate(),
        "grad mode": torch.is_grad_enabled(),
    }


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    for key in before:
        if key in ("tensors", "gradients", "torch"):
            torch.testing.assert_close(after[key], before[key], rtol=0, atol=0, msg=key)
        else:
            assert after[key] == before[key], key


def value_reader() -> nn.Module:
    model = ReadsValues()
    model.layer.register_forward_hook(lambda module, args, output: output)
    model.layer.weight.grad = torch.ones(4, 4)
    model.layer.bias.requires_grad_(False)
    model.norm.eval()
    return model


def test_models_that_read_values_are_captured_and_left_untouched() -> None:
    model = value_reader()
    before = state(model)
    graph = phew.capture(model, torch.ones(3, 4))
    assert graph.prunable == ("layer.weight",)
    assert_same(before, state(model))
    assert model.history == []
    assert model.latest is None


def test_failing_models_are_left_untouched() -> None:
    model = value_reader()
    model.fails = True
    before = state(model)
    with pytest.raises(ValueError, match=r"example_inputs must be accepted by the model.*half-way"):
        phew.capture(model, torch.ones(3, 4))
    assert_same(before, state(model))
    assert model.history == []


def test_training_networks_are_left_untouched() -> None:
    model = resnet_cifar(20).train()
    before = state(model)
    phew.capture(model, torch.zeros(1, 3, 32, 32))
    assert_same(before, state(model))


def test_meta_models_are_captured() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
        inputs = torch.zeros(1, 4)
    assert phew.capture(model, inputs).num_prunable_weights == 18


def sparse_model() -> nn.Module:
    model = nn.Linear(4, 4)
    model.weight = nn.Parameter(torch.eye(4).to_sparse())
    return model


def integer_model() -> nn.Module:
    weight = nn.Parameter(torch.ones(2, 2, dtype=torch.int8), requires_grad=False)
    return nn.ParameterDict({"w": weight})


def linear() -> nn.Module:
    return nn.Linear(4, 2)


def complex_model() -> nn.Module:
    return nn.Linear(4, 2, dtype=torch.complex64)


ROW = torch.zeros(1, 4)


@pytest.mark.parametrize(
    ("build", "inputs", "message"),
    [
        (linear, torch.zeros(1, 5), r"example_inputs must be accepted by the model, got Runtime"),
        (nn.ReLU, ROW, r"model must have prunable weights .*, got none"),
        (complex_model, ROW, r"parameter 'weight' must be of dtype float32.* got torch.complex64"),
        (integer_model, ROW, r"'w' must be .* got torch.int8. Leave it out with exclude=\['w'\]"),
        (sparse_model, ROW, r"parameter 'weight' must be dense, got a sparse tensor"),
    ],
)
def test_what_cannot_be_captured_is_named(
    build: Callable[[], nn.Module], inputs: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        phew.capture(build(), inputs)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor.*:UserWarning")
def test_quantised_weights_are_named() -> None:
    model = nn.Linear(4, 2)
    quantised = torch.quantize_per_tensor(torch.ones(2, 4), 0.1, 0, torch.qint8)
    model.weight = nn.Parameter(quantised, requires_grad=False)
    with pytest.raises(ValueError, match="parameter 'weight' must be dense, got a quantised"):
        phew.capture(model, ROW)


@pytest.mark.parametrize(
    ("exclude", "error", "message"),
    [
        (["head.*"], ValueError, r"exclude must match .*, got 'head\.\*', which matches none"),
        ("weight", TypeError, r"exclude must be a sequence of patterns, got the string 'weight'"),
        (["*"], ValueError, r"model must have prunable weights"),
    ],
)
def test_bad_exclude(exclude: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        phew.capture(linear(), ROW, exclude=exclude)


def test_bad_types() -> None:
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got str"):
        phew.capture("resnet", ROW)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"example_inputs must be a tensor, a tuple .*, got list"):
        phew.capture(linear(), [ROW])
