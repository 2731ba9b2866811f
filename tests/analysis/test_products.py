"""Effective weights are those with a gradient, where activations are multiplied too."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return"
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import phew
from phew.analysis import analyze, effective_masks, num_paths
from phew.graph import WiringLink
from phew.graph.links import NOTHING
from phew.masks.assembly import assemble_masks


class Gated(nn.Module):
    """Layers on the same input, whose results are combined before two further layers."""

    def __init__(self, combine: Callable[..., Tensor], num_layers: int, *, bias: bool) -> None:
        super().__init__()
        self.into = nn.Linear(8, 8, bias)
        self.sides = nn.ModuleList(nn.Linear(8, 24, bias) for _ in range(num_layers))
        self.down, self.out = nn.Linear(24, 8, bias), nn.Linear(8, 4, bias)
        self.combine = combine

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.into(x))
        return self.out(torch.tanh(self.down(self.combine(*(side(x) for side in self.sides)))))


class Attention(nn.Module):
    """Four heads of one place each, so that a head's query meets a key in one place."""

    def __init__(self, attend: Callable[..., Tensor], *, bias: bool) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(8, 8, bias) for _ in range(4))
        self.attend = attend

    def forward(self, x: Tensor) -> Tensor:
        layers = self.query, self.key, self.value
        heads = (layer(x).unflatten(-1, (8, 1)).transpose(1, 2) for layer in layers)
        return self.out(self.attend(*heads).transpose(1, 2).flatten(2))


class Recurrent(nn.Module):
    def __init__(self, kind: Callable[..., nn.Module], *, bias: bool) -> None:
        super().__init__()
        self.cells = kind(6, 8, 2, batch_first=True, bias=bias)
        self.out = nn.Linear(8, 4, bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cells(x)[0])


class SqueezeExcitation(nn.Module):
    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 12, 3, bias=bias), nn.Conv2d(12, 4, 3, bias=bias)
        self.squeeze, self.excite = nn.Linear(12, 6, bias), nn.Linear(6, 12, bias)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x))
        gate = torch.sigmoid(self.excite(torch.tanh(self.squeeze(x.mean((2, 3))))))
        return self.last(x * gate[:, :, None, None])


class GatedConvolution(nn.Module):
    """The gate of a Mamba block: one projection makes both sides."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.into = nn.Linear(8, 32, bias)
        self.mix = nn.Conv1d(16, 16, 3, padding=2, groups=16, bias=bias)
        self.out = nn.Linear(16, 4, bias)

    def forward(self, x: Tensor) -> Tensor:
        content, gate = self.into(x).chunk(2, dim=-1)
        content = self.mix(content.mT)[..., : x.shape[1]].mT
        return self.out(F.silu(content) * F.silu(gate))


def softmax_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return torch.softmax(query @ key.mT, dim=-1) @ value


def linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return query @ (key.mT @ value)


COMBINATIONS: dict[str, tuple[int, Callable[..., Tensor]]] = {
    "SwiGLU": (2, lambda gate, up: F.silu(gate) * up),
    "GEGLU": (2, lambda gate, up: F.gelu(gate, approximate="tanh") * up),
    "GLU": (2, lambda gate, up: F.glu(torch.cat([up, gate], dim=-1))),
    "bilinear": (2, lambda x, y: x * y),
    "product in place": (2, lambda x, y: (0.5 * x).mul_(y)),
    "three factors": (3, lambda x, y, z: x * y.tanh() * z),
    "a sum with a product": (3, lambda x, y, z: torch.addcmul(x, y, z)),
    "a product and the sum": (2, lambda x, y: x * y + (x + y)),
    "quotient": (2, lambda x, y: x / (1 + y.square())),
    "shifted": (2, lambda gate, up: (1 + gate) * up),
    "cosine": (2, lambda gate, up: torch.cos(gate) * up),
}
ATTENTIONS = {
    "attention": softmax_attention,
    "fused attention": F.scaled_dot_product_attention,
    "linear attention": linear_attention,
}
OTHERS: dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]] = {
    "GRU": (lambda bias: Recurrent(nn.GRU, bias=bias), (2, 4, 6)),
    "LSTM": (lambda bias: Recurrent(nn.LSTM, bias=bias), (2, 4, 6)),
    "squeeze and excitation": (SqueezeExcitation, (2, 3, 6, 6)),
    "gated convolution": (GatedConvolution, (2, 5, 8)),
}


def network(name: str, *, bias: bool) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(1)
    if name in COMBINATIONS:
        num_layers, combine = COMBINATIONS[name]
        return Gated(combine, num_layers, bias=bias).double(), torch.zeros(2, 8).double()
    if name in ATTENTIONS:
        return Attention(ATTENTIONS[name], bias=bias).double(), torch.zeros(2, 5, 8).double()
    build, shape = OTHERS[name]
    return build(bias=bias).double(), torch.zeros(shape).double()


NAMES = [*COMBINATIONS, *ATTENTIONS, *OTHERS]


def with_gradient(model: nn.Module, example: Tensor, masks: dict[str, Tensor]) -> dict[str, Tensor]:
    """Flag the kept weights of a pruned model that have a gradient for some random input."""
    for name, mask in masks.items():
        model.get_parameter(name).data.mul_(mask)
    seen = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    for _ in range(4):
        model.zero_grad()
        model(torch.randn(6, *example.shape[1:], dtype=torch.float64)).sin().sum().backward()
        for name in masks:
            seen[name] |= masks[name] & (model.get_parameter(name).grad != 0)
    return seen


def random_masks(graph: phew.WalkGraph, density: float) -> dict[str, Tensor]:
    return {name: torch.rand(graph.parameters[name].shape) < density for name in graph.prunable}


@pytest.mark.parametrize("density", [0.1, 0.2, 0.4])
@pytest.mark.parametrize("name", NAMES)
def test_effective_weights_have_a_gradient_and_others_none(name: str, density: float) -> None:
    model, example = network(name, bias=False)
    graph = phew.capture(model, example)
    masks = random_masks(graph, density)
    effective = effective_masks(graph, masks=masks)
    seen = with_gradient(model, example, masks)
    for parameter in masks:
        assert torch.equal(effective[parameter], seen[parameter]), parameter


@pytest.mark.parametrize("name", NAMES)
def test_behind_a_bias_no_factor_is_zero(name: str) -> None:
    model, example = network(name, bias=True)
    graph = phew.capture(model, example)
    masks = random_masks(graph, 0.2)
    effective = effective_masks(graph, masks=masks)
    needed = {need for link in graph.links if isinstance(link, WiringLink) for need in link.needs}
    assert needed <= {NOTHING}
    seen = with_gradient(model, example, masks)
    # A weight behind a bias alone has a gradient too, but lies on no path from the input.
    for parameter in masks:
        assert not (effective[parameter] & ~seen[parameter]).any(), parameter


def test_a_path_over_one_factor_is_none() -> None:
    model = Gated(lambda gate, up: F.silu(gate) * up, 2, bias=False)
    masks = {name: torch.ones_like(weight).bool() for name, weight in model.named_parameters()}
    masks["sides.0.weight"][0] = False
    masks["sides.1.weight"][1] = False
    example = torch.zeros(1, 8)
    effective = effective_masks(model, example, masks=masks)
    assert not effective["sides.1.weight"][0].any()
    assert not effective["sides.0.weight"][1].any()
    assert effective["down.weight"][0].tolist() == [False] * 2 + [True] * 22
    # Units 2 to 23 of both sides lead on.
    assert num_paths(model, example, masks=masks) == 8 * 8 * 2 * 22 * 8 * 4
    result = analyze(model, example, masks=masks)
    assert [layer.num_effective_units for layer in result.layers] == [8, 22, 22, 8, 4]
    assert [layer.num_active_units for layer in result.layers] == [8, 23, 23, 8, 4]


def test_units_of_a_product_are_active_where_no_factor_is_zero() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.up, self.out = (nn.Linear(3, 3, bias=False) for _ in range(3))
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.norm(F.silu(self.gate(x)) * self.up(x)))

    model = Normed()
    pruned = {
        "gate.weight": torch.tensor([[1, 1, 0], [0, 0, 0], [1, 0, 0]]).bool(),
        "up.weight": torch.tensor([[0, 1, 0], [1, 1, 1], [0, 0, 0]]).bool(),
    }
    graph = phew.capture(model, torch.zeros(1, 3))
    kept = {**pruned, "out.weight": torch.ones(3, 3).bool()}
    masks = assemble_masks(graph, kept, {})
    assert masks.unit_masks["norm.weight"].tolist() == [True, False, False]
    assert masks.active_units == {"gate.weight": (2, 3), "up.weight": (2, 3), "out.weight": (3, 3)}


def test_a_sum_of_the_units_of_a_product_needs_none_of_them() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.out = (nn.Linear(4, 4, bias=False) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            left, right = self.left(x), self.right(x)
            return self.out(left * right) + self.out(left + right)

    graph = phew.capture(Both(), torch.zeros(1, 4))
    assert not any(isinstance(link, WiringLink) and link.needs for link in graph.links)


def test_a_first_state_of_zeros_carries_nothing() -> None:
    class Recurrence(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decay, self.into, self.out = (nn.Linear(4, 4, bias=False) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            state = torch.zeros(x.shape[0], 4, dtype=x.dtype)
            for step in x.unbind(1):
                state = torch.exp(self.decay(step)) * state + self.into(step)
            return self.out(state)

    model = Recurrence().double()
    one_step, two_steps = torch.zeros(1, 1, 4).double(), torch.zeros(1, 2, 4).double()
    masks = {name: torch.ones(4, 4).bool() for name, _ in model.named_parameters()}
    masks["into.weight"][0] = False
    for example, expected in ((one_step, [False] * 4), (two_steps, [False, True, True, True])):
        effective = effective_masks(model, example, masks=masks)
        assert effective["decay.weight"].all(dim=1).tolist() == expected
        seen = with_gradient(model, example, masks)
        assert all(torch.equal(effective[name], seen[name]) for name in masks)
