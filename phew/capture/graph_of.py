"""The graph of what callers pass as a model, and the report on it."""

from __future__ import annotations

from typing import Any

from torch import nn

from phew.arguments import Selectors
from phew.capture import capture
from phew.graph.report import Report
from phew.graph.walk_graph import WalkGraph


def as_graph(
    model: nn.Module | WalkGraph,
    example_inputs: Any,
    include: Selectors | None = None,
    exclude: Selectors = (),
) -> WalkGraph:
    """Capture a model, unless it is a graph already."""
    if not isinstance(model, WalkGraph):
        return capture(model, example_inputs, include=include, exclude=exclude)
    if example_inputs is not None:
        raise TypeError("example_inputs must be left out where model is a WalkGraph.")
    for argument, is_given in (("include", include is not None), ("exclude", bool(exclude))):
        if is_given:
            raise TypeError(f"{argument} must be given to capture where model is a WalkGraph.")
    return model


def inspect(
    model: nn.Module | WalkGraph,
    example_inputs: Any = None,
    *,
    include: Selectors | None = None,
    exclude: Selectors = (),
) -> Report:
    """Report what of a model can be pruned, and how walks pass through it.

    The report has every link, fork and shortcut; the parameters that are not prunable, and why;
    the operations whose wiring is not known; and the weights that no walk reaches.

    Args:
        model: The model, or the graph that `capture` made of it; its weights are not read.
        example_inputs: What the model accepts (see `capture`, which says where it may be left out).
        include: What alone is to be pruned (see `capture`).
        exclude: What of it is not to be pruned.

    Returns:
        The report. `print` shows it as text, and `as_dict` returns what JSON can hold.

    Raises:
        TypeError: As from `capture`.
        ValueError: As from `capture`.

    Example:
        >>> import torch, phew
        >>> layers = torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
        >>> report = phew.inspect(torch.nn.Sequential(*layers), torch.zeros(1, 8))
        >>> print(str(report).splitlines()[0])
        40 prunable weights in 2 of 4 parameters
        >>> report.as_dict()["not_prunable"]["0.bias"]
        'vector (bias, normalisation, ...)'
    """
    return Report(as_graph(model, example_inputs, include, exclude))
