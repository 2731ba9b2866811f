"""SynFlow and SynFlow-L2: iterative synaptic flow pruning, without data."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from phew.arguments import Selectors, as_integer
from phew.baselines.problem import Problem, best
from phew.masks.assembly import keep_rows_of_norms
from phew.masks.masks import Masks
from phew.running.call import as_call
from phew.running.example_inputs import described_inputs
from phew.running.parts import parts_of
from phew.running.preserve import preserved
from phew.running.tensors import all_tensors, with_tensors_replaced


def synflow(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    density: float,
    num_iterations: int = 100,
    include: Selectors | None = None,
    exclude: Selectors = (),
) -> Masks:
    """Keep the weights on paths of the largest products of magnitudes.

    Each iteration replaces all parameters by their magnitudes and the input by ones, and
    differentiates the sum of the outputs. A weight's score is its magnitude times its derivative.
    The density falls exponentially.

    Args:
        model: The model.
        example_inputs: What the model accepts (see `phew.capture`); floating-point inputs are
            replaced by ones.
        density: Kept / prunable weights, in (0, 1].
        num_iterations: Number of iterations, each one forward and backward pass in float64.
        include: What alone is to be pruned (see `phew.sample_masks`).
        exclude: What of it is not to be pruned.

    Returns:
        The masks.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 4))
        >>> masks = synflow(model, torch.zeros(1, 8), density=0.25)
        >>> masks.num_kept
        24

    Source: Tanaka, Kunin, Yamins and Ganguli, "Pruning neural networks without any data by
        iteratively conserving synaptic flow", NeurIPS 2020.
    """
    problem = Problem.of(model, example_inputs, density, include, exclude)
    kept = _iterate(problem, example_inputs, num_iterations, power=1)
    return problem.keep(kept, method="SynFlow", num_iterations=num_iterations)


def synflow_l2(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    density: float,
    num_iterations: int = 100,
    include: Selectors | None = None,
    exclude: Selectors = (),
) -> Masks:
    """Keep the weights on paths of the largest products of squared weights.

    This is `synflow` with parameters replaced by their squares. The authors of PHEW run it so that
    a weight's score is its magnitude, not its square, times the derivative by the square.

    Args:
        model: The model.
        example_inputs: What the model accepts.
        density: Kept / prunable weights, in (0, 1].
        num_iterations: Number of iterations.
        include: What alone is to be pruned.
        exclude: What of it is not to be pruned.

    Returns:
        The masks.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 4))
        >>> synflow_l2(model, torch.zeros(1, 8), density=0.25).num_kept
        24

    Source: Gebhart, Saxena and Schrater, "A Unified Paths Perspective for Pruning at
        Initialization", 2021; Patil and Dovrolis, "PHEW", ICML 2021, section 5.
    """
    problem = Problem.of(model, example_inputs, density, include, exclude)
    kept = _iterate(problem, example_inputs, num_iterations, power=2)
    return problem.keep(kept, method="SynFlow-L2", num_iterations=num_iterations)


def _iterate(
    problem: Problem, example_inputs: Any, num_iterations: int, *, power: int
) -> dict[str, torch.Tensor]:
    """Return the kept weights after all iterations, with parameters by this power of magnitude."""
    num_iterations = as_integer("num_iterations", num_iterations)
    if num_iterations < 1:
        raise ValueError(f"num_iterations must be at least 1, got {num_iterations}.")
    model = problem.model
    inputs = described_inputs(model) if example_inputs is None else example_inputs
    # Buffers such as running statistics keep their values.
    state = {name: _double(buffer) for name, buffer in model.named_buffers()}
    state |= {name: _double(weight).abs() ** power for name, weight in model.named_parameters()}
    weights = {name: state[name] for name in problem.graph.prunable}
    kept = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    kept |= {name: ~absent.to(weights[name].device) for name, absent in problem.absent.items()}
    most = sum(problem.sizes.values())
    with preserved(parts_of(model), all_tensors(as_call(inputs))):
        for module in model.modules():
            module.training = False
        for iteration in range(1, num_iterations + 1):
            masked = {name: weight * kept[name] for name, weight in weights.items()}
            gradients = _gradients(model, _ones(inputs), state | masked, list(weights))
            scores = {
                name: masked[name] ** (1 / power) * gradient for name, gradient in gradients.items()
            }
            # Kept weights may have scores of zero. Pruned ones rank below, so they stay pruned.
            scores = {name: score.where(kept[name], -1.0) for name, score in scores.items()}
            num_kept = problem.num_kept
            if iteration < num_iterations:
                # The authors of PHEW keep the scores above a percentile, which is this number. The
                # last iteration keeps the exact number.
                density = problem.density ** (iteration / num_iterations)
                last = problem.graph.num_prunable_weights - 1
                num_kept = min(max(num_kept, math.ceil(density * last)), most)
            # Weights that a norm divides must not become 0 / 0 in the next iteration.
            kept = dict(keep_rows_of_norms(problem.graph, best(scores, num_kept)))
    return kept


def _gradients(
    model: nn.Module, inputs: Any, state: dict[str, torch.Tensor], names: list[str]
) -> dict[str, torch.Tensor]:
    """Differentiate the sum of the outputs by the parameters of these names."""
    parameters = [state[name].detach().requires_grad_() for name in names]
    args, kwargs = as_call(inputs)
    with torch.enable_grad():
        replaced = state | dict(zip(names, parameters, strict=True))
        outputs = all_tensors(functional_call(model, replaced, args, kwargs))
        total = torch.stack(
            [output.sum() for output in outputs if output.is_floating_point()]
        ).sum()
        gradients = torch.autograd.grad(
            total, parameters, allow_unused=True, materialize_grads=True
        )
    return dict(zip(names, gradients, strict=True))


def _double(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach()
    return tensor.double() if tensor.is_floating_point() else tensor


def _ones(inputs: Any) -> Any:
    """Replace floating-point tensors by ones, in float64."""
    return with_tensors_replaced(
        lambda tensor: (
            torch.ones_like(tensor, dtype=torch.float64) if tensor.is_floating_point() else tensor
        ),
        inputs,
    )
