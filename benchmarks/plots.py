"""Figures of results, which need the optional extra `benchmarks`: only what draws imports this."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DOCS = Path(__file__).parents[1] / "docs"


def new_figure(
    num_panels: int, *, height: float = 3.2, share_axes: bool = False
) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels side by side; the height is in inches."""
    figure = Figure(figsize=(3.6 * num_panels, height), layout="constrained")
    panels = figure.subplots(1, num_panels, squeeze=False, sharex=share_axes, sharey=share_axes)
    return figure, list(panels[0])


def save(figure: Figure, name: str) -> None:
    """Write a figure to `docs`, the same bytes for the same figure."""
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(DOCS / f"{name}.svg", metadata={"Date": None})
