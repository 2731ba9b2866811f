"""PHEW's own ablations: walks with another bias, or that keep whole kernels."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

from torch import nn

from phew.arguments import Selectors, as_density, as_num_threads
from phew.capture.graph_of import as_graph
from phew.masks.masks import Masks
from phew.walks.devices import as_device
from phew.walks.masks_of_walks import masks_of_walks
from phew.walks.options import Granularity, Options, Power

Variant: TypeAlias = Literal["uniform", "inverse", "squared", "kernel"]

_OPTIONS: dict[Variant, tuple[Power, Granularity]] = {
    "uniform": (0, "weight"),
    "inverse": (-1, "weight"),
    "squared": (2, "weight"),
    "kernel": (1, "kernel"),
}


def ablation(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    density: float,
    variant: Variant,
    seed: int = 0,
    include: Selectors | None = None,
    exclude: Selectors = (),
) -> Masks:
    """Keep the weights that walks of another kind than PHEW's visit.

    Args:
        model: The model.
        example_inputs: What the model accepts (see `phew.capture`).
        density: Kept / prunable weights, in (0, 1].
        variant: "uniform" walks regardless of the weights, "inverse" by 1 / magnitude, "squared" by
            the squared weight (PHEW2); "kernel" walks as PHEW does and keeps whole kernels.
        seed: Key of the random numbers, in [0, 2^64).
        include: What alone is to be pruned (see `phew.sample_masks`).
        exclude: What of it is not to be pruned.

    Returns:
        The masks, those of `phew.sample_masks` with other options. They overshoot the density by
        less than one walk, as PHEW's do.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 4))
        >>> ablation(model, torch.zeros(1, 8), density=0.25, variant="uniform").info["power"]
        0

    Source: Patil and Dovrolis, "PHEW", ICML 2021.
    """
    if variant not in _OPTIONS:
        raise ValueError(f"variant must be one of {', '.join(get_args(Variant))}, got {variant!r}.")
    power, granularity = _OPTIONS[variant]
    density = as_density(density)
    options = Options(seed, granularity=granularity, power=power)
    graph = as_graph(model, example_inputs, include, exclude)
    (masks,) = masks_of_walks(
        graph,
        options,
        [density],
        num_threads=as_num_threads(None),
        device=as_device(None, graph),
    )
    return masks
