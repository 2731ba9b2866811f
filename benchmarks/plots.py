"""Figures of benchmark results, which are the same bytes for the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOCS = Path(__file__).parents[1] / "docs"


def save(figure: Figure, name: str) -> None:
    """Write a figure as `docs/<name>.svg`."""
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(DOCS / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
