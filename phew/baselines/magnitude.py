"""Magnitude pruning at initialisation."""

from __future__ import annotations

from typing import Any

from torch import nn

from phew.arguments import Selectors
from phew.baselines.problem import Problem
from phew.masks.masks import Masks


def magnitude(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    density: float,
    include: Selectors | None = None,
    exclude: Selectors = (),
) -> Masks:
    """Keep the weights of the largest magnitude, of the whole network.

    Args:
        model: The model.
        example_inputs: What the model accepts (see `phew.capture`).
        density: Kept / prunable weights, in (0, 1].
        include: What alone is to be pruned (see `phew.sample_masks`).
        exclude: What of it is not to be pruned.

    Returns:
        The masks.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(4, 1, bias=False)
        >>> model.weight.data = torch.tensor([[3.0, -4.0, 1.0, 2.0]])
        >>> magnitude(model, torch.zeros(1, 4), density=0.5)["weight"].int().tolist()
        [[1, 1, 0, 0]]
    """
    problem = Problem.of(model, example_inputs, density, include, exclude)
    scores = {name: weight.abs().double() for name, weight in problem.weights.items()}
    return problem.keep_best(scores, method="magnitude")
