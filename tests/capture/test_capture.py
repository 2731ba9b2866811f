from __future__ import annotations

# mypy: disable-error-code="arg-type, call-overload, index, no-any-return, operator"
from collections.abc import Callable
from typing import Any

import pytest
import torch
from capture_networks import Bottlenecks, PaddedShortcut, SqueezeAndExcitation
from torch import Tensor, nn
from torch.nn import functional as F
from wiring_oracle import graph_sources

import phew
from phew.graph import WalkGraph, WeightedLink, WiringLink
from phew.models import resnet, vgg


def weighted_links(graph: WalkGraph) -> dict[str, WeightedLink]:
    return {link.parameter: link for link in graph.links if isinstance(link, WeightedLink)}


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_resnets_have_every_weight_on_a_path(depth: int) -> None:
    model = resnet(depth, image_size=32)
    graph = phew.capture(model, torch.zeros(1, 3, 32, 32))
    weights = [name for name, weight in model.named_parameters() if weight.dim() > 1]
    assert list(graph.prunable) == weights
    assert all(units.all() for units in graph.live)
    assert graph.notes.approximations == ()


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
    # The first block's sum leads on to the second's.
    assert shortcuts(graph) == [("add", "add")]
    projected = weighted_links(graph)["project.weight"].target
    assert [graph.links[index].shortcut for index in graph.forward.onward[projected]] == [False]


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


def test_fixed_kernels_keep_each_channel_its_unit() -> None:
    class Blur(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 3, 1), nn.Conv2d(3, 1, 1)
            self.register_buffer("kernel", torch.ones(3, 1, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.second(F.conv2d(self.first(x), self.kernel, groups=3))

    graph = phew.capture(Blur(), torch.zeros(1, 1, 5, 5))
    assert [type(link) for link in graph.links] == [WeightedLink] * 2


def test_unknown_operations_are_wired_completely_and_reported() -> None:
    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.linalg.qr(self.first(x))[1])

    model = nn.Sequential(Spectral())
    with pytest.warns(phew.ApproximationWarning, match=r"exact wiring of linalg_qr in '0'"):
        graph = phew.capture(model, torch.zeros(1, 4))
    assert [*map(str, graph.notes.approximations)] == ["linalg_qr in '0'"]
    assert "approximated by a complete wiring:\n  linalg_qr in '0'" in str(graph)
    assert all(graph_sources(graph, 1, unit)[0].all() for unit in range(6))
    assert len(phew.sample_masks(graph, density=0.5)) == 2


def test_standardised_weights_are_pruned_and_reported() -> None:
    class Standardised(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight - self.weight.mean(), self.bias)

    model = nn.Sequential(Standardised(4, 6), nn.Linear(6, 2))
    graph = phew.capture(model, torch.zeros(1, 4))
    assert graph.notes.approximations == ()
    assert graph.prunable == ("0.weight", "1.weight")
    assert graph.notes.derived == {"0.weight": "sub"}


def test_weights_computed_as_a_whole_are_wired_completely_and_not_pruned() -> None:
    model = nn.Sequential(nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)), nn.Linear(4, 2))
    graph = phew.capture(model, torch.zeros(1, 4))
    assert graph.prunable == ("1.weight",)
    assert graph.notes.approximations == ()
    assert all(units.all() for units in graph.live)
    (name,) = (name for name in graph.notes.not_prunable if name.endswith("original"))
    assert "used by" in graph.notes.not_prunable[name]


def test_biases_and_normalisations_belong_to_units() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1))
    graph = phew.capture(model, torch.zeros(1, 2, 3, 3))
    assert dict(graph.unit_parameters) == {
        "0.bias": (1,),
        "1.weight": (1,),
        "1.bias": (1,),
        "2.bias": (2,),
    }


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


def test_channels_last_pooling_keeps_units() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1))
    model = model.to(memory_format=torch.channels_last)
    inputs = torch.zeros(2, 3, 5, 5).to(memory_format=torch.channels_last)
    assert len(phew.capture(model, inputs).links) == 2


def test_exclude_keeps_links_but_does_not_prune() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    graph = phew.capture(model, torch.zeros(1, 4), exclude=["1.*"])
    assert graph.prunable == ("0.weight",)
    assert sum(isinstance(link, WeightedLink) for link in graph.links) == 2


def test_packed_parameters_have_no_units_of_their_own() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.randn(6, 4)), nn.Parameter(torch.zeros(6))
            self.norm = nn.LayerNorm(3)

        def forward(self, x: Tensor) -> Tensor:
            pairs = zip(self.weight.chunk(2), self.bias.chunk(2), strict=True)
            left, right = (self.norm(F.linear(x, weight, bias)) for weight, bias in pairs)
            return torch.cat([left, right], dim=1)

    graph = phew.capture(Packed(), torch.zeros(1, 4))
    assert dict(graph.unit_parameters) == {"norm.weight": (1, 2), "norm.bias": (1, 2)}
    masks = phew.sample_masks(graph, density=0.5)
    assert masks.active_units["weight"][1] == 6


@pytest.mark.parametrize(
    ("parametrise", "suffix"),
    [
        (nn.utils.parametrizations.weight_norm, "original1"),
        (nn.utils.parametrizations.spectral_norm, "original"),
    ],
)
def test_parametrised_weights_are_pruned_by_their_direction(
    parametrise: Callable[[nn.Module], nn.Module], suffix: str
) -> None:
    model = nn.Sequential(parametrise(nn.Linear(4, 5)), nn.Linear(5, 2))
    graph = phew.capture(model, torch.zeros(1, 4))
    direction = f"0.parametrizations.weight.{suffix}"
    assert graph.prunable == (direction, "1.weight")
    assert list(graph.notes.derived) == [direction]
    assert graph.notes.approximations == ()


@pytest.mark.parametrize(
    "activation",
    [
        *(nn.PReLU(), nn.Hardswish(), nn.Hardswish(inplace=True), nn.Mish(inplace=True)),
        *(nn.RReLU(), nn.LogSigmoid(), nn.Softmax(dim=1), nn.LogSoftmax(dim=1), nn.ELU()),
        *(nn.SELU(), nn.GELU(), nn.SiLU(inplace=True), nn.Hardtanh(), nn.Softplus()),
        *(nn.Tanh(), nn.Threshold(0, 0)),
    ],
    ids=str,
)
def test_activations_keep_units(activation: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(4, 5), activation, nn.Linear(5, 2))
    assert [type(link) for link in phew.capture(model, torch.zeros(1, 4)).links] == [
        WeightedLink
    ] * 2


@pytest.mark.parametrize("build", [nn.Dropout, nn.AlphaDropout, nn.FeatureAlphaDropout])
def test_dropout_of_a_training_model_keeps_units(build: Callable[[], nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(4, 5), build(), nn.Linear(5, 2)).train()
    assert len(phew.capture(model, torch.zeros(1, 4)).links) == 2


def test_vectors_of_weights_and_broadcast_weights_are_links() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 5)
            self.vector, self.row = nn.Parameter(torch.ones(5)), nn.Parameter(torch.ones(1, 5))

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            x = self.first(x)
            return x @ self.vector, F.linear(x, self.row.expand(3, 5)), x.sum().sum(0)

    graph = phew.capture(Odd(), torch.zeros(2, 4))
    assert set(graph.prunable) == {"row", "first.weight"}
    assert weighted_links(graph)["vector"].shape == (1, 1, 5, 1)
    assert weighted_links(graph)["row"].shape == (1, 1, 5, 1)
    assert graph.notes.approximations == ()


def test_outputs_in_containers_and_cycles() -> None:
    class Nested(nn.Linear):
        def forward(self, x: Tensor) -> Any:
            output: dict[str, Any] = {"list": [(super().forward(x), None)]}
            output["self"] = output
            return output

    assert len(phew.capture(Nested(4, 2), torch.zeros(1, 4)).exits) == 1
