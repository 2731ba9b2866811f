"""Weights that a norm divides: a row that keeps no weight would be 0 / 0, so it keeps one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import phew
from phew import baselines
from phew.graph import WalkGraph
from phew.masks.assembly import keep_rows_of_norms
from phew.masks.packed import PackedMasks
from phew.reference import Reference

Wrap = Callable[[nn.Module], nn.Module]


class _ByHand(nn.Linear):
    """Weights divided by the norm of their rows, without a small number that makes it safe."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight / self.weight.norm(dim=1, keepdim=True), self.bias)


class _ByRoot(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(self.weight.square().sum(0, keepdim=True))
        return F.linear(x, self.weight * scale, self.bias)


class _Expanded(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        norm = self.weight.norm(dim=1, keepdim=True).expand_as(self.weight)
        result: Tensor = x @ (self.weight / norm).t()
        return result


class _Safe(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, F.normalize(self.weight, dim=1), self.bias)


class _Mean(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.sign() * self.weight.abs().mean(), self.bias)


def _linear(kind: type[nn.Linear]) -> nn.Sequential:
    return nn.Sequential(kind(6, 8), nn.ReLU(), nn.Linear(8, 3))


def _convolutions(wrap: Wrap) -> nn.Module:
    first, second = wrap(nn.Conv1d(3, 8, 3)), wrap(nn.Conv1d(8, 4, 3))
    return nn.Sequential(first, nn.ReLU(), second, nn.AdaptiveAvgPool1d(1), nn.Flatten())


def _old(module: nn.Module, dim: int | None = 0) -> nn.Module:
    with pytest.warns(FutureWarning, match="weight_norm"):
        return nn.utils.weight_norm(module, dim=dim)  # type: ignore[arg-type]


X, IMAGES = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)), torch.randn(2, 3, 9)

CASES: dict[str, tuple[Callable[[], nn.Module], Tensor, str, tuple[int, ...]]] = {
    "divided by hand": (lambda: _linear(_ByHand), X, "0.weight", (1,)),
    "scaled by a root": (lambda: _linear(_ByRoot), X, "0.weight", (0,)),
    "an expanded norm": (lambda: _linear(_Expanded), X, "0.weight", (1,)),
    "weight norm": (
        lambda: _convolutions(parametrizations.weight_norm),
        IMAGES,
        "0.parametrizations.weight.original1",
        (1, 2),
    ),
    "weight norm along inputs": (
        lambda: _convolutions(lambda module: parametrizations.weight_norm(module, dim=1)),
        IMAGES,
        "0.parametrizations.weight.original1",
        (0, 2),
    ),
    "weight norm of all": (
        lambda: _convolutions(lambda module: parametrizations.weight_norm(module, dim=None)),  # type: ignore[arg-type]
        IMAGES,
        "0.parametrizations.weight.original1",
        (0, 1, 2),
    ),
    "the older weight norm": (lambda: _convolutions(_old), IMAGES, "0.weight_v", (1, 2)),
    "the older one, of all": (
        lambda: _convolutions(lambda module: _old(module, None)),
        IMAGES,
        "0.weight_v",
        (0, 1, 2),
    ),
    "spectral norm": (
        lambda: _convolutions(parametrizations.spectral_norm),
        IMAGES,
        "0.parametrizations.weight.original",
        (0, 1, 2),
    ),
}

with_cases = pytest.mark.parametrize("case", CASES)


def _build(case: str) -> tuple[nn.Module, Tensor, WalkGraph]:
    torch.manual_seed(0)
    build, inputs, _, _ = CASES[case]
    model = build().eval()
    return model, inputs, phew.capture(model, inputs)


@with_cases
def test_capture_notes_what_the_norm_sums_over(case: str) -> None:
    _, _, name, dims = CASES[case]
    assert _build(case)[2].notes.normalised[name] == dims


@with_cases
def test_outputs_are_finite_at_any_density(case: str) -> None:
    model, inputs, graph = _build(case)
    masks = phew.sample_masks(graph, density=0.01)
    masks.apply(model)
    assert model(inputs).isfinite().all()
    for name, dims in graph.notes.normalised.items():
        rows = masks[name].sum(dims)
        assert rows.min() > 0


@with_cases
def test_masks_are_those_of_the_reference(case: str) -> None:
    graph = _build(case)[2]
    expected = Reference(graph, seed=1).sample_masks(0.02)
    masks = phew.sample_masks(graph, density=0.02, seed=1)
    for name, mask in expected.masks.items():
        assert masks[name].tolist() == mask.tolist()


@with_cases
def test_a_checkpoint_gets_the_same_masks(case: str, tmp_path: Path) -> None:
    model, _, graph = _build(case)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    masks = phew.prune_checkpoint(
        graph, tmp_path, density=0.02, out=tmp_path / "pruned", write_weights=True
    )
    assert masks == phew.sample_masks(graph, density=0.02)
    written = safetensors.torch.load_file(tmp_path / "pruned" / "model.safetensors")
    for name in graph.notes.normalised:
        assert written[name].count_nonzero() == masks[name].count_nonzero()


@pytest.mark.parametrize("method", ["magnitude", "random", "erk", "synflow"])
def test_other_methods_leave_no_row_empty_either(method: str) -> None:
    model, inputs, graph = _build("weight norm")
    masks = getattr(baselines, method)(model, inputs, density=0.05)
    masks.apply(model)
    assert model(inputs).isfinite().all()
    assert all(masks[name].sum(dims).min() > 0 for name, dims in graph.notes.normalised.items())


@pytest.mark.parametrize("kind", [_Safe, _Mean], ids=["a safe norm", "a mean magnitude"])
def test_what_is_finite_without_weights_is_left_as_it_is(kind: type[nn.Linear]) -> None:
    graph = phew.capture(_linear(kind), X)
    assert graph.prunable == ("0.weight", "2.weight")
    assert graph.notes.normalised == {}


@pytest.mark.parametrize("packed", [False, True], ids=["bytes", "bits"])
def test_the_first_of_the_largest_weights_is_kept_and_other_rows_stay(packed: bool) -> None:
    model = _linear(_ByHand)
    weights = torch.tensor([[0.5, -2, 2, 0, 1, 1]]).repeat(8, 1)
    model.get_parameter("0.weight").data.copy_(weights)
    graph = phew.capture(model, X)
    kept: dict[str, Tensor] = {"0.weight": torch.zeros(8, 6, dtype=torch.bool)}
    kept["0.weight"][3, 4:] = True
    kept["2.weight"] = torch.zeros(3, 8, dtype=torch.bool)
    expected = kept["0.weight"].clone()
    expected[[0, 1, 2, 4, 5, 6, 7], 1] = True
    masks = keep_rows_of_norms(graph, PackedMasks.of(kept) if packed else kept)
    assert isinstance(masks, PackedMasks) == packed
    assert masks["0.weight"].equal(expected)
    assert not masks["2.weight"].any()
    assert kept["0.weight"].sum() == 2


def test_a_row_is_a_column_where_the_norm_is_of_columns() -> None:
    model = _linear(_ByRoot)
    graph = phew.capture(model, X)
    kept = {"0.weight": torch.zeros(8, 6, dtype=torch.bool)}
    kept["0.weight"][:, 0] = True
    mask = keep_rows_of_norms(graph, kept)["0.weight"]
    largest = model.get_parameter("0.weight").abs().argmax(0)
    assert mask.sum(0).tolist() == [8, 1, 1, 1, 1, 1]
    assert mask[largest, range(6)].all()


def test_a_row_of_a_transposed_view_is_one_of_the_parameter() -> None:
    class Transposed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.last = nn.Parameter(torch.randn(6, 4, 2)), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            weight = self.weight.flatten(1).t()
            result: Tensor = self.last(F.linear(x, weight / weight.norm(dim=1, keepdim=True)))
            return result

    graph = phew.capture(Transposed(), X)
    assert graph.notes.normalised == {"weight": (0,)}


def test_a_norm_of_weights_of_several_parameters_leaves_them_out() -> None:
    class Fused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 4), nn.Linear(6, 4)
            self.last = nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            weight = torch.cat([self.first.weight, self.second.weight])
            result: Tensor = self.last(F.linear(x, weight / weight.norm(dim=1, keepdim=True)))
            return result

    with pytest.warns(phew.LeftDenseWarning, match="'first.weight', 'second.weight': its weights"):
        graph = phew.capture(Fused(), X)
    assert graph.prunable == ("last.weight",)
    assert graph.notes.not_prunable["first.weight"].startswith("its weights are computed: div")


def test_a_row_keeps_no_weight_that_a_constant_zeroes() -> None:
    class Masked(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            weight = self.weight * (torch.arange(6) % 2)
            return F.linear(x, weight / weight.norm(dim=1, keepdim=True), self.bias)

    model = nn.Sequential(Masked(6, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        model.get_parameter("0.weight")[:, 0] = 9
    graph = phew.capture(model, X)
    masks = phew.sample_masks(graph, density=0.02)
    expected = Reference(graph).sample_masks(0.02)
    assert masks["0.weight"].tolist() == expected.masks["0.weight"].tolist()
    assert masks["0.weight"][:, 1::2].any(dim=1).all()
    assert not masks["0.weight"][:, ::2].any()


class _Twice(nn.Conv2d):
    """A convolution whose weights are divided by the norms of targets, then of sources."""

    def forward(self, x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm
        weight = self.weight / norm(self.weight, dim=(1, 2, 3), keepdim=True)
        weight = weight / norm(weight, dim=(0, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias)


def test_rows_along_what_two_norms_have_in_common_keep_a_weight() -> None:
    torch.manual_seed(0)
    model, image = nn.Sequential(_Twice(3, 8, 3), nn.Conv2d(8, 4, 3)), torch.rand(1, 3, 8, 8)
    graph = phew.capture(model, image)
    assert graph.notes.normalised == {"0.weight": (2, 3)}
    masks = phew.prune(model, image, density=0.15)
    assert masks["0.weight"].sum((2, 3)).min() == 1
    assert model(image).isfinite().all()


def test_a_matrix_whose_rows_and_columns_are_normalised_is_left_out() -> None:
    class Balanced(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            weight = self.weight / self.weight.sum(dim=1, keepdim=True)
            return F.linear(x, weight / weight.sum(dim=0, keepdim=True), self.bias)

    model = nn.Sequential(Balanced(6, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.warns(phew.LeftDenseWarning, match="'0.weight': its weights are computed: div"):
        masks = phew.prune(model, X, density=0.2)
    assert [*masks] == ["2.weight"]
    assert model(X).isfinite().all()
