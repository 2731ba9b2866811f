"""Weights that several parameters make: pruned where a zero element makes a zero, else left out."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import phew
from phew.analysis import effective_masks

pytestmark = [
    pytest.mark.filterwarnings("ignore::phew.LeftDenseWarning"),
    pytest.mark.filterwarnings("ignore::phew.CollapseWarning"),
]


FLAGS = torch.arange(24).view(6, 4) % 3 > 0


class _Layer(nn.Module):
    """A linear layer whose weights a function makes of two parameters `a` and `b`."""

    def __init__(self, compute: Callable[[Tensor, Tensor], Tensor], *, frozen: str = "") -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(6, 4)), nn.Parameter(torch.randn(6, 4))
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name != frozen)
        self.compute = compute

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.compute(self.a, self.b))


def _capture(
    compute: Callable[[Tensor, Tensor], Tensor], include: list[str] | None = None, frozen: str = ""
) -> phew.WalkGraph:
    torch.manual_seed(0)
    model = nn.Sequential(_Layer(compute, frozen=frozen), nn.Linear(6, 2))
    return phew.capture(model, torch.zeros(1, 4), include=include)


def _noisy(mean: Tensor, spread: Tensor) -> Tensor:
    deviation = torch.log1p(spread.exp())
    return mean + deviation * torch.randn_like(deviation)


def _into_a_buffer(a: Tensor, b: Tensor) -> Tensor:
    weight = torch.empty(6, 4)
    weight[:3] = a[:3]
    weight[3:] = b[3:]
    return weight


SUMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "a sum": lambda a, b: a + b,
    "mean and noise": _noisy,
    "noise and mean": lambda a, b: F.softplus(b) * torch.randn_like(b) + a,
    "a product that is added": lambda a, b: a + 0.5 * (b @ b.t() @ b),
    "a product of matrices": lambda a, b: a @ b.t() @ a,
    "a sum that is scaled": lambda a, b: 3 * (a - b).tanh(),
    "a parameter and a sum": lambda a, b: a / 2 + (a + b),
    "a choice of a sum": lambda a, b: torch.where(FLAGS, a, a - b),
    "sums with one parameter": lambda a, b: (a + 1) + (a + b),
    "a sum of parts": lambda a, b: torch.cat([a[:3] + b[:3], (a - b)[3:]]),
    "exponentials": lambda a, b: a.exp() - b.exp(),
    "a choice": lambda a, b: torch.where(a > 0, b, -1.0),
    "parts of a buffer": _into_a_buffer,
}


@pytest.mark.parametrize("name", SUMS)
def test_parameters_of_a_sum_are_left_out_and_named(name: str) -> None:
    graph = _capture(SUMS[name])
    assert graph.prunable == ("1.weight",)
    assert graph.notes.approximations == ()
    for parameter in ("0.a", "0.b"):
        reason = graph.notes.not_prunable[parameter]
        assert re.match(r"its weights are computed: \w+ in '0'", reason)
    assert all(units.all() for units in graph.live)


@pytest.mark.parametrize(
    "compute",
    [lambda a, b: a + (a - a.mean()), lambda a, b: F.pad(a[:, 1:], (1, 0)) + torch.ones(6, 4)],
    ids=["standardised", "padded"],
)
def test_a_parameter_of_which_no_zero_is_one_is_left_out(
    compute: Callable[[Tensor, Tensor], Tensor],
) -> None:
    graph = _capture(compute)
    assert graph.prunable == ("1.weight",)
    assert graph.notes.left_dense == ("0.a",)
    assert all(units.all() for units in graph.live)


def test_what_is_added_to_padding_is_an_edge() -> None:
    graph = _capture(lambda a, b: F.pad(a[:3], (0, 0, 0, 3)) + F.pad(b[:3], (0, 0, 3, 0)))
    assert graph.prunable == ("1.weight",)
    assert {"0.a", "0.b"} <= graph.notes.not_prunable.keys()
    # All six units of the sum reach the output, not those of one parameter alone.
    assert effective_masks(graph, masks=_all_kept(graph))["1.weight"].all()


def _all_kept(graph: phew.WalkGraph) -> phew.Masks:
    kept = {
        name: torch.ones_like(graph.parameters[name], dtype=torch.bool) for name in graph.prunable
    }
    return phew.Masks(kept)


def test_low_rank_weights_of_other_modules_are_left_out_and_named() -> None:
    class LowRank(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base, self.down, self.up = nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(2, 4)

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.base.weight + 2 * (self.up.weight @ self.down.weight))

    graph = phew.capture(nn.Sequential(LowRank(), nn.Linear(4, 2)), torch.zeros(1, 4))
    assert graph.prunable == ("1.weight",)
    for name in ("0.base.weight", "0.down.weight", "0.up.weight"):
        assert graph.notes.not_prunable[name].startswith("its weights are computed: add in '0'")


def test_the_operation_that_composes_weights_is_named() -> None:
    graph = _capture(lambda a, b: 2 * (a + b))
    assert graph.notes.not_prunable["0.a"].startswith("its weights are computed: add in '0'")


@pytest.mark.parametrize("name", ["mean and noise", "noise and mean"])
def test_the_order_of_a_sum_does_not_matter(name: str) -> None:
    graph = _capture(SUMS[name], include=["0.a", "0.b"])
    assert graph.prunable == ("0.a",)


@pytest.mark.parametrize("flip", [False, True], ids=["a first", "b first"])
@pytest.mark.parametrize(("frozen", "expected"), [("", "0.a"), ("0.b", "0.a"), ("0.a", "0.b")])
def test_a_product_of_parameters_stands_for_the_trained_or_first_one(
    frozen: str, expected: str, flip: bool
) -> None:
    graph = _capture(lambda a, b: b * a if flip else a * b, frozen=frozen.removeprefix("0."))
    assert graph.prunable == (expected, "1.weight")
    (other,) = {"0.a", "0.b"} - {expected}
    assert graph.notes.not_prunable[other] == "not a weight of a link: used by mul in '0'"


def _straight_through(weight: Tensor, _: Tensor) -> Tensor:
    scale = weight.abs().max() / 7
    quantised = (weight / scale).round().clamp(-8, 7) * scale
    return weight + (quantised - weight).detach()


SCALED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "a scale": lambda a, b: a * b.mean(),
    "a gate": lambda a, b: a * torch.sigmoid(b),
    "binary": lambda a, _: a.sign() * a.abs().mean(dim=1, keepdim=True),
    "ternary": lambda a, _: a.sign() * (a.abs() > 0.3).to(a.dtype),
    "a cast": lambda a, _: a.bfloat16().float(),
    "a bounded function": lambda a, _: torch.tanh(a / 2).clamp(-0.5, 0.5),
    "soft thresholds": lambda a, _: F.softshrink(a, 0.01),
    "straight through": _straight_through,
    "fake quantisation": lambda a, _: torch.fake_quantize_per_tensor_affine(a, 0.1, 0, -128, 127),
    "fake quantisation of rows": lambda a, _: torch.fake_quantize_per_channel_affine(
        a, torch.full((6,), 0.1), torch.zeros(6, dtype=torch.int32), 0, -128, 127
    ),
    "a fused one": lambda a, _: torch.cat([a[:3], a[3:] / 2]) * 2,
}


@pytest.mark.parametrize("name", SCALED)
def test_scaled_weights_are_pruned(name: str) -> None:
    graph = _capture(SCALED[name])
    assert graph.prunable == ("0.a", "1.weight")
    assert graph.notes.approximations == ()
    # The promise behind it: where an element is zero, so is the weight.
    a, b = torch.randn(6, 4), torch.randn(6, 4)
    a[2:5, 1:3] = 0
    assert not SCALED[name](a, b)[2:5, 1:3].any()


class _Modulated(nn.Module):
    """A convolution whose weights the features of a style scale."""

    def __init__(self, *, demodulate: bool) -> None:
        super().__init__()
        self.style, self.weight = nn.Linear(3, 4), nn.Parameter(torch.randn(5, 4, 3, 3))
        self.demodulate = demodulate

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        weight = self.weight * self.style(style).view(1, 4, 1, 1)
        if self.demodulate:
            weight = weight * weight.square().sum((1, 2, 3), keepdim=True).add(1e-8).rsqrt()
        return F.conv2d(x, weight, padding=1)


class _Scaled(nn.Module):
    """A linear layer whose weights a second network scales, one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.weight = nn.Linear(4, 8), nn.Parameter(torch.randn(2, 4))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, (self.weight * self.scale(x[0]).view(2, 4)).to(x.dtype))


@pytest.mark.parametrize(
    ("model", "inputs", "reason"),
    [
        (
            _Modulated(demodulate=False),
            (torch.zeros(1, 4, 5, 5), torch.zeros(1, 3)),
            "its weights are computed: mul",
        ),
        (
            _Modulated(demodulate=True),
            (torch.zeros(1, 4, 5, 5), torch.zeros(1, 3)),
            "its weights are computed: mul",
        ),
        (nn.Sequential(_Scaled()), torch.zeros(1, 4), "its weights are computed: mul in '0'"),
    ],
    ids=["modulated", "demodulated", "scaled"],
)
def test_weights_that_activations_scale_are_named(
    model: nn.Module, inputs: object, reason: str
) -> None:
    graph = phew.capture(model, inputs)
    (name,) = (
        name
        for name, _ in model.named_parameters()
        if name.endswith("weight") and name in graph.notes.not_prunable
    )
    assert graph.notes.not_prunable[name] == reason
    assert graph.notes.approximations == ()


class _Scores(nn.Module):
    """Attention with a learned temperature per head, and positions that are added."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(4, 4) for _ in range(3))
        self.temperature = nn.Parameter(torch.ones(2, 1, 1))
        self.positions = nn.Parameter(torch.zeros(3, 4))
        self.gain = nn.Parameter(torch.ones(1, 1, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.positions
        query, key, value = (
            layer(x).unflatten(-1, (2, 2)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = (query @ key.transpose(-1, -2) * self.temperature).softmax(-1)
        result: Tensor = (scores @ value).transpose(1, 2).flatten(2) * self.gain
        return result


def test_what_scales_or_shifts_activations_is_no_weight() -> None:
    graph = phew.capture(_Scores(), torch.zeros(1, 3, 4))
    reasons = graph.notes.not_prunable
    for name in ("temperature", "positions", "gain"):
        assert reasons[name].startswith("not a weight of a link: used by")


def test_a_layer_of_its_own_is_no_reason_to_prune_what_is_composed_elsewhere() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.shift = nn.Parameter(torch.rand(4, 4)), nn.Parameter(torch.rand(4, 4))
            self.last = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.last(F.linear(F.linear(x, self.weight), self.weight + self.shift))
            return result

    assert phew.capture(Shared(), torch.zeros(1, 4)).prunable == ("last.weight",)


def test_a_lookup_at_constant_places_is_a_constant() -> None:
    class Relative(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project, self.table = nn.Linear(4, 4), nn.Parameter(torch.randn(5, 4))

        def forward(self, x: Tensor) -> Tensor:
            places = torch.arange(3)
            table = self.table[places[:, None] - places + 2]
            return torch.einsum("bqc,qkc->bqk", self.project(x), table)

    graph = phew.capture(Relative(), torch.zeros(1, 3, 4))
    assert graph.prunable == ("project.weight",)
    assert graph.notes.not_prunable["table"] == "not a weight of a link: used by index"


class PermutedTriangle(nn.Module):
    """A constant times a triangle with ones on its diagonal, as in Glow's 1 x 1 convolutions."""

    order: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.lower, self.head = nn.Parameter(torch.rand(4, 4)), nn.Linear(4, 2)
        self.register_buffer("order", torch.eye(4).roll(1, 0))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.order @ (self.lower.tril(-1) + torch.eye(4))
        result: Tensor = self.head(F.linear(x, weight))
        return result


def test_a_sum_that_a_constant_multiplies_is_left_out_and_named() -> None:
    with pytest.warns(phew.LeftDenseWarning, match="'lower': its weights are computed: add"):
        graph = phew.capture(PermutedTriangle(), torch.rand(2, 4))
    assert graph.prunable == ("head.weight",)


def _determinant(weight: Tensor) -> Tensor:
    logarithm: Tensor = torch.linalg.slogdet(weight).logabsdet
    return logarithm


@pytest.mark.parametrize("compute", [_determinant, torch.logdet, torch.linalg.inv, torch.det])
def test_weights_that_zeros_would_make_singular_are_left_out_and_named(
    compute: Callable[[Tensor], Tensor],
) -> None:
    class Flow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.mix = nn.Linear(6, 6), nn.Parameter(torch.eye(6))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return F.linear(self.first(x), self.mix), compute(self.mix)

    model = Flow()
    with pytest.warns(phew.LeftDenseWarning, match="'mix': zeros would make it singular for "):
        masks = phew.prune(model, torch.zeros(1, 6), density=0.2)
    assert list(masks) == ["first.weight"]
    assert compute(model.mix).isfinite().all()
    graph = phew.capture(model, torch.zeros(1, 6), include=["*.weight", "mix"])
    assert set(graph.prunable) == {"first.weight", "mix"}
