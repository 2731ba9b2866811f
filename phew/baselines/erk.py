"""Random pruning at the densities of ERK (Erdos-Renyi-Kernel)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from phew.arguments import Selectors
from phew.baselines.problem import Problem
from phew.baselines.random import draw_scores, keep_shares
from phew.masks.masks import Masks


def erk(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    density: float,
    seed: int = 0,
    include: Selectors | None = None,
    exclude: Selectors = (),
) -> Masks:
    """Keep weights at random, a larger share of those of small layers.

    The share is in proportion to the sum of a parameter's sizes over their product. Parameters
    whose share would be above 1 are kept whole.

    Args:
        model: The model.
        example_inputs: What the model accepts (see `phew.capture`).
        density: Kept / prunable weights, in (0, 1].
        seed: Seed of the random numbers; torch's own generators are not touched.
        include: What alone is to be pruned (see `phew.sample_masks`).
        exclude: What of it is not to be pruned.

    Returns:
        The masks.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Linear(32, 4))
        >>> masks = erk(model, torch.zeros(1, 64), density=0.2)
        >>> [round(float(mask.double().mean()), 2) for mask in masks.values()]
        [0.15, 0.93]

    Source: Evci, Gale, Menick, Castro and Elsen, "Rigging the Lottery", ICML 2020, section 3.
    """
    problem = Problem.of(model, example_inputs, density, include, exclude)
    shapes = {name: weight.shape for name, weight in problem.weights.items()}
    densities = erk_densities(shapes, problem.sizes, problem.density_of_sizes)
    kept = keep_shares(problem, densities, draw_scores(problem, seed))
    return problem.keep(kept, method="ERK", reads_weights=False, seed=seed)


def erk_densities(
    shapes: dict[str, torch.Size], sizes: dict[str, int], density: float
) -> dict[str, float]:
    """Return the density of each parameter.

    Args:
        shapes: The shapes of the parameters by name.
        sizes: The numbers of weights that may be kept, fewer than elements where some are absent.
        density: The density of all of them together.

    A share above 1 makes its parameter dense, which raises the shares of the others, so the largest
    share is cut until none is above 1.
    """
    shares = {name: sum(shape) / shape.numel() for name, shape in shapes.items()}
    dense: set[str] = set()
    while True:
        num_kept = density * sum(sizes.values()) - sum(sizes[name] for name in dense)
        sparse = [name for name in shapes if name not in dense]
        if not sparse:
            return dict.fromkeys(shapes, 1.0)
        scale = num_kept / sum(shares[name] * sizes[name] for name in sparse)
        largest = max(sparse, key=lambda name: shares[name])
        if scale * shares[largest] <= 1:
            return {name: 1.0 if name in dense else scale * shares[name] for name in shapes}
        dense.add(largest)
