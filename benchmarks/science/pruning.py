"""The methods that are compared, each with what it needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import phew
from phew import baselines
from science.data import DataSet

GRASP_TEMPERATURE = 200
EXAMPLES_PER_CLASS = 10
"""Of the training set, for SNIP and GraSP."""

WITHOUT_DATA: dict[str, Callable[..., phew.Masks]] = {
    "PHEW": phew.sample_masks,
    "SynFlow": baselines.synflow,
    "SynFlow-L2": baselines.synflow_l2,
    "magnitude": baselines.magnitude,
    "random": baselines.random,
    "ERK": baselines.erk,
    "uniform walks": partial(baselines.ablation, variant="uniform"),
    "inverse walks": partial(baselines.ablation, variant="inverse"),
    "PHEW2": partial(baselines.ablation, variant="squared"),
    "kernel PHEW": partial(baselines.ablation, variant="kernel"),
}
WITH_DATA: dict[str, Callable[..., phew.Masks]] = {
    "SNIP": baselines.snip,
    "GraSP": baselines.grasp,
}
METHODS = (*WITHOUT_DATA, *WITH_DATA)
"""All, in the order of tables."""

SEEDED = ("PHEW", "random", "ERK", "uniform walks", "inverse walks", "PHEW2", "kernel PHEW")


def choose_masks(
    method: str,
    network: nn.Module,
    example: Tensor,
    density: float,
    *,
    seed: int = 0,
    batch: tuple[Tensor, Tensor] | None = None,
) -> phew.Masks:
    """Prune by a method.

    Args:
        method: Its name.
        network: The network, which is left as it is.
        example: One input.
        density: Kept / prunable weights.
        seed: That of the method, if it has one.
        batch: Inputs and labels, for methods that need data.
    """
    if method in WITH_DATA:
        assert batch is not None
        loss = partial(
            cross_entropy, *batch, temperature=GRASP_TEMPERATURE if method == "GraSP" else 1
        )
        return WITH_DATA[method](network, example, density=density, loss=loss)
    options = {"seed": seed} if method in SEEDED else {}
    return WITHOUT_DATA[method](network, example, density=density, **options)


def cross_entropy(
    inputs: Tensor, labels: Tensor, network: nn.Module, *, temperature: float
) -> Tensor:
    return F.cross_entropy(network(inputs) / temperature, labels)


def pruning_batch(data: DataSet, seed: int) -> tuple[Tensor, Tensor]:
    """So many training examples of each class, drawn by the seed."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data.train_labels), generator=generator)
    labels = data.train_labels[order]
    chosen = torch.cat([order[labels == label][:EXAMPLES_PER_CLASS] for label in labels.unique()])
    return data.normalised(data.train_inputs[chosen]), data.train_labels[chosen]
