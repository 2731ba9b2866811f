"""Data and checks that the recipes share."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import train_digits
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from training import DataSet

import phew

NUM_STEPS = 8
MIDDLE = NUM_STEPS // 2
BATCH_SIZE = 50


def load_digits() -> DataSet:
    torch.set_num_threads(1)
    return train_digits.load_data()


def batches(data: DataSet, first: int = 0) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield the number, inputs and labels of each step from the first on, the same in each run."""
    for step in range(first, NUM_STEPS):
        batch = slice(step * BATCH_SIZE, (step + 1) * BATCH_SIZE)
        yield step, data.train_inputs[batch], data.train_labels[batch]


def outcome(name: str, masks: phew.Masks, straight: nn.Module, resumed: nn.Module) -> str:
    """Say whether a recipe keeps its promises: zeros stay zeros, and resuming changes nothing.

    Args:
        name: The name of the recipe.
        masks: The masks that both models were trained under.
        straight: The model that was trained without a stop.
        resumed: The model whose training was resumed in the middle.
    """
    num_not_zero = sum(sum(masks.check(model).values()) for model in (straight, resumed))
    others = resumed.state_dict()
    num_different = sum(
        int((whole(value) != whole(others.pop(key))).sum())
        for key, value in straight.state_dict().items()
    )
    assert not others, f"{others.keys()} are in the resumed model alone"
    assert phew.Masks.of(resumed) == phew.Masks(masks), "the resumed model is not under the masks"
    return (
        f"{name}: {masks.density:.0%} kept, {num_not_zero} pruned weights are not zero, "
        f"{num_different} values differ between resumed and straight"
    )


def whole(value: Tensor) -> Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value
