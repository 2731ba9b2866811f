"""Elements that constants zero hold no unit; raw inputs are joined element by element."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return"
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import phew
from phew.graph import WalkGraph, WeightedLink

pytestmark = pytest.mark.filterwarnings("ignore::phew.LeftDenseWarning")

MASK = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 0.5])
FLAGS = MASK != 0


def link_of(graph: WalkGraph, parameter: str) -> WeightedLink:
    (link,) = (
        link
        for link in graph.links
        if isinstance(link, WeightedLink) and link.parameter == parameter
    )
    return link


class Between(nn.Module):
    """A function of an activation of 6 features and of one of 1, and a layer behind it."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.one, self.last = nn.Linear(4, 6), nn.Linear(4, 1), nn.Linear(6, 2)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x), self.one(x)))


def written(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, ~FLAGS] = 0
    return x


ZEROS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], list[int]]] = {
    "mask": (lambda x, _: x * MASK, [0, 2, 3, 5]),
    "mask of one unit": (lambda _, y: y * MASK, [0, 2, 3, 5]),
    "mask from before": (lambda x, _: FLAGS.float().mul(x), [0, 2, 3, 5]),
    "flags": (lambda x, _: ((x > 0) & FLAGS).float(), [0, 2, 3, 5]),
    "where": (lambda x, _: torch.where(FLAGS, x, 0.0), [0, 2, 3, 5]),
    "masked_fill": (lambda x, _: x.masked_fill(FLAGS, 0.0), [1, 4]),
    "in place": (lambda x, _: x.clone().masked_fill_(FLAGS, 0.0), [1, 4]),
    "written": (lambda x, _: written(x), [0, 2, 3, 5]),
    "index_fill": (lambda x, _: x.index_fill(1, torch.tensor([1, 2]), 0.0), [0, 3, 4, 5]),
    "scatter": (lambda x, _: x.scatter(1, torch.tensor([[1, 2]] * 3), 0.0), [0, 3, 4, 5]),
    "triu": (lambda x, _: x.view(-1, 2, 3).triu().flatten(1), [0, 1, 2, 4, 5]),
    "tril of features": (lambda x, _: x.tril(), [0, 1, 2]),
    "padded": (lambda x, _: F.pad(x[:, :2], (3, 1)), [3, 4]),
    "padded unit": (lambda _, y: F.pad(y.repeat_interleave(2, 1), (2, 2)), [2, 3]),
    "gate of zeros": (lambda x, y: torch.sigmoid(x) * F.pad(y, (4, 1)), [4]),
    "function of zeros": (lambda x, _: F.gelu(x * MASK).abs() ** 2, [0, 2, 3, 5]),
}


@pytest.mark.parametrize("name", ZEROS)
def test_what_a_constant_zeroes_is_not_live(name: str) -> None:
    function, live = ZEROS[name]
    graph = phew.capture(Between(function), torch.rand(3, 4))
    assert graph.notes.approximations == ()
    assert graph.live[link_of(graph, "last.weight").source].nonzero()[0].tolist() == live


@pytest.mark.parametrize("function", [torch.exp, torch.sigmoid, lambda x: x + 1, F.softplus])
def test_a_zero_that_becomes_another_constant_does_not_zero(
    function: Callable[[Tensor], Tensor],
) -> None:
    graph = phew.capture(Between(lambda x, y: function(x * MASK) * y), torch.rand(3, 4))
    assert graph.live[link_of(graph, "last.weight").source].all()
    assert graph.live[link_of(graph, "first.weight").target].tolist() == FLAGS.tolist()


def test_where_takes_each_element_from_the_operand_that_it_chooses() -> None:
    class Choose(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.other, self.last = (nn.Linear(6, 6) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.where(FLAGS, self.first(x), self.other(x)))

    graph = phew.capture(Choose(), torch.rand(3, 6))
    for name, live in (("first.weight", FLAGS), ("other.weight", ~FLAGS)):
        assert graph.live[link_of(graph, name).target].tolist() == live.tolist()


class Coupling(nn.Module):
    """RealNVP's layer: one half of the features scales and shifts the other."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.scale, self.shift = nn.Linear(6, 6), nn.Linear(6, 6)
        self.register_buffer("mask", mask)
        self.mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        kept = x * self.mask
        scale = torch.tanh(self.scale(kept)) * (1 - self.mask)
        shift = self.shift(kept) * (1 - self.mask)
        return kept + (1 - self.mask) * (x * torch.exp(scale) + shift)


def test_coupling_layers_keep_no_weight_at_a_zero() -> None:
    mask = torch.tensor([1.0, 0.0] * 3)
    model = nn.Sequential(Coupling(mask), Coupling(1 - mask))
    masks = phew.sample_masks(model, torch.rand(3, 6), density=0.2)
    for name, own in (("0", mask), ("1", 1 - mask)):
        possible = (1 - own).outer(own).bool()
        for part in ("scale", "shift"):
            kept = masks[f"{name}.{part}.weight"]
            assert kept.any()
            assert not (kept & ~possible).any()


def test_a_mask_of_places_leaves_the_graph_as_it_is() -> None:
    class Places(nn.Module):
        def __init__(self, mask: Tensor | None) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)
            self.mask = mask

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.last(x if self.mask is None else torch.where(self.mask, x, 0.0) * self.mask)

    checkerboard = (torch.arange(64).view(8, 8) + torch.arange(8)) % 2 == 0
    plain, masked = (
        phew.capture(Places(m), torch.rand(1, 3, 10, 10)) for m in (None, checkerboard)
    )
    assert plain.spaces == masked.spaces
    assert [repr(link) for link in plain.links] == [repr(link) for link in masked.links]


def test_the_first_state_of_a_recurrence_zeroes_nothing() -> None:
    class Forget(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.forget, self.put = nn.Linear(4, 6), nn.Linear(4, 6)

        def forward(self, x: Tensor) -> Tensor:
            state = torch.zeros(len(x), 6)
            return torch.sigmoid(self.forget(x)) * state + self.put(x)

    graph = phew.capture(Forget(), torch.rand(3, 4))
    assert graph.live[link_of(graph, "forget.weight").target].all()


RAW: dict[str, Callable[[Tensor], Tensor]] = {
    "padded and itself": lambda x: F.pad(x[:, :1], (1, 2)) + x,
    "itself and padded": lambda x: x + F.pad(x[:, :1], (1, 2)),
    "shifted": lambda x: x + F.pad(x[:, :-1], (1, 0)),
    "difference": lambda x: F.pad(x[:, :-1], (1, 0)) - x,
    "mean": lambda x: torch.maximum(F.pad(x.mean(1, keepdim=True), (0, 3)), x),
    "pooled": lambda x: torch.maximum(F.pad(F.max_pool1d(x, 2), (1, 1)), x),
    "zeros": lambda x: torch.cat([torch.zeros(2, 2), x[:, 2:]], 1) + x,
    "sum of a stack": lambda x: torch.stack([F.pad(x[:, 1:], (1, 0)), x]).sum(0),
    "largest of a stack": lambda x: torch.stack([F.pad(x[:, :3], (1, 0)), x]).amax(0),
    "choice": lambda x: torch.where(x > 0.5, F.pad(x[:, :1], (1, 2)), x),
    "interpolation": lambda x: torch.lerp(F.pad(x[:, :-1], (1, 0)), x, 0.3),
}


@pytest.mark.parametrize("name", RAW)
def test_raw_inputs_are_joined_element_by_element(name: str) -> None:
    class Joined(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(RAW[name](x))

    graph = phew.capture(Joined(4, 2), torch.rand(2, 4))
    (link,) = (link for link in graph.links if isinstance(link, WeightedLink))
    assert graph.live[link.source].tolist() == [True] * 4


def test_an_image_may_be_joined_with_itself_shifted() -> None:
    class Shift(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(F.pad(x[..., :-1], (1, 0)) + x)

    graph = phew.capture(Shift(3, 4, 3), torch.rand(1, 3, 6, 6))
    assert [space.num_units for space in graph.spaces] == [3, 4]
    assert all(units.all() for units in graph.live)


EMPTY: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "put": lambda x, rows, new: x.index_put((rows,), new),
    "add": lambda x, rows, new: x.index_put((rows,), new, accumulate=True),
    "index_add": lambda x, rows, new: x.index_add(0, rows, new),
    "index_copy": lambda x, rows, new: x.index_copy(0, rows, new),
}


@pytest.mark.parametrize("name", EMPTY)
@pytest.mark.parametrize("follows_from_ids", [False, True])
def test_nothing_is_put_by_an_empty_index(name: str, follows_from_ids: bool) -> None:
    class Routed(nn.Module):
        """A module chosen by ids that the example lacks."""

        def __init__(self) -> None:
            super().__init__()
            self.all, self.some = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor, ids: Tensor) -> Tensor:
            rows = ids[:0] if follows_from_ids else torch.arange(0)
            return EMPTY[name](self.all(x), rows, self.some(x[rows]))

    model = Routed()
    graph = phew.capture(model, (torch.rand(3, 4), torch.tensor([1, 2, 0])))
    assert graph.notes.approximations == ()
    assert graph.live[link_of(graph, "all.weight").target].all()


ONE_INPUT = {
    "matrix": ("bi,oi->bo", (1,), (6, 1), (1, 6, 1, 1)),
    "transposed": ("bi,io->bo", (1,), (1, 6), (1, 6, 1, 1)),
    "two outputs": ("bi,iop->bop", (1,), (1, 2, 3), (1, 6, 1, 1)),
    "groups": ("bgi,goi->bgo", (3, 1), (3, 2, 1), (3, 2, 1, 1)),
    "transposed groups": ("bgi,gio->bgo", (3, 1), (3, 1, 2), (3, 2, 1, 1)),
}


class OneInput(nn.Module):
    def __init__(self, equation: str, sizes: tuple[int, ...], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.equation, self.sizes = equation, sizes
        self.first, self.last = nn.Linear(4, int(np.prod(sizes))), nn.Linear(6, 2)
        self.weight = nn.Parameter(torch.rand(shape) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).view(-1, *self.sizes)
        return self.last(torch.einsum(self.equation, x, self.weight).flatten(1))


@pytest.mark.parametrize("name", ONE_INPUT)
def test_a_contraction_over_one_element_is_a_link(name: str) -> None:
    equation, sizes, shape, expected = ONE_INPUT[name]
    model = OneInput(equation, sizes, shape)
    graph = phew.capture(model, torch.rand(3, 4))
    link = link_of(graph, "weight")
    assert link.shape == expected
    assert link.source == link_of(graph, "first.weight").target
    assert link.target == link_of(graph, "last.weight").source
    # A unit of the link's target is the element of the einsum that its weights alone lead to.
    with torch.no_grad():
        model.weight.copy_(torch.arange(1.0, 7.0).view(shape))
        ones = torch.ones(1, *sizes)
        outputs = torch.einsum(equation, ones, model.weight).flatten()
    torch.testing.assert_close(link.view(model.weight).detach().flatten(), outputs)


def test_scales_of_units_are_no_links() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
            self.scale = nn.Parameter(torch.rand(4, 1, 1))
            self.places = nn.Parameter(torch.rand(1, 1, 5, 5))

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x) * self.scale * self.places)

    graph = phew.capture(Scaled(), torch.rand(1, 3, 5, 5))
    assert graph.prunable == ("first.weight", "last.weight")
