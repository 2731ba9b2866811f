"""The figure of masks has each layer's shares, and draws into axes that it is given."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

import phew
from phew import plot
from phew.models import lenet5


def points_of(panel: Axes, label: str) -> list[tuple[float, float]]:
    (line,) = [line for line in panel.lines if line.get_label() == label]
    points: list[list[float]] = np.asarray(line.get_xydata()).tolist()
    return [(x, y) for x, y in points]


def test_every_layer_has_the_shares_of_the_summary() -> None:
    torch.manual_seed(0)
    masks = phew.sample_masks(lenet5(), torch.zeros(1, 1, 28, 28), density=0.02)
    (panel,) = plot.masks(masks).axes
    rows = masks.summary().rows
    assert points_of(panel, "kept weights / weights") == [
        (row.density, place) for place, row in enumerate(rows)
    ]
    assert points_of(panel, "active units / units") == [
        ((row.num_active_units or 0) / (row.num_units or 1), place)
        for place, row in enumerate(rows)
    ]
    names = [label.get_text() for label in panel.get_yticklabels()]
    assert names == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    counts = [text.get_text() for text in panel.texts]
    assert counts == [f"{row.num_kept:,} of {row.num_weights:,}" for row in rows]
    first, last = panel.get_xlim()
    assert first <= min(row.density for row in rows)
    assert last > 1
    assert panel.yaxis_inverted()


@pytest.mark.filterwarnings("ignore::phew.CollapseWarning")
def test_layers_of_which_nothing_is_left_are_hollow_at_the_edge() -> None:
    masks = phew.Masks({"a.weight": torch.zeros(2, 2, dtype=torch.bool), "b": torch.ones(3, 1) > 0})
    (panel,) = plot.masks(masks).axes
    assert points_of(panel, "kept weights / weights") == [(1.0, 1)]
    assert points_of(panel, "_none") == [(panel.get_xlim()[0], 0)]
    nothing = phew.Masks({"a.weight": torch.zeros(2, 2, dtype=torch.bool)})
    assert plot.svg(plot.masks(nothing))
    assert plot.svg(plot.masks(phew.Masks({})))


def test_masks_are_drawn_into_the_axes_that_are_given() -> None:
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4))
    figure = Figure()
    first, second = figure.subplots(1, 2)
    masks = phew.sample_masks(model, torch.zeros(1, 8), density=0.5)
    assert plot.masks(masks, ax=second) is figure
    assert not first.lines
    assert second.lines
    assert figure.legends == []
    assert figure.get_label() == ""


def test_a_hundred_layers_have_names_that_do_not_overlap() -> None:
    masks = phew.Masks({f"layers.{n}.weight": torch.ones(2, 2) > 0 for n in range(200)})
    figure = plot.masks(masks)
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(boxes) == 67
    assert all(above.y0 >= below.y1 for above, below in pairwise(boxes))
