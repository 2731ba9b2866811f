"""Figures hold the numbers that they are made from."""

from __future__ import annotations

# mypy: disable-error-code="arg-type, index, union-attr"
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats
from torch import nn

import phew
from phew import baselines, plot
from phew.analysis import Comparison, compare
from phew.models import lenet5, resnet_cifar
from phew.plot.names import short_names
from phew_cli.methods import labelled_methods

METHODS: dict[str, Callable[..., phew.Masks]] = {
    "magnitude": baselines.magnitude,
    "PHEW": phew.sample_masks,
    "random by layer": partial(baselines.random, scope="layer"),
}
# Magnitude pruning collapses at the last.
DENSITIES = [0.3, 0.05, 0.001]


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    torch.manual_seed(0)
    example = torch.zeros(1, 1, 28, 28)
    return compare(lenet5(), example, methods=METHODS, densities=DENSITIES)


def lines_of(panel: Axes) -> dict[str, Line2D]:
    return {str(line.get_label()): line for line in panel.lines}


def values_of(panel: Axes) -> dict[str, list[float]]:
    return {label: list(line.get_ydata()) for label, line in lines_of(panel).items()}


def look_of(line: Line2D) -> tuple[str, str, str]:
    return str(line.get_color()), str(line.get_marker()), str(line.get_linestyle())


def test_layers_are_drawn_by_density(comparison: Comparison) -> None:
    figure = plot.layers(comparison)
    density_panels, width_panels = figure.axes[:3], figure.axes[3:]
    assert len(width_panels) == 3
    titles = ["density 30%", "density 5%", "density 0.1%"]
    assert [panel.get_title() for panel in density_panels] == titles
    rows = {(row.method, row.density): row.analysis.layers for row in comparison.rows}
    for density, panel, width_panel in zip(DENSITIES, density_panels, width_panels, strict=True):
        assert panel.get_yscale() == "log"
        assert values_of(panel) == {
            method: [layer.density for layer in rows[method, density]] for method in METHODS
        }
        assert values_of(width_panel) == {
            method: [layer.active_width for layer in rows[method, density]] for method in METHODS
        }
    assert [label.get_text() for label in width_panels[0].get_xticklabels()] == [
        *("conv1", "conv2", "fc1", "fc2", "fc3")
    ]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(METHODS)


def test_names_of_layers_are_few_short_and_different() -> None:
    model, example = resnet_cifar(32), torch.zeros(1, 3, 32, 32)
    methods = {"magnitude": baselines.magnitude}
    comparison = compare(model, example, methods=methods, densities=[0.5])
    parameters = [layer.parameter for layer in comparison.rows[0].analysis.layers]
    panel = plot.layers(comparison).axes[1]
    places = [int(place) for place in panel.get_xticks()]
    assert len(places) == 17
    names = [label.get_text() for label in panel.get_xticklabels()]
    assert names == short_names(parameters)[::2]
    assert len(set(names)) == 17


def test_the_whole_network_is_drawn_against_the_density(comparison: Comparison) -> None:
    figure = plot.against_density(comparison)
    trace_panel, width_panel, density_panel = figure.axes
    for method in METHODS:
        rows = [row for row in reversed(comparison.rows) if row.method == method]
        for panel, numbers in (
            (trace_panel, [row.analysis.path_kernel_trace for row in rows]),
            (width_panel, [row.analysis.hidden_width for row in rows]),
            (density_panel, [row.analysis.total.effective_density for row in rows]),
        ):
            line = lines_of(panel)[method]
            assert list(line.get_xdata()) == sorted(DENSITIES)
            assert list(line.get_ydata()) == numbers
    for panel in figure.axes:
        assert panel.get_xscale() == "log"
        labels = dict(zip(panel.get_xticks(), panel.get_xticklabels(), strict=True))
        assert {place: label.get_text() for place, label in labels.items()} == {
            **{0.3: "30%", 0.05: "5%", 0.001: "0.1%"}
        }
    assert len(figure.legends) == 1


def test_a_method_looks_the_same_in_all_figures(comparison: Comparison) -> None:
    accuracies = {method: {0.1: [0.9, 0.8]} for method in reversed(METHODS)}
    figures = plot.layers(comparison), plot.against_density(comparison), plot.accuracy(accuracies)
    looks = {
        method: {look_of(lines_of(panel)[method]) for figure in figures for panel in figure.axes}
        for method in METHODS
    }
    assert [len(each) for each in looks.values()] == [1, 1, 1]
    widths = {method: line.get_linewidth() for method, line in lines_of(figures[0].axes[0]).items()}
    assert max(widths, key=lambda method: widths[method]) == "PHEW"


def test_methods_look_different() -> None:
    known = [label for label, _ in labelled_methods(0).values()]
    methods = [*known, "SNIP", "GraSP", *(f"mine, {number}" for number in range(10))]
    (panel,) = plot.accuracy({method: {0.1: [0.5]} for method in methods}).axes
    assert len({look_of(line) for line in panel.lines}) == len(methods)


def test_what_the_command_line_calls_methods_is_known(comparison: Comparison) -> None:
    # The look of an unknown method depends on those beside it.
    for label, _ in labelled_methods(0).values():
        looks = []
        for methods in ([label], ["mine", label]):
            (panel,) = plot.accuracy({method: {0.1: [0.5]} for method in methods}).axes
            looks.append(look_of(lines_of(panel)[label]))
        assert looks[0] == looks[1], label


@pytest.mark.parametrize("num_seeds", [2, 3, 31, 60])
def test_bands_are_intervals_of_student_t(num_seeds: int) -> None:
    generator = np.random.default_rng(num_seeds)
    seeds = {density: list(generator.normal(0.9, 0.01, num_seeds)) for density in (0.1, 0.01)}
    (panel,) = plot.accuracy({"PHEW": seeds}, title="ResNet-20").axes
    assert panel.get_title() == "ResNet-20"
    (line,) = panel.lines
    assert list(line.get_xdata()) == [0.01, 0.1]
    assert list(line.get_ydata()) == [fmean(seeds[0.01]), fmean(seeds[0.1])]
    (band,) = panel.collections
    ((corners),) = [path.vertices for path in band.get_paths()]
    for density, values in seeds.items():
        drawn = corners[np.isclose(corners[:, 0], density), 1]
        margin = stats.t.ppf(0.975, num_seeds - 1) * stats.sem(values)
        # Beyond 30 degrees of freedom the interval is a little wide.
        tolerance = 1e-3 if num_seeds <= 31 else 0.03
        assert drawn.max() - fmean(values) == pytest.approx(margin, rel=tolerance)
        assert fmean(values) - drawn.min() == pytest.approx(margin, rel=tolerance)


def test_a_single_seed_has_no_interval() -> None:
    (panel,) = plot.accuracy({"PHEW": {0.1: [0.9], 0.2: [0.92]}}).axes
    (band,) = panel.collections
    assert set(band.get_paths()[0].vertices[:, 1]) == {0.9, 0.92}


def test_the_dense_network_is_a_dashed_line_across() -> None:
    accuracies = {"dense": {1.0: [0.93, 0.95]}, "PHEW": {0.1: [0.9, 0.91], 0.01: [0.8, 0.82]}}
    figure = plot.accuracy(accuracies)
    (panel,) = figure.axes
    dense, walked = panel.lines
    assert dense.get_linestyle() == "--"
    assert list(dense.get_ydata()) == [0.94, 0.94]
    assert list(dense.get_xdata()) == [0, 1]  # of the panel's width
    assert list(walked.get_xdata()) == [0.01, 0.1]
    assert list(panel.get_xticks()) == [0.01, 0.1]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dense", "PHEW"]


@pytest.mark.parametrize("by_density", [{}, {0.1: []}, {0.2: [0.9], 0.1: []}])
def test_a_density_without_accuracies_is_refused(by_density: dict[float, list[float]]) -> None:
    message = (
        f"accuracies['PHEW'] must hold that of a seed or more for each density, got {by_density}."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        plot.accuracy({"PHEW": by_density})


def test_a_network_of_which_nothing_is_left_is_drawn() -> None:
    def nothing(model: nn.Module, example_inputs: Any, **options: Any) -> dict[str, torch.Tensor]:
        return {"weight": torch.zeros(3, 2, dtype=torch.bool)}

    methods, example = {"nothing": nothing}, torch.zeros(1, 2)
    comparison = compare(nn.Linear(2, 3), example, methods=methods, densities=[0.5])
    for figure in (plot.layers(comparison), plot.against_density(comparison)):
        assert values_of(figure.axes[0]) == {"nothing": [0]}
        assert plot.svg(figure)


def test_svg_is_the_same_for_the_same_figure(comparison: Comparison) -> None:
    first, second = (plot.svg(plot.layers(comparison)) for _ in range(2))
    assert first == second
    texts = {element.text for element in ElementTree.fromstring(first).iter() if element.text}
    assert {"PHEW", "magnitude", "random by layer", "density 30%", "conv1"} <= texts


def test_a_comparison_is_drawn_into_the_figure_that_is_given(comparison: Comparison) -> None:
    figure = Figure(figsize=(9, 8), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False).flat
    assert plot.layers(comparison, figure=above) is figure
    assert plot.against_density(comparison, figure=below) is figure
    assert [len(part.axes) for part in (above, below)] == [6, 3]
    assert [len(part.legends) for part in (figure, above, below)] == [0, 1, 1]
    assert [values_of(panel) for panel in plot.comparisons(comparison).axes] == [
        values_of(panel) for panel in figure.axes
    ]


def test_accuracies_are_drawn_into_the_axes_that_are_given() -> None:
    figure = Figure()
    first, second = figure.subplots(1, 2)
    assert plot.accuracy({"PHEW": {0.1: [0.9], 0.2: [0.92]}}, ax=second) is figure
    assert (len(first.lines), len(second.lines)) == (0, 1)
    assert figure.legends == []
    assert second.get_legend() is not None
    with pytest.raises(ValueError, match="accuracies\\['PHEW'\\] must hold"):
        plot.accuracy({"random": {0.1: [0.9]}, "PHEW": {}}, ax=first)
    assert len(first.lines) == 0


def test_matplotlib_is_needed_for_figures_alone(tmp_path: Path) -> None:
    code = """
import sys
import phew, phew_cli
assert "matplotlib" not in sys.modules
sys.modules["matplotlib"] = None  # as if it were not installed
import phew.plot
"""
    # In another folder than the checkout, whose phew Python would find first.
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.stderr.splitlines()[-1] == (
        "ImportError: phew.plot needs matplotlib: pip install 'torch-phew[plot]'."
    )
