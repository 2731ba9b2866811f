"""Panels, their axes and their legends."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import NullLocator

from phew.plot.figures import ShownFigure, whole_figure

_MOST_DENSITIES = 8


def own_figure(what: str, num_rows: int, num_columns: int) -> ShownFigure:
    """Make a figure with room for panels, whose label says what it shows."""
    size = (1.2 + 3.0 * num_columns, 0.8 + 2.4 * num_rows)
    figure = ShownFigure(figsize=size, layout="constrained")
    figure.set_label(what)
    return figure


def own_panel(what: str) -> Axes:
    """Make a figure of one panel."""
    panel: Axes = own_figure(what, 1, 1).subplots()
    return panel


def make_logarithmic(panel: Axes) -> None:
    """Make the vertical axis logarithmic, if there is anything to show on it."""
    # matplotlib warns of logarithmic axes without positive values, as when all has collapsed.
    if math.isfinite(panel.dataLim.minposy):
        panel.set_yscale("log")


def set_densities(panel: Axes, densities: Sequence[float]) -> None:
    """Make the horizontal axis one of densities, in per cent."""
    panel.set(xlabel="density", xscale="log")
    shown = densities[:: max(1, math.ceil(len(densities) / _MOST_DENSITIES))]
    panel.set_xticks(shown, [f"{100 * density:.2g}%" for density in shown])
    panel.xaxis.set_minor_locator(NullLocator())


def add_legend(part: Axes | Figure | SubFigure, *, is_given: bool = False) -> Figure:
    """Add a legend below the panels of a figure, or beside axes that were given.

    Args:
        part: The figure, or the axes, all of whose panels have the same entries.
        is_given: Whether the axes are a caller's, of whose figure nothing else may change.

    Returns:
        The whole figure.
    """
    if is_given:
        part.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        return whole_figure(part)
    figure = part.figure if isinstance(part, Axes) else part
    handles, labels = figure.axes[0].get_legend_handles_labels()
    num_columns = max(1, int(figure.bbox.width / figure.dpi // 1.6))
    figure.legend(handles, labels, loc="outside lower center", ncols=num_columns, frameon=False)
    return whole_figure(figure)
