"""The methods that are compared, each with what it needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import phew
from phew import baselines
from phew_cli.methods import labelled_methods
from science.data import DataSet

GRASP_TEMPERATURE = 200
EXAMPLES_PER_CLASS = 10
"""The number of training examples of each class that SNIP and GraSP get."""

WITH_DATA: dict[str, Callable[..., phew.Masks]] = {
    "SNIP": baselines.snip,
    "GraSP": baselines.grasp,
}
METHODS = (*dict(labelled_methods(seed=0).values()), *WITH_DATA)
"""The labels of all methods, in the order in which tables show them."""


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
        seed: The seed of the method, if it has one.
        batch: Inputs and labels, for methods that need data.
    """
    if method in WITH_DATA:
        assert batch is not None
        loss = partial(
            cross_entropy, *batch, temperature=GRASP_TEMPERATURE if method == "GraSP" else 1
        )
        return WITH_DATA[method](network, example, density=density, loss=loss)
    make_masks: Callable[..., phew.Masks] = dict(labelled_methods(seed).values())[method]
    return make_masks(network, example, density=density)


def cross_entropy(
    inputs: Tensor, labels: Tensor, network: nn.Module, *, temperature: float
) -> Tensor:
    return F.cross_entropy(network(inputs) / temperature, labels)


def pruning_batch(data: DataSet, seed: int) -> tuple[Tensor, Tensor]:
    """Draw `EXAMPLES_PER_CLASS` training examples of each class by the seed."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data.train_labels), generator=generator)
    labels = data.train_labels.cpu()[order]
    chosen = torch.cat([order[labels == label][:EXAMPLES_PER_CLASS] for label in labels.unique()])
    return data.normalised(data.train_inputs[chosen]), data.train_labels[chosen]


def shuffled(masks: phew.Masks, seed: int) -> phew.Masks:
    """Keep as many weights of each layer as the masks do, at places that the seed draws."""
    generator = torch.Generator().manual_seed(seed)
    kept = {
        name: mask.flatten()[torch.randperm(mask.numel(), generator=generator)].view_as(mask)
        for name, mask in masks.items()
    }
    return phew.Masks(kept, fan_ins=masks.fan_ins)
