"""Figures of results. They need matplotlib, so benchmarks import this only when they draw."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from phew import plot

DOCS = Path(__file__).parents[2] / "docs"


def new_figure(
    num_panels: int, *, height: float = 3.2, share_axes: bool = False
) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels side by side; the height is in inches."""
    figure = Figure(figsize=(3.6 * num_panels, height), layout="constrained")
    panels = figure.subplots(1, num_panels, squeeze=False, sharex=share_axes, sharey=share_axes)
    return figure, list(panels[0])


def save(figure: Figure, name: str) -> None:
    """Write a figure to `docs/figures`."""
    (DOCS / "figures" / f"{name}.svg").write_bytes(plot.svg(figure))
