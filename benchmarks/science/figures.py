"""The figures of docs/science.md that are not of accuracies against densities."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from support.plots import new_figure

from phew.plot.styles import styles_of
from science.claims import Row, means
from science.factors import DENSITIES, RIVALS, Accuracies, Factor, gaps_of
from science.intervals import interval
from science.jobs import ONE_WALK
from science.pruning import METHODS


def draw_gaps(factor: Factor, accuracies: Accuracies) -> Figure:
    """Draw PHEW's accuracy less its rivals', with a panel for each data set."""
    names = sorted({data for data, _, _ in accuracies})
    styles = styles_of(RIVALS)
    levels = list(factor.levels)
    figure, panels = new_figure(len(names), share_axes=True)
    for panel, name in zip(panels, names, strict=True):
        for density, line in zip(DENSITIES, ("-", "--"), strict=True):
            for rival in RIVALS:
                gaps = gaps_of(accuracies, name, density, rival)
                intervals = [interval(list(by_seed.values())) for by_seed in gaps.values()]
                panel.errorbar(
                    [levels.index(level) for level in gaps],
                    [100 * each.mean for each in intervals],
                    [100 * each.margin for each in intervals],
                    **styles[rival] | {"linestyle": line, "label": f"{rival}, {density:.0%}"},
                    capsize=2,
                )
        panel.axhline(0, color="0.3", linewidth=0.8)
        panel.set_xticks(range(len(levels)), levels)
        panel.set(title=name, xlabel=factor.title)
    panels[0].set_ylabel("accuracy of PHEW less other's, points")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def draw_balance(rows: Sequence[Row]) -> Figure:
    """Draw the number of paths against active units, with a line for each method.

    Source: Pham et al.: Towards Data-Agnostic Pruning At Initialization: What Makes a Good Sparse
    Mask?, NeurIPS 2023, which calls them effective paths and effective nodes.
    """
    networks = list(dict.fromkeys(row["network"] for row in rows))
    methods = [method for method in METHODS if any(row["method"] == method for row in rows)]
    styles = styles_of(methods)
    figure, panels = new_figure(len(networks))
    alive = [
        row for row in rows if row["log10_num_paths"] is not None and row["density"] > ONE_WALK
    ]
    widths = means(alive, ("network", "method", "density"), "width")
    paths = means(alive, ("network", "method", "density"), "log10_num_paths")
    for panel, network in zip(panels, networks, strict=True):
        for method in methods:
            cases = [case for case in widths if case[:2] == (network, method)]
            units = [100 * widths[case] for case in cases]
            panel.plot(units, [paths[case] for case in cases], **styles[method])
        panel.set(title=network, xlabel="active units, %")
    panels[0].set_ylabel("paths, log10")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    return figure
