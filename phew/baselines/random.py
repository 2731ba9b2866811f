"""Random pruning."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from phew.arguments import Selectors
from phew.baselines.problem import Problem, best
from phew.masks.masks import Masks


def random(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    density: float,
    seed: int = 0,
    scope: Literal["global", "layer"] = "global",
    include: Selectors | None = None,
    exclude: Selectors = (),
) -> Masks:
    """Keep weights at random.

    Args:
        model: The model.
        example_inputs: What the model accepts (see `phew.capture`).
        density: Kept / prunable weights, in (0, 1].
        seed: Seed of the random numbers; torch's own generators are not touched.
        scope: "global" draws from all weights, "layer" keeps the same share of every parameter.
        include: What alone is to be pruned (see `phew.sample_masks`).
        exclude: What of it is not to be pruned.

    Returns:
        The masks.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(4, 2))
        >>> masks = random(model, torch.zeros(1, 8), density=0.25, scope="layer")
        >>> [int(mask.count_nonzero()) for mask in masks.values()]
        [8, 2]
    """
    if scope not in ("global", "layer"):
        raise ValueError(f"scope must be 'global' or 'layer', got {scope!r}.")
    problem = Problem.of(model, example_inputs, density, include, exclude)
    scores = draw_scores(problem, seed)
    if scope == "global":
        kept = best(problem.without_absent(scores), problem.num_kept)
    else:
        kept = keep_shares(problem, dict.fromkeys(scores, problem.density_of_sizes), scores)
    return problem.keep(kept, method="random", reads_weights=False, scope=scope, seed=seed)


def draw_scores(problem: Problem, seed: int) -> dict[str, torch.Tensor]:
    """Draw a score in [0, 1) for each weight, on the parameters' devices."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return {
        name: torch.rand(weight.shape, dtype=torch.float64, generator=generator, device="cpu").to(
            weight.device
        )
        for name, weight in problem.weights.items()
    }


def keep_shares(
    problem: Problem, densities: dict[str, float], scores: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Keep the best weights of each parameter, at a density of its own, absent ones left out.

    The densities must add up to that of the problem. Each number of weights is rounded down, and
    the weights that are left over go to the parameters that rounding took most from: 3.7 + 2.6 +
    1.7 = 8 weights become 3 + 2 + 1, and then 4 + 2 + 2.
    """
    scores, sizes = problem.without_absent(scores), problem.sizes
    wanted = {name: densities[name] * sizes[name] for name in scores}
    numbers = {name: int(number) for name, number in wanted.items()}
    num_left = problem.num_kept - sum(numbers.values())
    by_loss = sorted(wanted, key=lambda name: numbers[name] - wanted[name])
    for name in by_loss[:num_left]:
        numbers[name] += 1
    return {
        name: best({name: score}, numbers[name])[name]
        if numbers[name]
        else torch.zeros_like(score, dtype=torch.bool)
        for name, score in scores.items()
    }
