"""Figures that show themselves in notebooks, and their files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from phew.support.figure_files import check_figure_file
from phew.support.files import write_whole

# Entries without which the same figure has the same bytes at any time.
_UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}


class ShownFigure(Figure):
    """A figure that a notebook shows as a cell's last value, though pyplot does not know it."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        # Twice as many pixels as it takes room, for screens that have them.
        width, height = (round(inches * self.dpi) for inches in self.get_size_inches())
        return _rendered(self, "png", dpi=2 * self.dpi), {"width": width, "height": height}


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG, the same bytes for the same figure."""
    return _rendered(figure, "svg")


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure, whole or not at all; a file that exists is replaced.

    Args:
        figure: Any figure of matplotlib.
        path: The file, whose name ends in .png, .svg or .pdf.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If its name ends in something else.

    Example:
        >>> import pathlib, tempfile
        >>> from phew import plot
        >>> figure = plot.accuracy({"PHEW": {0.1: [0.91, 0.92], 0.05: [0.9]}})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot.save(figure, pathlib.Path(folder, "accuracy.png"))
    """
    path = Path(path)
    kind = check_figure_file("path", path)
    write_whole(path, _rendered(figure, kind, dpi=200))


def whole_figure(part: Axes | Figure | SubFigure) -> Figure:
    """Return the figure that axes or a subfigure belong to."""
    figure: Figure = part.figure.figure
    return figure


def _rendered(figure: Figure, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "phew", "svg.fonttype": "none"}):
        figure.savefig(content, format=kind, metadata=_UNDATED[kind], **options)
    return content.getvalue()
