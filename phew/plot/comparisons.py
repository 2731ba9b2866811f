"""Figures of comparisons: what methods leave of a network at several densities."""

from __future__ import annotations

import math

from matplotlib.figure import Figure, SubFigure

from phew.analysis import Comparison
from phew.plot.figures import ShownFigure
from phew.plot.names import short_names
from phew.plot.panels import add_legend, make_logarithmic, own_figure, set_densities
from phew.plot.styles import styles_of

_MOST_TICKS = 24


def layers(comparison: Comparison, *, figure: Figure | SubFigure | None = None) -> Figure:
    """Draw the density and the active width of each layer, in a column for each density.

    Layer densities are on a logarithmic axis: the line of a method falls out of the panel at a
    layer of which it keeps no weight.

    Args:
        comparison: What `phew.analysis.compare` returned.
        figure: A figure or subfigure to draw into; by default a new figure.

    Returns:
        The whole figure.

    Example:
        >>> import torch, phew
        >>> from phew import analysis, plot
        >>> model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Linear(32, 4))
        >>> methods = {"PHEW": phew.sample_masks, "random": phew.baselines.random}
        >>> comparison = analysis.compare(
        ...     model, torch.zeros(1, 64), methods=methods, densities=[0.2, 0.1]
        ... )
        >>> figure = plot.layers(comparison)
        >>> [axes.get_title() for axes in figure.axes[:2]]
        ['density 20%', 'density 10%']
    """
    densities, styles = comparison.densities, styles_of(comparison.methods)
    what = "Density and active width of each layer, by method and density"
    figure = figure or own_figure(what, 2, len(densities))
    panels = figure.subplots(2, len(densities), squeeze=False, sharex=True, sharey="row")
    for density, density_panel, width_panel in zip(densities, *panels, strict=True):
        for row in comparison.rows:
            if row.density == density:
                kept, style = row.analysis.layers, styles[row.method]
                density_panel.plot([layer.density for layer in kept], **style)
                width_panel.plot([layer.active_width for layer in kept], **style)
        density_panel.set_title(f"density {100 * density:g}%")
    make_logarithmic(panels[0][0])
    panels[0][0].set_ylabel("density of the layer")
    panels[1][0].set(ylabel="active units / units", ylim=(0, 1.05))
    names = short_names([layer.parameter for layer in comparison.rows[0].analysis.layers])
    shown = range(0, len(names), math.ceil(len(names) / _MOST_TICKS))
    for panel in panels[1]:
        panel.set_xticks(shown, [names[index] for index in shown], rotation=90, size="small")
    return add_legend(figure)


def against_density(comparison: Comparison, *, figure: Figure | SubFigure | None = None) -> Figure:
    """Draw what masks leave of the whole network against the density.

    The panels show the trace of the path kernel, the hidden width and the effective density.

    Args:
        comparison: What `phew.analysis.compare` returned.
        figure: A figure or subfigure to draw into; by default a new figure.

    Returns:
        The whole figure.
    """
    styles = styles_of(comparison.methods)
    what = "Path kernel trace, active hidden units and effective density, by method"
    figure = figure or own_figure(what, 1, 3)
    trace_panel, width_panel, density_panel = panels = figure.subplots(1, 3)
    for method, style in styles.items():
        rows = [row for row in comparison.rows if row.method == method]
        rows.sort(key=lambda row: row.density)
        densities = [row.density for row in rows]
        trace_panel.plot(densities, [row.analysis.path_kernel_trace for row in rows], **style)
        width_panel.plot(densities, [row.analysis.hidden_width for row in rows], **style)
        effective = [row.analysis.total.effective_density for row in rows]
        density_panel.plot(densities, effective, **style)
    trace_panel.set_title("path kernel trace / dense")
    width_panel.set(title="active hidden units / units", ylim=(0, 1.05))
    density_panel.set_title("effective density")
    for panel in (trace_panel, density_panel):
        make_logarithmic(panel)
    for panel in panels:
        set_densities(panel, comparison.densities)
    return add_legend(figure)


def comparisons(comparison: Comparison) -> Figure:
    """Draw both figures of a comparison, one below the other.

    Args:
        comparison: What `phew.analysis.compare` returned.

    Returns:
        The figure.
    """
    width = 1.2 + 3.0 * max(3, len(comparison.densities))
    figure = ShownFigure(figsize=(width, 9.0), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[3, 2]).flat
    layers(comparison, figure=above)
    return against_density(comparison, figure=below)
