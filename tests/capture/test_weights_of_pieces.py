"""Weights that are put together from parameters, or from parts of one, are links piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from path_kernel import path_kernel_trace
from torch import Tensor, nn
from torch.nn import functional as F

import phew
from phew.analysis.paths import squared_paths
from phew.capture.mosaics import MOST_PIECES, NO_ELEMENT, SPAN, cut, distinct, numbers_of, strided
from phew.graph import WalkGraph
from phew.reference import Reference

pytestmark = [
    pytest.mark.filterwarnings("ignore::phew.LeftDenseWarning"),
    pytest.mark.filterwarnings("ignore::phew.CollapseWarning"),
]


class _Composed(nn.Module):
    """A first layer, one whose weights a function makes of some parameters, and a last one."""

    def __init__(
        self,
        shapes: Sequence[tuple[int, ...]],
        compute: Callable[..., Tensor],
        apply: Callable[[Tensor, Tensor], Tensor] = F.linear,
        num_outputs: int = 6,
    ) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 6, bias=False), nn.Linear(num_outputs, 2, bias=False)
        self.parts = nn.ParameterList(torch.rand(shape) + 0.1 for shape in shapes)
        self.compute, self.apply_weights = compute, apply

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(
            self.apply_weights(self.first(x), self.compute(*self.parts)).flatten(1)
        )
        return result


def _by_heads(x: Tensor, weights: Tensor) -> Tensor:
    """Apply a matrix (2, 3, n) per head to heads of three features."""
    return torch.bmm(x.view(-1, 2, 3).transpose(0, 1), weights).transpose(0, 1)


def _by_example(x: Tensor, weights: Tensor) -> Tensor:
    """Apply matrices (batch, n, 6), one per example."""
    return torch.matmul(weights, x.unsqueeze(-1))


def _convolve(groups: int = 1, *, transposed: bool = False) -> Callable[[Tensor, Tensor], Tensor]:
    """Convolve 2 channels of 3 places, or 6 of one if the convolution is transposed."""

    def apply(x: Tensor, weights: Tensor) -> Tensor:
        if transposed:
            return F.conv_transpose1d(x.unsqueeze(-1), weights, groups=groups).sum(-1)
        return F.conv1d(x.unsqueeze(-1).expand(-1, -1, weights.shape[-1]), weights, groups=groups)

    return apply


NETWORKS: dict[str, Callable[[], _Composed]] = {
    "fused query and key": lambda: _Composed([(2, 6), (4, 6)], lambda q, k: torch.cat([k, q])),
    "fused inputs": lambda: _Composed([(6, 2), (6, 4)], lambda a, b: torch.cat([a, b], dim=1)),
    "both ways": lambda: _Composed(
        [(2, 2), (2, 4), (4, 6)], lambda a, b, c: torch.cat([torch.cat([a, b], dim=1), c])
    ),
    "another layout": lambda: _Composed([(2, 6), (6, 4)], lambda a, b: torch.cat([a, b.t()])),
    "a block diagonal": lambda: _Composed(
        [(2, 3), (4, 3)],
        lambda a, b: torch.cat([F.pad(a, (0, 3)), torch.cat([torch.zeros(4, 3), b], dim=1)]),
    ),
    "chunks put together again": lambda: _Composed(
        [(6, 6)], lambda weight: torch.cat(weight.chunk(3)[::-1])
    ),
    "a permutation": lambda: _Composed(
        [(6, 6)], lambda weight: weight[[3, 1, 5, 0, 2, 4]].index_select(1, torch.arange(5, -1, -1))
    ),
    "rows that repeat": lambda: _Composed([(4, 6)], lambda weight: weight[[0, 0, 3, 1, 2, 2]]),
    "columns that repeat": lambda: _Composed([(6, 3)], lambda weight: weight.repeat(1, 2)),
    "heads that share": lambda: _Composed(
        [(1, 3, 6)], lambda weight: weight[:, None].expand(1, 2, 3, 6).reshape(6, 6)
    ),
    "heads that share in pairs": lambda: _Composed(
        [(2, 2, 6)],
        lambda weight: weight.repeat_interleave(2, dim=0).reshape(8, 6),
        num_outputs=8,
    ),
    "a scaled stack": lambda: _Composed(
        [(3, 4), (3, 4)], lambda *experts: torch.stack(experts).double() * 1, _by_heads, 8
    ),
    "matrices for a batch": lambda: _Composed(
        [(1, 4, 6)], lambda weight: torch.cat([weight] * 3), _by_example, 4
    ),
    "matrices of two for a batch": lambda: _Composed(
        [(1, 2, 6), (1, 2, 6)],
        lambda a, b: torch.cat([torch.cat([a, b], dim=1)] * 3),
        _by_example,
        4,
    ),
    "kernels side by side": lambda: _Composed(
        [(2, 6, 3), (4, 6, 3)], lambda a, b: torch.cat([a, b]), _convolve()
    ),
    "kernels of two inputs": lambda: _Composed(
        [(6, 2, 3), (6, 4, 3)], lambda a, b: torch.cat([a, b], dim=1), _convolve()
    ),
    "kernels position by position": lambda: _Composed(
        [(6, 6), (6, 6)], lambda a, b: torch.stack([a, b, a], dim=-1), _convolve()
    ),
    "flipped kernels": lambda: _Composed([(6, 6, 3)], lambda weight: weight.flip(-1), _convolve()),
    "kernels in groups": lambda: _Composed(
        [(2, 3, 2), (2, 3, 2)], lambda a, b: torch.cat([a, b]), _convolve(2), 4
    ),
    "transposed kernels": lambda: _Composed(
        [(6, 2, 2), (6, 1, 2)],
        lambda a, b: torch.cat([a, b], dim=1),
        _convolve(transposed=True),
        3,
    ),
}

with_networks = pytest.mark.parametrize("name", NETWORKS)


def _build(name: str) -> tuple[nn.Module, WalkGraph]:
    torch.manual_seed(0)
    model = NETWORKS[name]().double()
    return model, phew.capture(model, torch.zeros(3, 5, dtype=torch.float64))


@with_networks
def test_paths_are_those_of_the_network(name: str) -> None:
    model, graph = _build(name)
    assert graph.notes.approximations == ()
    assert graph.prunable == tuple(name for name, _ in model.named_parameters())
    ones = {
        name: torch.ones_like(weight, dtype=torch.bool) for name, weight in graph.parameters.items()
    }
    # The sum over three examples is three times that over one.
    squared = path_kernel_trace(_Repeated(model), (3, 5), _prefixed(ones)) / 3
    trace = squared_paths(graph, {})
    assert float(trace.values) * 2.0**trace.exponent == pytest.approx(squared)


@with_networks
def test_masks_are_those_of_the_reference(name: str) -> None:
    _, graph = _build(name)
    expected = Reference(graph, seed=2).sample_masks(0.3)
    masks = phew.sample_masks(graph, density=0.3, seed=2)
    assert masks.num_walks == expected.num_walks
    for parameter, mask in expected.masks.items():
        assert masks[parameter].tolist() == mask.tolist()


class _Repeated(nn.Module):
    """A model without its dimension of examples, for helpers that add one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.model(x[0])
        return result


def _prefixed(masks: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"model.{name}": mask for name, mask in masks.items()}


def test_every_matrix_of_a_fused_one_has_its_own_links() -> None:
    _, graph = _build("fused query and key")
    links = [(link.parameter, link.shape) for link in graph.weighted.values()]
    assert links == [
        ("first.weight", (1, 6, 5, 1)),
        ("parts.0", (1, 2, 6, 1)),
        ("parts.1", (1, 4, 6, 1)),
        ("last.weight", (1, 2, 6, 1)),
    ]


def test_pieces_along_inputs_are_summed() -> None:
    _, graph = _build("fused inputs")
    first, second = (link for link in graph.weighted.values() if "parts" in link.parameter)
    targets = {link.target for link in graph.links if link.source in (first.target, second.target)}
    assert len(targets) == 1


def test_repeated_rows_are_one_unit() -> None:
    _, graph = _build("rows that repeat")
    (link,) = (link for link in graph.weighted.values() if "parts" in link.parameter)
    assert link.shape == (1, 4, 6, 1)


def test_too_many_pieces_are_an_approximation() -> None:
    num_pieces = MOST_PIECES + 1
    order = torch.randperm(2 * num_pieces, generator=torch.Generator().manual_seed(0))

    class Scattered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(2, num_pieces))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight.flatten()[order].view(2, num_pieces))

    model = nn.Sequential(nn.Linear(2, num_pieces), Scattered())
    with pytest.warns(phew.ApproximationWarning, match="mm in '1'"):
        graph = phew.capture(model, torch.zeros(1, 2))
    assert graph.notes.left_dense == ("1.weight",)
    (approximation,) = graph.notes.approximations
    assert approximation.reason == (
        "its weights are put together from more than 1024 pieces of parameters"
    )


def test_numbers_are_cut_where_no_stride_leads_on() -> None:
    first = numbers_of(0, torch.empty(2, 2, device="meta"), torch.Size([2, 2]))
    second = numbers_of(1, torch.empty(1, 2, device="meta"), torch.Size([1, 2]))
    assert first.tolist() == [[0, 1], [2, 3]]
    assert second.tolist() == [[SPAN, SPAN + 1]]
    piece = cut(torch.cat([first, second]))
    assert piece is not None
    assert (piece.dim, piece.num_pieces) == (0, 2)
    assert [(part.first, part.strides, size) for part, size in piece.parts] == [
        (0, (2, 1), 2),
        (SPAN, (1, 1), 1),
    ]
    assert cut(torch.cat([first, second]), most=1) is None
    assert strided(first.t()) == cut(first.t())
    assert strided(torch.full((2, 2), NO_ELEMENT)) is None


def test_equal_slices_are_one_and_are_sorted() -> None:
    numbers = torch.tensor([[4, 5], [0, 1], [4, 5], [2, 3]])
    kept, inverse = distinct(numbers, 0)
    assert kept.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert inverse.tolist() == [2, 0, 2, 1]
    kept, inverse = distinct(torch.tensor([[4, 5], [0, 5]]), 0)
    assert (kept.tolist(), inverse.tolist()) == ([[4, 5], [0, 5]], [0, 1])


ROWS = torch.tensor([True, False, True, True, False, True])
"""A mask of six inputs."""

LAST = torch.cat([~ROWS.expand(2, 6), torch.zeros(1, 6, dtype=torch.bool)])
"""The elements that it zeroes of the first two of three rows."""

MASKED: dict[str, tuple[Callable[..., Tensor], list[Tensor | None]]] = {
    "masked and put together": (lambda a, b: torch.cat([a * ROWS, b]), [~ROWS.expand(3, 6), None]),
    "masked in part": (lambda a, b: torch.cat([a[:2] * ROWS, a[2:], b]), [LAST, None]),
    "multiplied by a masked one": (
        lambda a, b: torch.cat([a * (b * ROWS), b]),
        [~ROWS.expand(3, 6), None],
    ),
    "put together and masked": (
        lambda a, b: torch.cat([b, a]).masked_fill(~ROWS, 0),
        [~ROWS.expand(3, 6), ~ROWS.expand(3, 6)],
    ),
}


@pytest.mark.parametrize("name", MASKED)
def test_elements_that_a_constant_zeroes_are_no_edges_of_pieces(name: str) -> None:
    compute, expected = MASKED[name]
    model = _Composed([(3, 6), (3, 6)], compute)
    graph = phew.capture(model, torch.zeros(1, 5))
    for number, flags in enumerate(expected):
        (link,) = (link for link in graph.weighted.values() if link.parameter == f"parts.{number}")
        assert (link.absent is None) == (flags is None)
        assert flags is None or (link.absent is not None and link.absent.equal(flags))
    masks = phew.sample_masks(graph, density=0.4)
    for number, flags in enumerate(expected):
        assert flags is None or not (masks[f"parts.{number}"] & flags).any()


def test_an_element_is_absent_only_where_all_of_its_uses_are() -> None:
    order = torch.tensor([5, 1, 3, 0, 2, 4])

    def compute(weight: Tensor, other: Tensor) -> Tensor:
        return torch.cat([weight * ROWS, other, weight[:, order] * ROWS[order]])

    graph = phew.capture(_Composed([(2, 6), (2, 6)], compute), torch.zeros(1, 5))
    links = [link for link in graph.weighted.values() if link.parameter == "parts.0"]
    assert all(link.absent is not None and link.absent.equal(~ROWS.expand(2, 6)) for link in links)

    def differing(weight: Tensor, other: Tensor) -> Tensor:
        return torch.cat([weight * ROWS, other, weight[:, order]])

    graph = phew.capture(_Composed([(2, 6), (2, 6)], differing), torch.zeros(1, 5))
    links = [link for link in graph.weighted.values() if link.parameter == "parts.0"]
    assert all(link.absent is None for link in links)
