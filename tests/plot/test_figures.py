"""Figures show themselves in notebooks, and are written whole by the kind that their name says."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from phew import plot

ACCURACIES = {"PHEW": {0.1: [0.9, 0.91], 0.2: [0.92]}}


def test_notebooks_are_given_sharp_pixels_and_their_size() -> None:
    figure = plot.accuracy(ACCURACIES)
    pixels, size = figure._repr_png_()  # type: ignore[attr-defined]
    width, height = Image.open(io.BytesIO(pixels)).size
    assert (width, height) == pytest.approx((2 * size["width"], 2 * size["height"]), abs=1)
    assert size["width"] == pytest.approx(figure.get_figwidth() * figure.dpi, abs=1)


def test_figures_leave_pyplot_alone(tmp_path: Path) -> None:
    code = """
import sys
from phew import plot
plot.accuracy({"PHEW": {0.1: [0.9]}})._repr_png_()
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF")]
)
def test_the_same_figure_has_the_same_bytes(tmp_path: Path, name: str, start: bytes) -> None:
    contents = []
    for _ in range(2):
        plot.save(plot.accuracy(ACCURACIES), tmp_path / name)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    assert contents[0].startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "figure.jpg",
            "path must end in .png, .svg or .pdf, got 'figure.jpg'. "
            "Name it 'figure.png', for example.",
        ),
        (
            "figure",
            "path must end in .png, .svg or .pdf, got 'figure'. Name it 'figure.png', for example.",
        ),
    ],
)
def test_other_kinds_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        plot.save(Figure(), name)
    assert [*tmp_path.iterdir()] == []
