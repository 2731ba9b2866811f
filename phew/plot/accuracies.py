"""The figure of accuracies against the density."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from phew.plot.panels import add_legend, own_panel, set_densities
from phew.plot.styles import styles_of

# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom.
_T_QUANTILES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def accuracy(
    accuracies: Mapping[str, Mapping[float, Sequence[float]]],
    *,
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw mean accuracies against the density, with 95 % confidence intervals of the mean.

    Args:
        accuracies: By method and density the accuracy of each seed. A method with the single
            density 1.0 is a dashed line across: the dense network.
        title: Title of the figure.
        ax: Axes to draw into; by default those of a new figure.

    Returns:
        The figure, of `ax` if it is given.

    Raises:
        ValueError: If a method has no density, or a density no accuracy.

    Example:
        >>> from phew import plot
        >>> accuracies = {"dense": {1.0: [0.93, 0.94]}, "PHEW": {0.1: [0.91, 0.92], 0.05: [0.9]}}
        >>> plot.accuracy(accuracies, title="ResNet-20").axes[0].get_title()
        'ResNet-20'
    """
    _check(accuracies)
    panel = own_panel("Accuracy against the density") if ax is None else ax
    styles = styles_of(accuracies)
    densities: set[float] = set()
    for method, by_density in accuracies.items():
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
    set_densities(panel, sorted(densities))
    panel.set_ylabel("accuracy")
    if title is not None:
        panel.set_title(title)
    return add_legend(panel, is_given=ax is not None)


def _check(accuracies: Mapping[str, Mapping[float, Sequence[float]]]) -> None:
    for method, by_density in accuracies.items():
        if not min(map(len, by_density.values()), default=0):
            raise ValueError(
                f"accuracies[{method!r}] must hold that of a seed or more for each density, "
                f"got {dict(by_density)}."
            )


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the margin of its 95 % confidence interval; 0 for a single value."""
    if len(values) == 1:
        return values[0], 0.0
    # With more values than the table has, its last quantile gives a slightly wide margin.
    quantile = _T_QUANTILES[min(len(values) - 1, len(_T_QUANTILES)) - 1]
    return statistics.fmean(values), quantile * statistics.stdev(values) / math.sqrt(len(values))
