"""Attention, routing, indices and constants join units as they should.

`test_wiring.py` compares many more networks with autograd.
"""

from __future__ import annotations

# mypy: disable-error-code="arg-type, no-any-return, operator"
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import phew
from phew.analysis.expected_visits import exact_flow
from phew.graph import WalkGraph, WeightedLink


def weighted_links(graph: WalkGraph) -> list[WeightedLink]:
    return [link for link in graph.links if isinstance(link, WeightedLink)]


class Attention(nn.Module):
    """Two heads of three units; grouped queries share one head of keys and values."""

    def __init__(self, *, written_out: bool, grouped: bool = False) -> None:
        super().__init__()
        self.written_out, self.num_shared = written_out, 2 if grouped else 1
        self.query = nn.Linear(4, 6)
        self.key, self.value = (nn.Linear(4, 6 // self.num_shared) for _ in range(2))
        self.out = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            layer(x).unflatten(-1, (-1, 3)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        key, value = (part.repeat_interleave(self.num_shared, dim=1) for part in (key, value))
        if self.written_out:
            mixed = torch.softmax(query @ key.transpose(-1, -2) / 3**0.5, dim=-1) @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("grouped", [False, True])
def test_attention_is_a_fork_of_three_however_it_is_written(grouped: bool) -> None:
    graphs = []
    for written_out in (True, False):
        torch.manual_seed(0)
        model = Attention(written_out=written_out, grouped=grouped)
        graphs.append(phew.capture(model, torch.zeros(2, 5, 4)))
    for graph in graphs:
        flow = exact_flow(graph, backward=True)
        *projections, _ = weighted_links(graph)
        for link in projections:
            torch.testing.assert_close(float(flow.units[link.target].sum()), 1 / 3)
    # From a query unit walks lead to all of its head's output, from a value unit to its place.
    reached = []
    for graph in graphs:
        row = []
        for link in weighted_links(graph)[:3]:
            first = np.arange(graph.spaces[link.target].num_units) == 0
            ((far, units),) = {
                graph.links[index].target: graph.links[index].reach(first)
                for index in graph.forward.onward[link.target]
            }.items()
            row.append((far, units.nonzero()[0].tolist()))
        reached.append(row)
    heads = [[0, 1, 2], [0, 1, 2, 3, 4, 5] if grouped else [0, 1, 2], [0, 3] if grouped else [0]]
    assert [units for _, units in reached[0]] == [units for _, units in reached[1]] == heads


class ClassTokenOfAnySize(nn.Module):
    """A class token among patches without positions, so images may have any size."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 4, 2, stride=2)
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.mix = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)
        return self.head((x + self.mix(x, x, x, need_weights=False)[0])[:, 0])


def test_a_class_token_costs_as_much_as_a_token_whatever_their_number() -> None:
    small, large = (
        phew.capture(ClassTokenOfAnySize(), torch.zeros(1, 3, size, size)) for size in (4, 64)
    )
    assert small.spaces == large.spaces
    # The patches' residual does not lead to the class token.
    embedded = weighted_links(small)[0].target
    assert small.forward.onward[embedded] != ()
    assert [small.spaces[entry].num_units for entry in small.entries] == [3]
    assert small.notes.not_prunable["token"].startswith("not a weight of a link")


def test_learned_queries_are_an_entry() -> None:
    class Pool(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.queries = nn.Parameter(torch.randn(1, 5, 4))
            self.mix = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.mix(self.queries.expand(len(x), -1, -1), x, x, need_weights=False)[0]

    graph = phew.capture(Pool(), torch.zeros(2, 7, 4))
    assert [graph.spaces[entry].num_units for entry in graph.entries] == [4, 4]


class RoutedModules(nn.Module):
    """Experts that are modules; each token visits the best, in a loop over those that are hit."""

    def __init__(self, num_experts: int) -> None:
        super().__init__()
        self.router = nn.Linear(4, num_experts)
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(num_experts))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        weight, chosen = self.router(x).softmax(-1).max(dim=-1)
        result = torch.zeros_like(x)
        hits = F.one_hot(chosen, len(self.experts))
        for expert in hits.sum(0).nonzero().flatten().tolist():
            (rows,) = torch.where(hits[:, expert])
            result.index_add_(0, rows, self.experts[expert](x[rows]) * weight[rows, None])
        return self.head(result)


def test_experts_that_the_example_does_not_visit_are_on_paths() -> None:
    model = RoutedModules(9)
    graph = phew.capture(model, torch.randn(2, 4))
    assert graph.notes.approximations == ()
    assert len(weighted_links(graph)) == 11
    assert all(units.all() for units in graph.live)


def test_flags_that_must_fit_a_number_of_rows_are_taken_as_they_are() -> None:
    class Impute(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.other = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.first(x)
            hidden[x.sum(1) > 0] = self.other(x[:2])
            return hidden

    graph = phew.capture(Impute(), torch.tensor([[1.0] * 4, [-1.0] * 4, [1.0] * 4]))
    assert len(weighted_links(graph)) == 2
    assert all(units.all() for units in graph.live)


@pytest.mark.parametrize(("known", "reached"), [(True, [[1], [0]]), (False, [[0, 1, 2]] * 2)])
def test_indices_choose_units_exactly_where_they_are_constants(
    known: bool, reached: list[list[int]]
) -> None:
    class Choose(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 3), nn.Linear(2, 1)

        def forward(self, x: Tensor, index: Tensor) -> Tensor:
            return self.second(self.first(x)[:, torch.tensor([1, 0]) if known else index])

    graph = phew.capture(Choose(), (torch.zeros(2, 4), torch.tensor([1, 0])))
    first, second = weighted_links(graph)
    sources = np.eye(graph.spaces[second.source].num_units, dtype=np.bool_)
    assert [fed_by(graph, second.source, unit, first.target) for unit in sources] == reached


def fed_by(graph: WalkGraph, space: int, units: np.ndarray, source: int) -> list[int]:
    """The units of a space that lead to some of another through wiring."""
    reached = {space: units}
    for target in range(space, source, -1):
        for index in graph.backward.onward[target] if target in reached else ():
            link = graph.links[index]
            near = link.reach(reached[target], backward=True)
            reached[link.source] = reached.get(link.source, np.zeros_like(near)) | near
    return reached[source].nonzero()[0].tolist()


def test_a_lookup_is_an_entry_unless_it_is_included() -> None:
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2))
    tokens = torch.zeros(1, 3, dtype=torch.int64)
    graph = phew.capture(model, tokens)
    assert [graph.spaces[entry].num_units for entry in graph.entries] == [4]
    assert graph.prunable == ("1.weight",)
    graph = phew.capture(model, tokens, include=[nn.Embedding, nn.Linear])
    assert [graph.spaces[entry].num_units for entry in graph.entries] == [9]
    assert graph.prunable == ("0.weight", "1.weight")
    link = weighted_links(graph)[0]
    torch.testing.assert_close(link.view(model[0].weight)[0, :, :, 0], model[0].weight.t())


def test_zeros_feed_nothing_and_other_constants_do() -> None:
    class Padded(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.layer, self.value = nn.Linear(5, 2), value

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(torch.cat([x, x.new_full((len(x), 2), self.value)], dim=1))

    for value, live in ((0.0, 3), (1.0, 5)):
        graph = phew.capture(Padded(value), torch.zeros(2, 3))
        assert graph.live[weighted_links(graph)[0].source].sum() == live


def test_normalisation_that_is_written_out_keeps_units() -> None:
    class Normalise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            x = (x - x.mean(-1, keepdim=True)) * torch.rsqrt(x.var(-1, keepdim=True) + 1e-6)
            return self.second(x / x.norm(dim=-1, keepdim=True))

    graph = phew.capture(Normalise(), torch.zeros(2, 4))
    assert [type(link) for link in graph.links] == [WeightedLink] * 2


def test_normalisation_of_the_input_is_no_entry_of_its_own() -> None:
    class Normalise(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.rsqrt(x.square().mean(-1, keepdim=True)) * x)

    graph = phew.capture(Normalise(4, 2), torch.zeros(2, 4))
    assert [graph.spaces[entry].num_units for entry in graph.entries] == [4]
    assert [type(link) for link in graph.links] == [WeightedLink]


def test_pooling_joins_what_is_in_its_windows() -> None:
    class Shuffled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv1d(1, 4, 1), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            places = self.first(x).transpose(1, 2).flatten(1)  # (batch, places * channels)
            return self.second(F.avg_pool1d(places, 3, stride=2, padding=1)[:, :3])

    graph = phew.capture(Shuffled(), torch.zeros(2, 1, 2))
    assert graph.notes.approximations == ()
    first, second = weighted_links(graph)
    units = np.eye(3, dtype=np.bool_)
    windows = [fed_by(graph, second.source, unit, first.target) for unit in units]
    assert windows == [[0, 1], [1, 2, 3], [0, 1, 3]]


class Heads(nn.Module):
    """Weights of all heads in one parameter (head, in, out), as einsum is written with."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 6)
        self.into = nn.Parameter(torch.randn(2, 6, 3))
        self.out = nn.Parameter(torch.randn(2, 3, 4))

    def forward(self, x: Tensor) -> Tensor:
        heads = torch.einsum("btd,hde->bthe", self.embed(x), self.into)
        return torch.einsum("bthe,hed->btd", heads, self.out)


def test_heads_of_one_parameter_are_slices_of_it() -> None:
    model = Heads()
    graph = phew.capture(model, torch.zeros(2, 4, 5))
    assert graph.notes.approximations == ()
    _, into, _ = weighted_links(graph)
    torch.testing.assert_close(into.view(model.into)[..., 0], model.into.transpose(1, 2))
    assert all(units.all() for units in graph.live)


def test_weights_that_a_product_is_added_to_stand_for_their_parameter() -> None:
    class LowRank(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 4)
            self.down, self.up = nn.Parameter(torch.randn(1, 4)), nn.Parameter(torch.randn(4, 1))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight + self.up @ self.down, self.bias)

    graph = phew.capture(nn.Sequential(LowRank(), nn.Linear(4, 2)), torch.zeros(2, 4))
    assert graph.prunable == ("0.weight", "1.weight")
    assert "used by mm" in graph.notes.not_prunable["0.up"]


def test_a_constant_that_is_written_into_is_none_any_more() -> None:
    class Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            hidden = torch.stack([expert(x) for expert in self.experts], dim=1)
            chosen = hidden.sum(-1).topk(1, dim=1).indices
            route = torch.zeros(len(x), 2).scatter_(1, chosen, 1.0)
            return torch.einsum("be,bed->bd", route, hidden)

    graph = phew.capture(Routed(), torch.zeros(3, 4))
    assert all(units.any() for units in graph.live)
    assert len(graph.prunable) == 2


def test_a_sum_of_branches_is_no_statistic_of_one_of_them() -> None:
    class Ensemble(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.first(x)
            return torch.stack([hidden, self.second(hidden)]).sum(0) + hidden

    graph = phew.capture(Ensemble(), torch.zeros(2, 4))
    assert all(units.all() for units in graph.live)


def test_a_triangle_of_scores_adds_no_unit() -> None:
    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            query, key = self.query(x), self.key(x)
            return (query @ key.transpose(1, 2)).tril() @ key

    graph = phew.capture(Causal(), torch.zeros(2, 3, 4))
    (entry,) = graph.entries
    assert all(
        isinstance(graph.links[index], WeightedLink) for index in graph.forward.onward[entry]
    )
    assert graph.notes.approximations == ()


def test_slices_are_put_at_constant_indices_exactly() -> None:
    class Reverse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.first(x)
            order = torch.tensor([2, 1, 0])
            return self.second(torch.zeros_like(hidden).index_copy(1, order, hidden))

    graph = phew.capture(Reverse(), torch.zeros(2, 4))
    first, second = weighted_links(graph)
    units = np.eye(3, dtype=np.bool_)
    reached = [fed_by(graph, second.source, unit, first.target) for unit in units]
    assert reached == [[2], [1], [0]]


def test_what_an_operation_overwrites_is_no_operand() -> None:
    class Out(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            result = self.first(x)
            return torch.mul(self.second(x), 2, out=result)

    with pytest.warns(phew.LeftDenseWarning, match="'first.weight': on no path"):
        graph = phew.capture(Out(), torch.zeros(2, 4))
    first, second = weighted_links(graph)
    assert not graph.live[first.target].any()
    assert graph.live[second.target].all()
