"""A notebook shows every result as a table and every figure as a picture, without warnings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

SETUP = """
import torch, phew
from phew import analysis, plot
from phew.models import lenet5

model, example = lenet5(), torch.zeros(1, 1, 28, 28)
graph = phew.capture(model, example)
masks = phew.sample_masks(graph, density=0.1, progress=True)
methods = {"PHEW": phew.sample_masks, "random": phew.baselines.random}
comparison = analysis.compare(
    model, example, methods=methods, densities=[0.2, 0.1], progress=True
)
"""
RESULTS = {
    "graph": "WalkGraph: 7 spaces",
    "masks": "conv1.weight",
    "masks.summary()": "<table>",
    "phew.inspect(graph)": "<table>",
    "analysis.analyze(graph, masks=masks)": "dead layers: none",
    "comparison": "<table>",
    "phew.to_sparse(model, masks, example_inputs=example)": "<table>",
}
FIGURES = [
    "plot.masks(masks)",
    "plot.network(graph, masks)",
    "plot.layers(comparison)",
    "plot.against_density(comparison)",
    "plot.comparisons(comparison)",
    "plot.accuracy({'PHEW': {0.1: [0.9]}})",
]


def outputs_of(cells: list[str], folder: Path) -> dict[str, list[Any]]:
    """Execute cells of code in a notebook and return what each puts out."""
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    client.execute()
    nbformat.write(notebook, folder / "notebook.ipynb")
    return {cell.source: cell.outputs for cell in notebook.cells}


def only_result(outputs: list[Any]) -> Any:
    """Return the output of a cell that shows its last value, and neither prints nor warns."""
    assert [output.output_type for output in outputs] == ["execute_result"], outputs
    return outputs[0]


@pytest.mark.slow
def test_a_notebook_shows_every_result_and_figure(tmp_path: Path) -> None:
    outputs = outputs_of([SETUP, *RESULTS, *FIGURES], tmp_path)
    # Two bars, which are gone.
    assert [output.data["text/html"] for output in outputs[SETUP]] == ["", ""]
    for cell, words in RESULTS.items():
        output = only_result(outputs[cell])
        assert words in output.data["text/html"]
        assert len(output.data["text/html"]) < 10_000
        assert "\n" not in output.data["text/plain"]
    for cell in FIGURES:
        output = only_result(outputs[cell])
        assert output.data["image/png"].startswith("iVBORw0KGgo")
        assert output.metadata["image/png"]["width"] > 300
