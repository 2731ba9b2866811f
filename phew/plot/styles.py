"""The look of each method, which has the same colour and marker in all figures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_PHEW = "PHEW"
_OTHERS = (
    *("SynFlow", "SynFlow-L2", "magnitude", "random", "ERK", "random by layer"),
    *("uniform walks", "inverse walks", "PHEW2", "kernel PHEW", "SNIP", "GraSP"),
)
# Methods that share a colour differ in their markers and lines.
_COLOURS = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#b79f00", "#7f7f7f")
_MARKERS = ("s", "^", "D", "v", "P", "X", "*")
_LINES = ("-", "--", ":", "-.")


def styles_of(methods: Iterable[str]) -> dict[str, dict[str, Any]]:
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
