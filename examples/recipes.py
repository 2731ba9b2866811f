"""Data and checks that the recipes share."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import train_digits
from torch import Tensor, nn
from training import DataSet

import phew

NUM_STEPS = 12
MIDDLE = NUM_STEPS // 2
BATCH_SIZE = 100


def load_digits() -> DataSet:
    torch.set_num_threads(1)
    return train_digits.load_data()


def batches(data: DataSet, first: int = 0) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield the number, inputs and labels of each step from the first on, the same in each run."""
    for step in range(first, NUM_STEPS):
        batch = slice(step * BATCH_SIZE, (step + 1) * BATCH_SIZE)
        yield step, data.train_inputs[batch], data.train_labels[batch]


def report(name: str, masks: phew.Masks, straight: nn.Module, resumed: nn.Module) -> None:
    """Print what a recipe promises: zeros stay zeros, and resuming changes nothing.

    Args:
        name: The name of the recipe.
        masks: The masks that both models were trained under.
        straight: The model that was trained without a stop.
        resumed: The model whose training was resumed in the middle.
    """
    states = straight.state_dict(), resumed.state_dict()
    assert states[0].keys() == states[1].keys()
    num_different = sum(int((state != states[1][key]).sum()) for key, state in states[0].items())
    num_not_zero = sum(sum(masks.check(model).values()) for model in (straight, resumed))
    held = phew.Masks.of(resumed) == phew.Masks(masks)
    print(
        f"{name}: {masks.density:.1%} kept, {num_not_zero} pruned weights not zero, "
        f"{num_different} values differ between resumed and straight, "
        f"{'held' if held else 'not held'}"
    )


