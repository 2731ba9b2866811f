"""The picture of a network shows every weighted parameter, and no words lie on others."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return"
import itertools
from typing import Any

import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor, nn

import phew
from phew import plot
from phew.models import lenet5, resnet_cifar
from phew.plot.network_blocks import columns_of


class Crossing(nn.Module):
    """The head reads the stem as well as the block before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.middle, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        first = self.stem(x)
        return self.head(torch.cat([first, self.middle(first)], dim=1))


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    return nn.Sequential(nn.Linear(8, 16), nn.TransformerEncoder(layer, 3), nn.Linear(16, 4))


NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "lenet5": (lenet5, (1, 1, 28, 28)),
    "resnet20": (lambda: resnet_cifar(20), (1, 3, 32, 32)),
    "transformer": (transformer, (1, 5, 8)),
    "crossing": (Crossing, (1, 4)),
}


def graph_of(name: str, **selection: Any) -> phew.WalkGraph:
    torch.manual_seed(0)
    build, shape = NETWORKS[name]
    return phew.capture(build(), torch.zeros(shape), **selection)


def words_of(panel: Axes) -> list[str]:
    return [text.get_text() for text in panel.texts]


@pytest.mark.parametrize("name", NETWORKS)
def test_columns_count_what_masks_keep(name: str) -> None:
    graph = graph_of(name)
    masks = phew.sample_masks(graph, density=0.2)
    layers = [layer for column in columns_of(graph, masks) for row in column.rows for layer in row]
    assert sum(layer.num_parameters for layer in layers) == len(graph.parameters)
    assert sum(layer.num_kept for layer in layers) == masks.num_kept
    assert sum(layer.num_weights for layer in layers) == masks.num_weights
    rows = masks.summary().rows
    assert sum(layer.num_units for layer in layers) == sum(row.num_units or 0 for row in rows)
    active = sum(row.num_active_units or 0 for row in rows)
    assert sum(layer.num_active_units for layer in layers) == active


def test_equal_blocks_are_one_column() -> None:
    columns = columns_of(graph_of("resnet20"), {})
    assert [(column.name, column.num_blocks) for column in columns] == [
        ("stem", 1),
        ("stages.0.{0-2}", 3),
        ("stages.1.0", 1),
        ("stages.1.{1-2}", 2),
        ("stages.2.0", 1),
        ("stages.2.{1-2}", 2),
        ("classifier", 1),
    ]
    # A shortcut with weights is a layer beside the first of the block.
    assert [[layer.name for layer in row] for row in columns[2].rows] == [
        ["branch.0.0", "shortcut.0"],
        ["branch.2.0"],
    ]
    assert columns[2].joined == {((0, 0), (1, 0))}
    assert [column.has_shortcut for column in columns] == [
        *(False, True, False, True, False, True, False)
    ]
    assert [column.sources for column in columns] == [(place - 1,) for place in range(7)]
    assert [column.is_exit for column in columns] == [False] * 6 + [True]


def test_boxes_of_equal_blocks_have_the_numbers_of_one() -> None:
    (panel,) = plot.network(graph_of("transformer")).axes
    words = words_of(panel)
    assert "1.layers.{0-2} x3" in words
    # The attention's packed projection, 48 x 16, and the first layer of 8 x 16.
    assert words.count("768 weights") == 1
    assert words.count("128 weights") == 1


def test_a_block_names_what_it_reads_beside_the_one_before_it() -> None:
    (panel,) = plot.network(graph_of("crossing")).axes
    assert "also reads stem" in words_of(panel)


def test_what_is_not_pruned_is_visible() -> None:
    graph = graph_of("lenet5", exclude=["fc3.weight"])
    (panel,) = plot.network(graph, phew.sample_masks(graph, density=0.1)).axes
    hatched = [patch for patch in panel.patches if patch.get_hatch()]
    assert len(hatched) == 1
    words = words_of(panel)
    assert words.count("not pruned") == 1
    assert any(text.startswith("Parameters that are not pruned: 5 x vector") for text in words)
    assert any("1 x excluded by 'fc3.weight'" in text for text in words)
    legend = panel.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == [
        "pruned, the darker the more is kept",
        "not pruned",
        "units, light if not active",
    ]


@pytest.mark.parametrize("has_masks", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_words_lie_on_others_or_outside(name: str, has_masks: bool) -> None:
    graph = graph_of(name)
    masks = phew.sample_masks(graph, density=0.2) if has_masks else None
    figure = plot.network(graph, masks)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    legend = figure.axes[0].get_legend()
    assert legend is not None
    boxes.append(legend.get_window_extent())
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in boxes)


def test_a_shortcut_is_a_dashed_line() -> None:
    def dashed(name: str) -> list[Line2D]:
        (panel,) = plot.network(graph_of(name)).axes
        return [line for line in panel.lines if line.get_linestyle() == "--"]

    assert len(dashed("resnet20")) == 3
    assert dashed("lenet5") == []


def test_a_network_is_drawn_into_the_axes_that_are_given() -> None:
    figure = Figure()
    first, second = figure.subplots(1, 2)
    assert plot.network(graph_of("lenet5"), ax=second) is figure
    assert words_of(first) == []
    # The letters are smaller, as the picture is.
    assert max(text.get_fontsize() for text in second.texts if text.get_text()) < 5


def test_masks_that_do_not_fit_are_refused() -> None:
    masks = {"nothing.weight": torch.ones(2, 2, dtype=torch.bool)}
    with pytest.raises(ValueError, match=r"masks .*nothing\.weight"):
        plot.network(graph_of("lenet5"), masks)
