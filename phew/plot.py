"""Figures of comparisons and accuracies. Needs matplotlib: `pip install 'torch-phew[plot]'`.

A method has the same colour and marker in all figures. They are made without pyplot, so nothing
global changes and nothing needs to be closed; `figure.savefig` writes them.
"""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from phew.analysis import Comparison

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError("phew.plot needs matplotlib: pip install 'torch-phew[plot]'.") from error

_PHEW = "PHEW"
_OTHERS = (
    *("SynFlow", "SynFlow-L2", "magnitude", "random", "ERK", "random by layer"),
    *("uniform walks", "inverse walks", "PHEW2", "kernel PHEW", "SNIP", "GraSP"),
)
# Methods that share a colour differ in their markers and lines.
_COLOURS = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#b79f00", "#7f7f7f")
_MARKERS = ("s", "^", "D", "v", "P", "X", "*")
_LINES = ("-", "--", ":", "-.")

_MOST_TICKS = 24
_MOST_DENSITIES = 8
_LONGEST_NAME = 16

# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom.
_T_QUANTILES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def layers(comparison: Comparison) -> Figure:
    """Draw the density and the active width of each layer, in a column for each density.

    Layer densities are on a logarithmic axis: the line of a method falls out of the panel at a
    layer of which it keeps no weight.

    Args:
        comparison: What `phew.analysis.compare` returned.

    Returns:
        The figure.

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
    densities, styles = comparison.densities, _styles(comparison.methods)
    figure, panels = _panels(2, len(densities), sharex=True, sharey="row")
    for density, density_panel, width_panel in zip(densities, *panels, strict=True):
        for row in comparison.rows:
            if row.density == density:
                kept, style = row.analysis.layers, styles[row.method]
                density_panel.plot([layer.density for layer in kept], **style)
                width_panel.plot([layer.active_width for layer in kept], **style)
        density_panel.set_title(f"density {100 * density:g}%")
    _make_logarithmic(panels[0][0])
    panels[0][0].set_ylabel("density of the layer")
    panels[1][0].set(ylabel="active units / units", ylim=(0, 1.05))
    names = [_short(layer.parameter) for layer in comparison.rows[0].analysis.layers]
    shown = range(0, len(names), math.ceil(len(names) / _MOST_TICKS))
    for panel in panels[1]:
        panel.set_xticks(shown, [names[index] for index in shown], rotation=90, size="small")
    _add_legend(figure)
    return figure


def against_density(comparison: Comparison) -> Figure:
    """Draw what masks leave of the whole network against the density.

    The panels show the trace of the path kernel, the hidden width and the effective density.

    Args:
        comparison: What `phew.analysis.compare` returned.

    Returns:
        The figure.
    """
    styles = _styles(comparison.methods)
    figure, ((trace_panel, width_panel, density_panel),) = _panels(1, 3)
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
        _make_logarithmic(panel)
    for panel in figure.axes:
        _set_densities(panel, comparison.densities)
    _add_legend(figure)
    return figure


def accuracy(
    accuracies: Mapping[str, Mapping[float, Sequence[float]]], *, title: str | None = None
) -> Figure:
    """Draw mean accuracies against the density, with 95 % confidence intervals of the mean.

    Args:
        accuracies: By method and density the accuracy of each seed. A method with the single
            density 1.0 is a dashed line across: the dense network.
        title: Title of the figure.

    Returns:
        The figure.

    Raises:
        ValueError: If a method has no density, or a density no accuracy.

    Example:
        >>> from phew import plot
        >>> accuracies = {"dense": {1.0: [0.93, 0.94]}, "PHEW": {0.1: [0.91, 0.92], 0.05: [0.9]}}
        >>> plot.accuracy(accuracies, title="ResNet-20").axes[0].get_title()
        'ResNet-20'
    """
    figure, ((panel,),) = _panels(1, 1)
    styles = _styles(accuracies)
    densities: set[float] = set()
    for method, by_density in accuracies.items():
        if not min(map(len, by_density.values()), default=0):
            raise ValueError(
                f"accuracies[{method!r}] must hold that of a seed or more for each density, "
                f"got {dict(by_density)}."
            )
        points = sorted(by_density)
        means, margins = zip(*(_interval(by_density[point]) for point in points), strict=True)
        if points == [1.0]:
            panel.axhline(means[0], color="0.3", linestyle="--", label=method)
            panel.axhspan(means[0] - margins[0], means[0] + margins[0], color="0.3", alpha=0.1)
            continue
        densities.update(points)
        lower = [mean - margin for mean, margin in zip(means, margins, strict=True)]
        upper = [mean + margin for mean, margin in zip(means, margins, strict=True)]
        panel.plot(points, means, **styles[method])
        panel.fill_between(points, lower, upper, color=styles[method]["color"], alpha=0.15, lw=0)
    _set_densities(panel, sorted(densities))
    panel.set_ylabel("accuracy")
    if title is not None:
        panel.set_title(title)
    _add_legend(figure)
    return figure


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG, the same bytes for the same figure."""
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "phew", "svg.fonttype": "none"}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def _panels(num_rows: int, num_columns: int, **shared: Any) -> tuple[Figure, list[list[Axes]]]:
    size = (1.2 + 3.0 * num_columns, 0.8 + 2.4 * num_rows)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(num_rows, num_columns, squeeze=False, **shared).tolist()


def _styles(methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return how each method is drawn; methods that are not known come after those that are."""
    order = [name for name in dict.fromkeys([*_OTHERS, *methods]) if name != _PHEW]
    styles: dict[str, dict[str, Any]] = {}
    for method in methods:
        if method == _PHEW:
            style = {"color": "#d55e00", "marker": "o", "linewidth": 2.4, "zorder": 3}
        else:
            place = order.index(method)
            style = {
                "color": _COLOURS[place % len(_COLOURS)],
                "marker": _MARKERS[place % len(_MARKERS)],
                "linestyle": _LINES[place // len(_COLOURS) % len(_LINES)],
                "linewidth": 1.2,
            }
        styles[method] = {"label": method, "markersize": 4, **style}
    return styles


def _make_logarithmic(panel: Axes) -> None:
    # matplotlib warns of logarithmic axes without positive values, as when all has collapsed.
    if math.isfinite(panel.dataLim.minposy):
        panel.set_yscale("log")


def _set_densities(panel: Axes, densities: Sequence[float]) -> None:
    panel.set(xlabel="density", xscale="log")
    shown = densities[:: max(1, math.ceil(len(densities) / _MOST_DENSITIES))]
    panel.set_xticks(shown, [f"{100 * density:.2g}%" for density in shown])
    panel.minorticks_off()


def _add_legend(figure: Figure) -> None:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    num_columns = max(1, int(figure.get_figwidth() // 1.6))
    figure.legend(handles, labels, loc="outside lower center", ncols=num_columns, frameon=False)


def _short(parameter: str) -> str:
    """Shorten the name of a parameter to its end, which tells neighbours apart."""
    name = parameter.removesuffix(".weight")
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the margin of its 95 % confidence interval; 0 for a single value."""
    if len(values) == 1:
        return values[0], 0.0
    # With more values than the table has, its last quantile gives a slightly wide margin.
    quantile = _T_QUANTILES[min(len(values) - 1, len(_T_QUANTILES)) - 1]
    return statistics.fmean(values), quantile * statistics.stdev(values) / math.sqrt(len(values))
