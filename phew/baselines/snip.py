"""SNIP: connection sensitivity."""

from __future__ import annotations

from typing import Any

from torch import nn

from phew.arguments import Selectors
from phew.baselines.gradients import Loss, gradients_of
from phew.baselines.problem import Problem
from phew.masks.masks import Masks


def snip(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    density: float,
    loss: Loss,
    include: Selectors | None = None,
    exclude: Selectors = (),
) -> Masks:
    """Keep the weights that a loss is most sensitive to, by the magnitude of gradient x weight.

    Args:
        model: The model.
        example_inputs: What the model accepts (see `phew.capture`).
        density: Kept / prunable weights, in (0, 1].
        loss: Computes the loss of a model, a copy of this one in the mode that this one is in:
            `lambda model: F.cross_entropy(model(images), labels)`.
        include: What alone is to be pruned (see `phew.sample_masks`).
        exclude: What of it is not to be pruned.

    Returns:
        The masks.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(3, 1, bias=False)
        >>> model.weight.data = torch.tensor([[1.0, 1.0, -3.0]])
        >>> inputs = torch.tensor([[2.0, 0.0, 1.0]])
        >>> masks = snip(model, inputs, density=0.67, loss=lambda model: model(inputs).sum())
        >>> masks["weight"].int().tolist()
        [[1, 0, 1]]

    Source: Lee, Ajanthan and Torr, "SNIP: Single-shot Network Pruning based on Connection
        Sensitivity", ICLR 2019.
    """
    problem = Problem.of(model, example_inputs, density, include, exclude)
    weights, gradients = gradients_of(problem, loss)
    scores = {
        name: (weight.detach().double() * gradients[name].double()).abs()
        for name, weight in weights.items()
    }
    return problem.keep_best(scores, method="SNIP")
