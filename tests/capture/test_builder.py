"""The graph builder makes of labels what the examples in its docstrings say."""

from __future__ import annotations

import numpy as np
import torch

from phew.capture.builder import GraphBuilder
from phew.capture.wiring import groups_of
from phew.graph import WiringLink


def column(*labels: int) -> torch.Tensor:
    return torch.tensor(labels, dtype=torch.int32)[:, None]


def dense(builder: GraphBuilder, source: int, num_units: int) -> int:
    num_sources = builder.spaces.num_units(source)
    shape, strides = (1, num_units, num_sources, 1), (0, num_sources, 1, 1)
    return builder.add_weights(source, "layer", "weight", shape, strides, 0, num_uses=1)


def wirings_into(builder: GraphBuilder, target: int) -> list[WiringLink]:
    links = [link for link in builder.spaces.links if link.target == target]
    assert all(isinstance(link, WiringLink) for link in links)
    return links  # type: ignore[return-value]


def test_a_residual_sum_is_a_space_with_two_wirings() -> None:
    builder = GraphBuilder()
    before = dense(builder, builder.spaces.add_entry("layer", 2), 3)
    after = dense(builder, before, 3)
    operands = [column(2, 3, 4), column(5, 6, 7)]
    assert builder.join(operands, "add").tolist() == [8, 9, 10]
    shortcut, straight = wirings_into(builder, 3)
    assert (shortcut.source, shortcut.shortcut) == (before, True)
    assert (straight.source, straight.shortcut) == (after, False)
    for link in (shortcut, straight):
        assert link.source_groups.tolist() == link.target_groups.tolist() == [0, 1, 2]
    assert builder.join(operands, "add").tolist() == [8, 9, 10]
    assert len(builder.spaces.links) == 4


def test_a_join_leaves_out_a_statistic_of_its_other_operands() -> None:
    builder = GraphBuilder()
    dense(builder, builder.spaces.add_entry("layer", 2), 3)
    mean = builder.summarise(column(2, 3, 4).t(), "mean")
    assert mean.tolist() == [5]
    assert builder.join([column(2, 3, 4), column(5, 5, 5)], "sub").tolist() == [2, 3, 4]


def test_a_product_of_a_product_is_wired_from_all_factors() -> None:
    builder = GraphBuilder()
    for _ in range(4):
        builder.spaces.add_entry("layer", 2)
    score = builder.multiply([column(0, 1).t(), column(4, 5).t()], "score", [False, False])
    # The scores pass through a softmax, which makes something of zeros.
    factors = [column(*score.tolist()), column(7)]
    output = builder.multiply(factors, "output", [True, False])
    assert (score.tolist(), output.tolist()) == ([8], [9])
    _, links, _, _ = builder.spaces.finish([5], (), ())
    # Spaces 1 and 4 lead nowhere, and are left out.
    needs = [(link.source, link.needs) for link in links if isinstance(link, WiringLink)]
    assert needs == [(0, (1, 2)), (1, (0, 2)), (2, ())]


def test_a_choice_has_a_copy_for_each_alternative() -> None:
    builder = GraphBuilder()
    builder.spaces.add_entry("layer", 4)
    # The first result is unit 0 or 2, the second is unit 1 or 3.
    chosen = builder.choose(torch.tensor([[0, 2], [1, 3]], dtype=torch.int32), "sort")
    assert chosen.tolist() == [4, 5]
    assert builder.spaces.num_units(1) == 4
    assert builder.spaces.common_copies([chosen.numpy()]) == 2
    (link,) = wirings_into(builder, 1)
    assert link.source_groups.tolist() == link.target_groups.tolist() == [0, 1, 2, 3]


def test_pairs_are_one_link_where_connected_parts_are_complete() -> None:
    units, positions = np.array([0, 1, 0, 1, 2]), np.array([0, 0, 1, 1, 2])
    ((unit_groups, position_groups),) = groups_of(units, positions, 3, 3)
    assert unit_groups.tolist() == position_groups.tolist() == [0, 0, 2]


def test_pairs_are_several_links_where_a_connected_part_is_not_complete() -> None:
    units, positions = np.array([0, 1, 1, 2]), np.array([0, 0, 1, 1])
    first, second = groups_of(units, positions, 3, 2)
    assert [groups.tolist() for groups in first] == [[0, 1, -1], [0, 1]]
    assert [groups.tolist() for groups in second] == [[-1, 1, 2], [1, 2]]
