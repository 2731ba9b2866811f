"""GraSP: gradient signal preservation."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from phew.arguments import Selectors
from phew.baselines.gradients import Loss, gradients_of
from phew.baselines.problem import Problem
from phew.masks.masks import Masks


def grasp(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    density: float,
    loss: Loss,
    include: Selectors | None = None,
    exclude: Selectors = (),
) -> Masks:
    """Keep the weights whose removal would lower the norm of the gradient most.

    That is the largest weight x (Hessian x gradient).

    Args:
        model: The model.
        example_inputs: What the model accepts (see `phew.capture`).
        density: Kept / prunable weights, in (0, 1].
        loss: Computes the loss of a model, a copy of this one in the mode that this one is in. The
            authors divide its outputs by a temperature of 200 before the softmax:
            `lambda model: F.cross_entropy(model(images) / 200, labels)`.
        include: What alone is to be pruned (see `phew.sample_masks`).
        exclude: What of it is not to be pruned.

    Returns:
        The masks.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(3, 1, bias=False)
        >>> model.weight.data = torch.tensor([[1.0, 1.0, -3.0]])
        >>> inputs = torch.tensor([[2.0, 0.0, 1.0]])
        >>> loss = lambda model: model(inputs).square().sum()
        >>> grasp(model, inputs, density=0.34, loss=loss)["weight"].int().tolist()
        [[0, 0, 1]]

    Source: Wang, Zhang and Grosse, "Picking Winning Tickets Before Training by Preserving Gradient
        Flow", ICLR 2020.
    """
    problem = Problem.of(model, example_inputs, density, include, exclude)
    weights, gradients = gradients_of(problem, loss, create_graph=True)
    norm = torch.stack(
        [(gradient * gradient.detach()).sum() for gradient in gradients.values()]
    ).sum()
    products = torch.autograd.grad(
        norm, list(weights.values()), allow_unused=True, materialize_grads=True
    )
    scores = {
        name: weight.detach().double() * product.double()
        for (name, weight), product in zip(weights.items(), products, strict=True)
    }
    return problem.keep_best(scores, method="GraSP")
