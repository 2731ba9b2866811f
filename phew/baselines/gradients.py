"""The model as a function of its parameters, for methods that score weights by gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import nn

from phew.baselines.problem import Problem

Loss: TypeAlias = Callable[[nn.Module], torch.Tensor]
"""Computes a model's loss, a tensor of one element, on data of its own."""


def gradients_of(
    problem: Problem, loss: Loss, *, create_graph: bool = False
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Compute the gradients of a loss with respect to the prunable parameters.

    The loss is that of a copy of the model, so that neither gradients nor running statistics of the
    model change.

    Returns:
        The parameters of the copy and their gradients, by name; zeros where the loss does not
        depend on a parameter.
    """
    model = problem.model
    # torch copies no tensor that was computed, such as the weight that `torch.nn.utils.prune` sets.
    computed = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, torch.Tensor) and not value.is_leaf
    }
    copied = copy.deepcopy(model, computed)
    named = dict(copied.named_parameters())
    parameters = {name: named[name].requires_grad_() for name in problem.graph.prunable}
    with torch.enable_grad():
        value = loss(copied)
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            raise ValueError(f"loss must return a tensor of one element, got {value!r}.")
        gradients = torch.autograd.grad(
            value,
            list(parameters.values()),
            create_graph=create_graph,
            allow_unused=True,
            materialize_grads=True,
        )
    return parameters, dict(zip(parameters, gradients, strict=True))
