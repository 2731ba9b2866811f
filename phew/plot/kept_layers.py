"""The figure of one network's masks: what is kept of each layer."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from phew.masks.masks import Masks
from phew.plot.figures import ShownFigure
from phew.plot.names import short_names
from phew.plot.panels import add_legend

_ROW = 0.2
"""The height of a layer's row, in inches."""

_MOST_ROWS = 80
"""Further layers make rows narrower, and only some have names."""


def masks(masks: Masks, *, ax: Axes | None = None) -> Figure:
    """Draw the shares of kept weights and of active units of each layer.

    Shares are on a logarithmic axis. Layers are rows, in the order of the model. Hollow markers at
    the left edge are layers of which nothing is left.

    Args:
        masks: The masks; those without counts of units have no markers for them.
        ax: Axes to draw into; by default those of a new figure.

    Returns:
        The figure, of `ax` if it is given.

    Example:
        >>> import torch, phew
        >>> from phew import plot
        >>> model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Linear(32, 4))
        >>> figure = plot.masks(phew.sample_masks(model, torch.zeros(1, 64), density=0.2))
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['0', '1']
    """
    summary = masks.summary()
    rows, total = summary.rows, summary.total
    names = short_names([row.parameter for row in rows], 32)
    panel = _own_panel(len(rows)) if ax is None else ax
    densities = {place: row.density for place, row in enumerate(rows)}
    widths = {
        place: (row.num_active_units or 0) / row.num_units
        for place, row in enumerate(rows)
        if row.num_units
    }
    positive = [share for share in (*densities.values(), *widths.values()) if share > 0]
    left = 10 ** math.floor(math.log10(0.9 * min(positive, default=0.1)))
    _draw(panel, "active units / units", widths, left, color="#0072b2", marker="s")
    _draw(panel, "kept weights / weights", densities, left, color="#d55e00", marker="o")
    if total.num_kept:
        label = f"all kept weights: {total.density:.2%}"
        panel.axvline(total.density, color="#d55e00", linestyle=":", linewidth=1, label=label)
    panel.set(xscale="log", xlim=(left, 1.15), ylim=(max(len(rows), 1) - 0.5, -0.5), xlabel="share")
    powers = range(round(math.log10(left)), 1)
    labels = [f"{10.0 ** (power + 2):g}%" for power in powers]
    panel.set_xticks([10.0**power for power in powers], labels)
    panel.minorticks_off()
    step = max(1, math.ceil(len(rows) / _MOST_ROWS))
    panel.set_yticks(range(0, len(rows), step), names[::step], size="small")
    panel.grid(axis="y", color="0.92")
    panel.set_axisbelow(True)
    for place in range(0, len(rows), step):
        text = f"{rows[place].num_kept:,} of {rows[place].num_weights:,}"
        across = panel.get_yaxis_transform()
        panel.text(1.02, place, text, transform=across, size="small", color="#9c4400", va="center")
    return add_legend(panel, is_given=ax is not None)


def _own_panel(num_rows: int) -> Axes:
    height = 1.1 + _ROW * min(max(num_rows, 3), _MOST_ROWS)
    figure = ShownFigure(figsize=(8.0, height), layout="constrained")
    figure.set_label("Kept weights and active units of each layer")
    panel: Axes = figure.subplots()
    return panel


def _draw(
    panel: Axes, label: str, shares: dict[int, float], left: float, *, color: str, marker: str
) -> None:
    """Draw the markers of one kind of share, hollow ones at the left edge where it is zero."""
    if not shares:
        return
    style: dict[str, Any] = {"color": color, "marker": marker, "linestyle": "none", "markersize": 5}
    there = {place: share for place, share in shares.items() if share}
    panel.plot([*there.values()], [*there], label=label, **style)
    gone = [place for place in shares if place not in there]
    if gone:
        style |= {"markerfacecolor": "white", "clip_on": False, "zorder": 3}
        panel.plot([left] * len(gone), gone, label="_none", **style)
