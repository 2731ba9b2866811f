"""A pen for pictures of boxes, texts and lines in axes whose unit is an inch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import BoxStyle, FancyBboxPatch, Rectangle

INK, FAINT, SHORTCUT, BAR = "#222222", "#6b6b6b", "#d55e00", "#0b4f85"

Colour: TypeAlias = str | tuple[float, ...]


class Pen:
    """Draws into axes whose unit is an inch, if there is as much room as the picture needs."""

    def __init__(self, ax: Axes, scale: float) -> None:
        self._ax = ax
        self._scale = scale

    def text(self, x: float, y: float, text: str, size: float, **style: Any) -> None:
        """Write words around a point."""
        style = {"color": INK, "ha": "center", "va": "center", **style}
        self._ax.text(x, y, text, size=size * self._scale, **style)

    def panel(self, x: float, y: float, width: float, height: float) -> None:
        """Draw the ground of a block."""
        shape = BoxStyle.Round(pad=0, rounding_size=0.07)
        style: dict[str, Any] = {"fc": "#f4f4f2", "ec": "#d8d8d4", "lw": self._scale, "zorder": 1}
        self._ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=shape, **style))

    def box(
        self,
        corner: tuple[float, float],
        size: tuple[float, float],
        colour: Colour,
        *,
        is_hatched: bool,
    ) -> None:
        """Draw the box of a layer, below whose words hatching is faint."""
        if is_hatched:
            style: dict[str, Any] = {"fc": "white", "ec": "0.85", "hatch": "////", "lw": 0}
            self._ax.add_patch(Rectangle(corner, *size, zorder=2, **style))
            colour = "none"
        edge: dict[str, Any] = {"fc": colour, "ec": FAINT, "lw": 0.7 * self._scale}
        self._ax.add_patch(Rectangle(corner, *size, zorder=2, **edge))

    def bar(self, x: float, y: float, width: float, share: float) -> None:
        """Draw a bar of which a share is dark."""
        for length, colour in ((width, "#b9c9d6"), (width * share, BAR)):
            self._ax.add_patch(Rectangle((x, y), length, 0.05, fc=colour, lw=0, zorder=3))

    def line(self, points: Sequence[tuple[float, float]], **style: Any) -> None:
        """Draw a line through points."""
        style = {"color": FAINT, "linewidth": 0.8 * self._scale, "zorder": 1.5, **style}
        self._ax.plot(*zip(*points, strict=True), solid_joinstyle="round", **style)

    def arrow(self, start: float, end: float, y: float) -> None:
        """Draw an arrow to the right."""
        style: dict[str, Any] = {
            "arrowstyle": "-|>",
            "color": INK,
            "lw": self._scale,
            "shrinkA": 0,
            "shrinkB": 0,
        }
        style["mutation_scale"] = 8 * self._scale
        self._ax.annotate("", (end, y), (start, y), arrowprops=style)

    def bypass(self, start: float, end: float, y: float, above: float) -> None:
        """Draw a dashed line that leaves another and joins it again."""
        points = [(start, y), (start, above), (end, above), (end, y)]
        self.line(points, color=SHORTCUT, linestyle="--", dash_joinstyle="round")

    def legend(self, entries: list[Artist]) -> None:
        """Explain the signs in a line at the bottom."""
        self._ax.legend(
            handles=entries,
            loc="lower center",
            ncols=len(entries),
            frameon=False,
            fontsize=7 * self._scale,
            borderaxespad=0.4,
        )
