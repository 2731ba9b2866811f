"""The report says what a graph is made of, folds its rows, and counts unreached weights right."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return"
import dataclasses
import json
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from graph_walks import reachable_weights
from random_graphs import random_graph
from torch import Tensor, nn

import phew
from phew.graph import Approximation, CaptureNotes, Space, WalkGraph, WeightedLink, WiringLink
from phew.graph.reach import unreached_weights
from phew.graph.report import Report
from phew.reference import Reference


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Residual(nn.Module):
    def __init__(self, num_blocks: int) -> None:
        super().__init__()
        self.stem = nn.Linear(3, 4)
        self.blocks = nn.Sequential(*[Block(4) for _ in range(num_blocks)])
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))


def section(report: str, title: str) -> list[str]:
    """Return the lines of the section whose title begins like this, without spaces to align."""
    (found,) = [part for part in report.split("\n\n") if part.startswith(title)]
    return [" ".join(line.split()) for line in found.splitlines()[1:]]


def test_inspect_reports_on_a_model_or_its_graph() -> None:
    model, example = Residual(2), torch.zeros(1, 3)
    selection: dict[str, Any] = {"include": ["blocks.*"], "exclude": ["*.down.weight"]}
    report = phew.inspect(model, example, **selection)
    assert isinstance(report, phew.Report)
    assert str(report).splitlines()[0] == "64 prunable weights in 2 of 16 parameters"
    not_prunable = report.as_dict()["not_prunable"]
    assert not_prunable["stem.weight"] == "not in include"
    assert not_prunable["blocks.0.down.weight"] == "excluded by '*.down.weight'"
    of_graph = phew.inspect(phew.capture(model, example, **selection))
    assert str(of_graph) == str(report)
    assert of_graph.as_dict() == report.as_dict()


def test_totals() -> None:
    report = str(phew.inspect(Residual(2), torch.zeros(1, 3)))
    *totals, entries, exits = report.split("\n\n")[0].splitlines()
    assert totals[0] == "148 prunable weights in 6 of 16 parameters"
    assert entries == "entries: input of stem (3 units)"
    assert exits == "exits: head (2 units)"


def test_every_weighted_link_and_repeated_blocks_once() -> None:
    report = str(phew.inspect(Residual(5), torch.zeros(1, 3), exclude=["head.*"]))
    header, *rows = section(report, "Weighted links")
    assert header == "parameter shape from"
    assert "stem.weight 1 x 4 x 3 x 1 input of stem" in rows
    assert "blocks.{0-4}.down.weight x5 1 x 4 x 8 x 1 blocks.{0-4}.up" in rows
    assert any(row.startswith("head.weight 1 x 2 x 4 x 1") for row in rows)
    assert [row for row in rows if row.endswith("not pruned")] == rows[-1:]


def test_forks_and_shortcuts() -> None:
    graph = phew.capture(Residual(3), torch.zeros(1, 3))
    _, *rows = section(str(phew.inspect(graph)), "Forks: 3 spaces")
    assert rows[0].startswith("stem 4 blocks.0.up, ~")
    assert rows[1].startswith("blocks.{0-1}.add x2 4 blocks.{1-2}.up, ~blocks.{1-2}.add")
    content = Report(graph).as_dict()
    assert content["forks"][0] == {
        "space": "stem",
        "num_units": 4,
        "to": ["blocks.0.up", "blocks.0.add"],
    }
    assert content["shortcuts"] == [
        {"from": "stem", "to": "blocks.0.add"},
        {"from": "blocks.0.add", "to": "blocks.1.add"},
        {"from": "blocks.1.add", "to": "blocks.2.add"},
    ]


def chain(*links: WeightedLink | WiringLink, sizes: list[int], **options: Any) -> WalkGraph:
    """Make a graph whose walks go from its first space to its last."""
    shapes = {link.parameter: link.shape for link in links if isinstance(link, WeightedLink)}
    parameters = {name: torch.ones(shape) for name, shape in shapes.items()}
    graph = WalkGraph(
        spaces=tuple(Space(f"space {index}", size) for index, size in enumerate(sizes)),
        links=links,
        entries=(0,),
        exits=(len(sizes) - 1,),
        parameters=parameters,
        prunable=tuple(parameters),
    )
    return dataclasses.replace(graph, **options)


def dense(source: int, target: int, name: str, num_targets: int, num_sources: int) -> WeightedLink:
    strides = (0, num_sources, 1, 1)
    return WeightedLink(source, target, name, 1, num_targets, num_sources, 1, strides)


def wiring(source: int, target: int, sources: list[int], targets: list[int]) -> WiringLink:
    return WiringLink(source, target, np.array(sources, np.int32), np.array(targets, np.int32))


def test_notes_that_only_some_graphs_have() -> None:
    graph = chain(
        dense(0, 1, "a.weight", 4, 4),
        dense(1, 2, "a.weight", 4, 4),
        dense(2, 3, "b.weight", 4, 4),
        sizes=[4, 4, 4, 4],
        notes=CaptureNotes(
            derived={"b.weight": "_weight_norm"},
            approximations=(
                Approximation("sort", "layers.0", "its order depends on values"),
                Approximation("sort", "layers.1", "its order depends on values"),
                Approximation("sort", "", "phew does not know it"),
            ),
            not_prunable={"c": "never used by the example inputs"},
        ),
    )
    report = str(phew.inspect(graph))
    assert section(report, "Parameters in several links: 1") == ["a.weight 2 links"]
    assert section(report, "Parameters that weights are computed from: 1") == [
        "b.weight _weight_norm"
    ]
    assert section(report, "Operations that are approximated by a complete wiring: 3") == [
        "layers.{0-1} x2 sort its order depends on values",
        "the model sort phew does not know it",
    ]
    assert section(report, "Parameters that are not prunable: 1") == [
        "c never used by the example inputs"
    ]
    assert "no walk reaches" not in report
    content = Report(graph).as_dict()
    assert content["shared"] == {"a.weight": 2}
    assert content["derived"] == {"b.weight": "_weight_norm"}
    assert content["approximations"][2] == {
        "operation": "sort",
        "module": "",
        "reason": "phew does not know it",
    }


def test_weights_that_no_walk_reaches() -> None:
    # The last two of 4 units lead nowhere. If the way around is a shortcut, no walk takes it.
    graph = chain(
        dense(0, 1, "a.weight", 4, 3),
        wiring(1, 2, [0, 1, -1, -1], [0, 1]),
        dense(0, 2, "b.weight", 2, 3),
        dense(2, 3, "c.weight", 5, 2),
        sizes=[3, 4, 2, 5],
    )
    assert unreached_weights(graph) == {"a.weight": 6}
    assert section(
        str(phew.inspect(graph)), "Prunable parameters with weights that no walk reaches: 1"
    ) == ["a.weight 6 of 12 weights"]
    avoided = dataclasses.replace(graph.links[2], shortcut=True)
    links = (*graph.links[:2], avoided, graph.links[3])
    assert unreached_weights(dataclasses.replace(graph, links=links)) == {
        "a.weight": 6,
        "b.weight": 6,
    }


def test_unreached_weights_are_those_that_the_reference_does_not_reach() -> None:
    rng = np.random.default_rng(0)
    partly = 0
    for _ in range(120):
        graph = random_graph(rng)
        reachable = reachable_weights(Reference(graph, power=0))
        expected = {}
        for name in graph.prunable:
            num_reached = len({visit for visit in reachable if visit.parameter == name})
            if num_unreached := graph.parameters[name].numel() - num_reached:
                expected[name] = num_unreached
        assert unreached_weights(graph) == expected
        partly += any(0 < n < graph.parameters[name].numel() for name, n in expected.items())
    assert partly > 20


def test_long_names_are_relative_to_the_parameters() -> None:
    prefix = "a_module_of_a_long_name.another_one_inside"
    inner = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model = nn.ModuleDict({"a_module_of_a_long_name": nn.ModuleDict({"another_one_inside": inner})})
    model.forward = inner.forward
    graph = phew.capture(model, torch.zeros(1, 4))
    assert section(str(phew.inspect(graph)), "Weighted links")[2].endswith(f"{prefix}.0")
    space = Space(f"{prefix}.{'y' * 40}", 4)
    graph = dataclasses.replace(graph, spaces=(graph.spaces[0], space, graph.spaces[2]))
    _, first, second = section(str(phew.inspect(graph)), "Weighted links")
    assert first.endswith(" 1 x 4 x 4 x 1 input of ...0 ..." + "y" * 40)
    assert second.endswith(f" 1 x 4 x 4 x 1 ...{'y' * 40}")


def test_many_parameters_of_one_reason_are_told_apart_by_their_last_names() -> None:
    names = [f"{letter}.bias" for letter in "abcdefghijklmn"]
    graph = chain(
        dense(0, 1, "w", 2, 2),
        sizes=[2, 2],
        notes=CaptureNotes(not_prunable=dict.fromkeys([*names, "scale"], "vector")),
    )
    assert section(str(phew.inspect(graph)), "Parameters that are not prunable: 15") == [
        "*.bias x14 vector",
        "scale vector",
    ]


def test_spaces_of_one_name_are_told_apart() -> None:
    graph = chain(dense(0, 1, "w", 2, 2), wiring(1, 2, [0, 1], [0, 1]), sizes=[2, 2, 2])
    graph = dataclasses.replace(graph, spaces=(Space("a", 2), Space("add", 2), Space("add", 2)))
    assert Report(graph).as_dict()["exits"] == [{"space": "add#2", "num_units": 2}]


def test_more_ends_than_fit_are_counted() -> None:
    graph = chain(dense(0, 1, "w", 2, 2), sizes=[2, 2])
    spaces = (*graph.spaces, *[Space(letter, 1) for letter in "abcdefg"])
    graph = dataclasses.replace(graph, spaces=spaces, exits=tuple(range(1, 9)))
    exits = str(phew.inspect(graph)).split("\n\n")[0].splitlines()[-1]
    assert exits.startswith("exits: space 1 (2 units), a (1 unit), b (1 unit), ")
    assert exits.endswith(" and 2 more")


def test_a_deep_network_has_a_short_report() -> None:
    lines = str(phew.inspect(Residual(60), torch.zeros(1, 3))).splitlines()
    assert len(lines) < 30
    assert max(map(len, lines)) <= 120


def test_the_dictionary_is_what_json_can_hold() -> None:
    content = Report(phew.capture(Residual(2), torch.zeros(1, 3))).as_dict()
    assert json.loads(json.dumps(content)) == content
    assert content["links"][0] == {
        "parameter": "stem.weight",
        "prunable": True,
        "shape": [1, 4, 3, 1],
        "from": "input of stem",
        "to": "stem",
    }


def test_a_report_can_be_pickled() -> None:
    report = phew.inspect(Residual(2), torch.zeros(1, 3))
    assert str(pickle.loads(pickle.dumps(report))) == str(report)


@pytest.mark.parametrize(("num_steps", "is_advised"), [(100, False), (101, True)])
def test_a_parameter_in_many_links_asks_for_shorter_examples(
    num_steps: int, is_advised: bool
) -> None:
    links = [dense(step, step + 1, "cell.weight", 2, 2) for step in range(num_steps)]
    report = str(phew.inspect(chain(*links, sizes=[2] * (num_steps + 1))))
    lines = section(report, "Parameters in several links: 1")
    assert lines[0] == f"cell.weight {num_steps} links"
    assert any("shorter example inputs" in line for line in lines) == is_advised
